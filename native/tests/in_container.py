#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a program as the first process of a container: pid and mount namespace of its own, and a root of its own.

usage: in_container.py ROOT PROGRAM [ARGUMENT...]     (PROGRAM as the container sees it)
"""
import ctypes
import os
import sys

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_REC, MS_BIND, MS_PRIVATE, MNT_DETACH = 0x4000, 0x1000, 0x40000, 2
SYS_PIVOT_ROOT = 155  # x86-64
libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result:
        sys.exit(f"in_container: {what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags):
    check(libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None), f"mount {target}")


root, program = sys.argv[1], sys.argv[2:]
check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
os.setsid()
mount("none", "/", None, MS_REC | MS_PRIVATE)
mount(root, root, None, MS_BIND | MS_REC)
os.chdir(root)
check(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
check(libc.umount2(b".", MNT_DETACH), "umount")
os.chdir("/")
mount("proc", "/proc", "proc", 0)
null = os.open("/null", os.O_RDWR)
log = os.open("/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.dup2(null, 0)
os.dup2(log, 1)
os.dup2(log, 2)
os.closerange(3, 1024)
os.execv(program[0], program)
