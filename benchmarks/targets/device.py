# SPDX-License-Identifier: MIT
"""Device memory through the driver's own calls, by ctypes: for programs that need many allocations, or no PyTorch."""
import ctypes

PIECE = 4 << 20


class Device:
    def __init__(self, ordinal=0):
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(ordinal))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result:
            raise RuntimeError(f"{name}: CUDA error {result}")

    def allocate(self, size):
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def write(self, address, source, size):
        """source: an address in host memory."""
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_void_p(source), ctypes.c_size_t(size))

    def read(self, address, target, size):
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(target), ctypes.c_uint64(address), ctypes.c_size_t(size))


class Contents:
    """Allocations with known contents: each 4 MiB of them are another part of some random bytes."""

    def __init__(self, device, sizes, seed=1):
        import random  # here, so that what needs no contents starts sooner

        self.device = device
        self.libc = ctypes.CDLL(None)
        self.libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        block = random.Random(seed).randbytes(PIECE)
        self.known = ctypes.create_string_buffer(block + block, 2 * PIECE)
        self.found = ctypes.create_string_buffer(PIECE)
        self.pieces = []
        for size in sizes:
            address = device.allocate(size)
            for at in range(0, size, PIECE):
                self.pieces.append((address + at, min(PIECE, size - at)))
        for number, (address, size) in enumerate(self.pieces):
            device.write(address, self.source(number), size)

    def source(self, number):
        return ctypes.addressof(self.known) + number * 4104 % PIECE

    def is_right(self, number):
        address, size = self.pieces[number]
        self.device.read(address, ctypes.addressof(self.found), size)
        return self.libc.memcmp(self.found, self.source(number), size) == 0

    def digest(self):
        """How many bytes are what they were."""
        return sum(size for number, (_, size) in enumerate(self.pieces) if self.is_right(number))
