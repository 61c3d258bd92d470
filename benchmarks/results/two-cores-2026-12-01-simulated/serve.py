# SPDX-License-Identifier: MIT
"""A service of one GPU process: fills device memory from a file of weights, then answers on port 8000."""
import ctypes
import http.server
import socketserver
import sys

weights, port = sys.argv[1], 8000
cuda = ctypes.CDLL("libcuda.so.1")
context, piece = ctypes.c_void_p(), 16 << 20


def call(name, *arguments):
    status = getattr(cuda, name)(*arguments)
    if status:
        sys.exit(f"{name}: {status}")


call("cuInit", 0)
call("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
with open(weights, "rb") as file:
    while data := file.read(piece):
        address = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(len(data)))
        call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(len(data)))
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
