# SPDX-License-Identifier: MIT
"""Network namespaces: connections that end leave theirs waiting, which would keep a restored process from its addresses."""
import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1


def new_network():
    """Puts the caller into a network namespace of its own, its loopback device up."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def network_of(pid):
    """What puts a process into the network namespace of another one."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter():
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    return enter
