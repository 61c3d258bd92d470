# SPDX-License-Identifier: MIT
"""What a case leaves in /dev/shm: the programs' semaphores, whose names they remove and CRIU makes again, and second names of
those (link_remap.N, by the number of a file in its image) where a dump is not restored, as where stock CRIU fails. The next
case's dump would fail with "File exists"."""
from pathlib import Path

HERE = Path("/dev/shm")
KINDS = ("link_remap.*", "sem.mp-*", "rekindle-batch-*")


def names():
    return {path for kind in KINDS for path in HERE.glob(kind)}


def clean(before):
    """What has come since."""
    for path in names() - before:
        path.unlink(missing_ok=True)
