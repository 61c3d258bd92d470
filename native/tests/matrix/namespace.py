# SPDX-License-Identifier: MIT
"""A program in pid and mount namespaces of its own: whatever it leaves behind ends with it, and ids are free."""
import ctypes
import os
import subprocess
import sys
from pathlib import Path

FRESH = ("/tmp", "/dev/shm", "/run")  # looked through for what a run has left
KERNEL_DATA = Path("/run/criu.kdat")  # what CRIU learned of the kernel, and would learn again each time
LEARNED = "REKINDLE_TEST_KERNEL_DATA"
TREE = Path(__file__).resolve().parents[3]
MS_BIND = 4096


def start(arguments, **options):
    """Runs this very program with other arguments as the first process of new namespaces."""
    return subprocess.Popen(
        ["unshare", "--pid", "--mount", "--propagation", "private", "--fork", "--mount-proc", "--kill-child",
         sys.executable, *arguments], stdin=subprocess.DEVNULL, **options)


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
