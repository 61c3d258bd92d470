# SPDX-License-Identifier: MIT
"""A program in pid and mount namespaces of its own: whatever it leaves behind ends with it, and ids are free."""
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

FRESH = ("/tmp", "/dev/shm", "/run")  # looked through for what a run has left
KERNEL_DATA = Path("/run/criu.kdat")  # what CRIU learned of the kernel, and would learn again each time
LEARNED = "REKINDLE_TEST_KERNEL_DATA"
TREE = Path(__file__).resolve().parents[3]
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1


def start(arguments, **options):
    """Runs this very program with other arguments as the first process of new namespaces. The network is its own as well: CRIU
    asks the kernel for all sockets there are, and where others come and go at that moment it may miss one."""
    return subprocess.Popen(
        ["unshare", "--pid", "--mount", "--net", "--propagation", "private", "--fork", "--mount-proc", "--kill-child",
         sys.executable, *arguments], stdin=subprocess.DEVNULL, **options)


def enter():
    """What start() does, for a copy of this program that has just been made: returns in the first process of the namespaces.
    The copy itself waits for that, and ends with its status."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make namespaces")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    first = os.fork()
    if first:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    mount("proc", "/proc", "proc")


def learn_kernel(criu):
    """Once for all namespaces that follow: in each /run is fresh."""
    script = 'mount -t tmpfs tmpfs /run && { "$0" check >/dev/null 2>&1 || true; } && cat /run/criu.kdat'
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script, str(criu)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, check=True)
    os.environ[LEARNED] = found.stdout.hex()


def mount(source, target, kind=None, flags=0, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind and kind.encode(), flags, data and data.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount on {target}")


def mount_fresh(folders=FRESH):
    """Called in there: folders of its own for all that is temporary, but for the tree that is tested, if it lies there."""
    if os.getpid() != 1:
        raise RuntimeError("this is not the first process of a pid namespace")
    tree = os.open(TREE, os.O_PATH)
    for folder in folders:
        mount("tmpfs", folder, "tmpfs", data="mode=1777")
        if TREE.is_relative_to(folder):
            TREE.mkdir(parents=True)
            mount(f"/proc/self/fd/{tree}", TREE, flags=MS_BIND)
    os.close(tree)
    if "/run" in folders:
        KERNEL_DATA.write_bytes(bytes.fromhex(os.environ[LEARNED]))


def close_descriptors():
    """What whoever started this left open must not get into the processes that are dumped."""
    os.closerange(3, 256)
