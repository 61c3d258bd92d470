#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Dumps and restores one process over and over, against one pool: nothing may grow. cycles_test.py [--cycles 50]

What pool and process have open, their threads, mappings and memory are compared with what they were after the first
cycles; contents are compared each time.
"""
import argparse
import os
import sys
from pathlib import Path

from matrix import namespace
from matrix.processes import Failure, descriptors_of, growth, status_of, threads_of, wait_until
from matrix.scene import WORK, Build, Scene

HERE = Path(__file__).resolve().parent
SKIPPED = 77
FIRST = 5  # cycles after which things are as they stay
SLACK_MIB = 8  # of memory that comes and goes


def mappings_of(pid):
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


class Measure:
    def __init__(self, pid):
        self.descriptors, self.threads = descriptors_of(pid), len(threads_of(pid))
        self.mappings, self.mib = mappings_of(pid), int(status_of(pid)["VmRSS"]) // 1024

    def growth_since(self, before):
        more = []
        if opened := growth(before.descriptors, self.descriptors):
            more.append(f"has more open: {opened}")
        if self.threads > before.threads:
            more.append(f"has {self.threads} threads, not {before.threads}")
        if self.mappings > before.mappings:
            more.append(f"has {self.mappings} mappings, not {before.mappings}")
        if self.mib > before.mib + SLACK_MIB:
            more.append(f"has {self.mib} MiB, not {before.mib}")
        return "; ".join(more)


def check(scene, before, what):
    """The pool lets go of a run after its answer."""
    for name, pid in (("pool", scene.lasting.pid), ("process", scene.root)):
        def grown(pid=pid, name=name):
            return Measure(pid).growth_since(before[name])
        try:
            wait_until(name, lambda: not grown(), 10)
        except Failure:
            raise Failure(f"{what}: the {name} {grown()}") from None


def inside(cycles):
    namespace.close_descriptors()
    namespace.mount_fresh()
    WORK.mkdir()
    os.chdir(WORK)
    scene = Scene(Build.find(), steps=False)
    scene.start_pool()
    scene.start_workers()
    contents = scene.contents()
    folder = WORK / "image"
    before = None
    for cycle in range(1, cycles + 1):
        # A dump that leaves it running too, and one after which it is restored.
        scene.must_dump(folder, "--leave-running")
        scene.must_dump(folder)
        scene.must_restore(folder)
        if scene.contents() != contents:
            raise Failure(f"cycle {cycle}: contents differ")
        if cycle == FIRST:
            before = {"pool": Measure(scene.lasting.pid), "process": Measure(scene.root)}
        elif cycle % 10 == 0 or cycle == cycles:
            check(scene, before, f"cycle {cycle}")
    now = Measure(scene.lasting.pid)
    print(f"{cycles} cycles: the pool has {len(now.descriptors)} descriptors, {now.threads} threads, "
          f"{now.mappings} mappings, {now.mib} MiB, as after {FIRST}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.cycles <= FIRST:
        parser.error(f"nothing is compared before cycle {FIRST + 1}")
    if os.geteuid():
        print("skipped: dump and restore need root")
        return SKIPPED
    if os.getpid() == 1:
        return inside(arguments.cycles)
    namespace.learn_kernel(Build.find().criu)
    return namespace.start([HERE / "cycles_test.py", "--cycles", str(arguments.cycles)]).wait()


if __name__ == "__main__":
    sys.exit(main())
