# SPDX-License-Identifier: MIT
"""Times dumps of GPU processes that go on running, with REKINDLE_COPY_WHILE_RUNNING and without, or, with --difference, whole
ones (REKINDLE_PARENT=none) and differences to the one before. dumps.sh starts it.

Each dump is of a fresh process, which works all the time: how long it made no step is what it noticed of the dump, and how
fast it went on while it was copied. It is then ended and restored from the image, and its contents are compared. With
--generations N the restored process is dumped in its turn, N dumps in all; with --difference always into the same folder, and
the first one is a whole one on both sides.
Prints a line a dump: dump=NAME generation=1 side=copy_while_running=0 seconds=S stands=S written_gib=G linked_gib=G phases: ...
"""
import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench import GIB, Bench, Parts, Pytorch, Worker, collect_orphans, say
from measure import machine

# What is compared: by name, what the side is given.
RUNNING = {"copy_while_running=0": "REKINDLE_COPY_WHILE_RUNNING=0", "copy_while_running=1": "REKINDLE_COPY_WHILE_RUNNING=1"}
DIFFERENCE = {"whole": "REKINDLE_PARENT=none", "difference": ""}


class BusyWorker(Worker):
    def command(self, bench):
        return [*super().command(bench), "--busy"]


class Watch(threading.Thread):
    """Notes when a program makes its steps, a thousand times in a second."""

    def __init__(self, subject):
        super().__init__(daemon=True)
        self.subject, self.ending = subject, False
        self.seen = [(time.monotonic(), subject.steps())]

    def run(self):
        while not self.ending:
            steps = self.subject.steps()
            if steps != self.seen[-1][1]:
                self.seen.append((time.monotonic(), steps))
            time.sleep(0.001)
        self.seen.append((time.monotonic(), self.subject.steps()))

    def end(self):
        self.ending = True
        self.join()

    def longest_pause(self):
        """Its beginning and its length."""
        return max(((at, next_at - at) for (at, _), (next_at, _) in zip(self.seen, self.seen[1:])), key=lambda gap: gap[1])

    def rate(self, began, ended):
        inside = [(at, steps) for at, steps in self.seen if began <= at <= ended]
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]) if len(inside) > 1 else 0


def dump(bench, name, side, subject, number, generation, contents, last):
    """Of the process bench.pid, which is restored from the image afterwards, and ended where it is the last time."""
    folder = bench.work / f"{subject.name}-{name}-images"
    if name in RUNNING:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    bench.touch(2 * subject.device_bytes + 8 * GIB)
    watch = Watch(subject)
    watch.start()
    time.sleep(2)
    began, ended = bench.criu(side, "dump", folder, ["-t", str(bench.pid), "--leave-running"])
    time.sleep(1)
    watch.end()
    stood_from, stands = watch.longest_pause()
    statistics = bench.statistics(folder, side)
    phases = {phase["phase"]: phase for phase in statistics["processes"][0]["phases"]}
    before, during = watch.rate(began - 2, began), watch.rate(began, stood_from)
    same = subject.contents(bench) == contents
    bench.end_process()
    bench.raw.append(dict(case=subject.name, what="dump", generation=generation, side=name, number=number,
                          seconds=ended - began, stands=stands, steps_before=before, steps_during=during,
                          contents_kept=same, statistics=statistics))
    written = statistics["image_bytes"] - statistics["linked_bytes"]
    say(f"dump={subject.name} generation={generation} side={name} seconds={ended - began:.2f} "
        f"stands={stands:.2f} steps={during / before * 100 if before else 0:.0f}% "
        f"written_gib={written / GIB:.2f} linked_gib={statistics['linked_bytes'] / GIB:.2f} phases: "
        + ", ".join(f"{name} {phase['duration'] / 1e9:.2f} ({phase['bytes'] / GIB:.2f} GiB)" for name, phase in phases.items()))
    if not same:
        raise RuntimeError(f"{subject.name}: the contents changed with the dump")
    # Compares the contents, and fails where they are others.
    bench.restore(subject, side, dict(folder=folder, contents=contents, state=subject.state), number, keep=not last)


def dump_generations(bench, name, side, subject, number, generations):
    folder = bench.work / f"{subject.name}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bench.set_pool(side)
    subject.start(bench, folder, agent=True)
    bench.pid = subject.process.pid
    contents = subject.contents(bench)
    for generation in range(1, generations + 1):
        dump(bench, name, side, subject, number, generation, contents, generation == generations)
    for path in bench.work.glob(folder.name + "*"):
        shutil.rmtree(path, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle")
    where.add_argument("--build", help="a build tree, with the simulated driver")
    parser.add_argument("--work", default="/dev/shm/rekindle-bench")
    parser.add_argument("--cases", default="c8,pytorch")
    parser.add_argument("--side", default="patched")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--generations", type=int, default=1)
    parser.add_argument("--difference", action="store_true", help="compare whole dumps and differences")
    parser.add_argument("--results", help="JSON file for every single run")
    arguments = parser.parse_args()
    subjects = {"c64m": lambda: BusyWorker("c64m", 64), "c8": lambda: BusyWorker("c8", 8 << 10),
                "c32": lambda: BusyWorker("c32", 32 << 10), "pytorch": Pytorch}
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    parts = Parts.of_build(arguments.build) if arguments.build else Parts.of_bundle(arguments.bundle)
    bench = Bench(parts, arguments.work, touch=not arguments.build)
    about = machine()
    say("# " + json.dumps(about))
    failed = 0
    sides = list((DIFFERENCE if arguments.difference else RUNNING).items())
    try:
        for name in arguments.cases.split(","):
            for number in range(arguments.runs):
                for value, setting in sides if number % 2 == 0 else sides[::-1]:
                    try:
                        dump_generations(bench, value, bench.side(f"{arguments.side}/{setting}"), subjects[name](), number,
                                         arguments.generations)
                    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                        say(f"dump={name} side={value} FAILED {error}")
                        failed = 1
                        with contextlib.suppress(OSError):
                            bench.end_process()
                    if arguments.results:
                        Path(arguments.results).write_text(json.dumps(dict(machine=about, runs=bench.raw), indent=1) + "\n")
    finally:
        bench.end()
        shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
