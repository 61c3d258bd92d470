# SPDX-License-Identifier: MIT
"""Times dumps, restores and swaps of GPU processes with REKINDLE_PARK=device or pinned, and without, whole and as differences
to what was dumped before. parks.sh starts it.

Two processes of a kind take turns, each with a folder of its own: one is dumped, and the other restored, from /dev/shm (in the
page cache) or parked in a pool that lasts. Contents are compared after every restore. A swap is counted from the start of criu
dump to the first step of the other process. A restore from pinned memory begins when all is there; one line with what=pin has
the time from the end of the dump until then, and park=pinned-early restores while it is on its way. Prints a line a run:
what=restore park=device parent=none seconds=S resident_gib=G written_gib=G phases: ...
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import GIB, Bench, Parts, Pytorch, Side, Worker, collect_orphans, criu_own_seconds, say, wait_until
from measure import machine

PINNED_BUDGET_MIB = 20 << 10  # for what one process has, and no more


class Parked:
    """One of the two, and where it is."""

    def __init__(self, bench, subject, number):
        self.bench, self.subject, self.number = bench, subject, number
        self.folder = bench.work / f"{subject.name}-{number}"
        self.folder.mkdir(parents=True)
        self.images = None
        subject.start(bench, self.folder, agent=True)
        self.pid = subject.process.pid
        self.contents = subject.contents(bench)

    def dump(self, side):
        """Into its folder, where the older checkpoint is replaced. Returns when it began."""
        self.images = self.folder / "images"
        self.images.mkdir(exist_ok=True)
        began, ended = self.bench.criu(side, "dump", self.images, ["-t", str(self.pid)])
        os.waitpid(self.pid, 0)
        self.tell("dump", side, began, ended)
        return began

    def wait_pinned(self, side, before):
        """Until what was dumped is in pinned memory. before: how often anything had come there before the dump."""
        began = time.monotonic()
        wait_until("the way to pinned memory", lambda: times_pinned(self.bench) > before, 60)
        self.tell("pin", side, began, time.monotonic())

    def restore(self, side, began_with=None):
        """began_with: when the swap began that this is the end of."""
        pidfile = self.images / "pid"
        pidfile.unlink(missing_ok=True)
        command = [side.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "-L", side.plugin,
                   "--pidfile", pidfile, *side.options]
        began, working, _ = self.bench.first_step(side, command, self.bench.environment(side), self.subject, self.images)
        self.pid = int(pidfile.read_text())
        identical = self.subject.contents(self.bench) == self.contents
        self.tell("restore", side, began, working, identical=identical, criu_own_seconds=criu_own_seconds(self.images))
        if began_with is not None:
            self.tell("swap", side, began_with, working)
        if not identical:
            raise RuntimeError(f"{self.subject.name} {self.number}: the contents differ")

    def tell(self, what, side, began, ended, **more):
        statistics = self.bench.statistics(self.images, side)
        park, parent = side.name.partition("-none")[0], side.environment.get("REKINDLE_PARENT", "its own")
        self.bench.raw.append(dict(case=self.subject.name, what=what, park=park, parent=parent, seconds=ended - began,
                                   statistics=statistics, **more))
        phases = "" if what == "swap" else " phases: " + ", ".join(
            f"{phase['phase']} {phase['duration'] / 1e9:.3f}" for process in statistics["processes"] for phase in process["phases"])
        written = f" written_gib={(statistics['image_bytes'] - statistics['linked_bytes']) / GIB:.2f}" if what == "dump" else ""
        say(f"what={what} case={self.subject.name} park={park} parent={parent} seconds={ended - began:.3f} "
            f"resident_gib={statistics['resident_bytes'] / GIB:.2f}{written}{phases}")

    def end(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def times_pinned(bench):
    return (bench.work / "rekindled.log").read_text(errors="replace").count("MiB went to pinned memory")


def measure(bench, make, rounds):
    warm = bench.side(f"patched/REKINDLE_PINNED_BUDGET={PINNED_BUDGET_MIB}M")
    sides = [Side(name, warm.dump, warm.criu, warm.plugin, warm.pool, warm.options,
                  {**warm.environment, "REKINDLE_PARK": name.partition("-")[0],
                   **({"REKINDLE_PARENT": "none"} if name.endswith("-none") else {})}, warm.dump_options)
             for name in ("file-none", "file", "device-none", "device", "pinned-none", "pinned-early-none")]
    bench.set_pool(warm)
    first, second = Parked(bench, make(), 1), Parked(bench, make(), 2)
    bench.touch(3 * first.subject.device_bytes + 8 * GIB)
    # Alone, so that nothing of the other is in the way.
    for _ in range(rounds):
        for side in sides:
            before = times_pinned(bench)
            first.dump(side)
            if side.name == "pinned-none":
                first.wait_pinned(side, before)
            elif side.name == "pinned-early-none":
                time.sleep(0.1)
            else:
                time.sleep(1)
            first.restore(side)
    # There and back, with both parked or none.
    for side in sides[:4]:
        second.dump(side)
        for _ in range(rounds):
            began = first.dump(side)
            second.restore(side, began)
            began = second.dump(side)
            first.restore(side, began)
        # For the next side.
        second.restore(side)
    for one in (first, second):
        one.end()
    log = (bench.work / "rekindled.log").read_text(errors="replace")
    for line in log.splitlines():
        if any(word in line for word in ("parked", "pinned", "stay for the next", "hashes", "error", "warning")):
            say("# pool: " + line)


def main():
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle")
    where.add_argument("--build", help="a build tree, with the simulated driver")
    parser.add_argument("--work", default="/dev/shm/rekindle-bench")
    parser.add_argument("--cases", default="pytorch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--results", help="JSON file for every single run")
    arguments = parser.parse_args()
    subjects = {"c64m": lambda: Worker("c64m", 64), "c8": lambda: Worker("c8", 8 << 10), "pytorch": Pytorch}
    collect_orphans()
    parts = Parts.of_build(arguments.build) if arguments.build else Parts.of_bundle(arguments.bundle)
    about = machine()
    say("# " + json.dumps(about))
    failed = 0
    for name in arguments.cases.split(","):
        shutil.rmtree(arguments.work, ignore_errors=True)
        Path(arguments.work).mkdir(parents=True)
        bench = Bench(parts, arguments.work, touch=not arguments.build)
        try:
            measure(bench, subjects[name], arguments.rounds)
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            say(f"case={name} FAILED {error}")
            failed = 1
        finally:
            if arguments.results:
                Path(arguments.results).write_text(json.dumps(dict(machine=about, runs=bench.raw), indent=1) + "\n")
            bench.end()
            shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
