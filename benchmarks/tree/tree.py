# SPDX-License-Identifier: MIT
"""Times dumps and restores of trees of several GPU processes. run starts it.

A side is one of ../h200/bench.py, with settings behind slashes: patched/REKINDLE_SIDE_BY_SIDE=1 works on one process after
the other, and is what there was before. Sides take turns, each with a fresh tree in every run: dumped, restored, and in the
first run dumped and restored once more. The contents of every process are compared each time.

A dump's time is criu's, a restore's is from the start of criu to the moment when each process has made its first step.
Lines case=... have the medians; behind each phase stands how long any process was in it, and in brackets the sum over all.
Ends with 1 where something failed.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "h200"))
from bench import Bench, Parts, RunFailed, Worker, collect_orphans, say, wait_until  # noqa: E402

PHASES = {"dump": ("lock", "copy_out", "release", "driver_checkpoint", "driver_restore"),
          "restore": ("driver_restore", "map", "wait")}
SERIAL = "REKINDLE_SIDE_BY_SIDE=1"


class Member(Worker):
    """One process of a tree, as its own state file shows it."""

    def __init__(self, name, mebibytes, state):
        super().__init__(name, mebibytes)
        self.state = state


class Tree(Worker):
    def __init__(self, count, mebibytes, gpus):
        super().__init__(f"tree{count}", mebibytes)
        self.count, self.gpus = count, gpus

    def command(self, bench):
        return [*super().command(bench), "--children", str(self.count - 1), "--gpus", self.gpus]

    def start_all(self, bench, folder, agent):
        self.start(bench, folder, agent)
        states = [self.state, *(Path(f"{self.state}.{number}") for number in range(1, self.count))]
        self.members = [Member(f"{self.name}.{number}", self.device_bytes >> 20, state)
                        for number, state in enumerate(states)]
        for member in self.members:
            wait_until(f"{member.name} getting ready",
                       lambda: member.state.exists() and member.state.stat().st_size >= 48 and member.steps() > 0, 300)

    def contents(self, bench):
        return [member.contents(bench) for member in self.members]


class Run:
    """One tree of one side."""

    def __init__(self, bench, side, tree):
        self.bench, self.side, self.tree = bench, side, tree
        self.folder = bench.work / "tree"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.generation = 0
        bench.set_pool(side)
        tree.start_all(bench, self.folder, agent=side.dump == "agent")
        self.pid = tree.process.pid

    def touch(self, per_process):
        self.bench.touch(per_process * self.tree.count + (4 << 30))

    def dump(self):
        self.generation += 1
        self.images = self.folder / f"images-{self.generation}"
        self.images.mkdir()
        self.known = self.tree.contents(self.bench)
        self.touch(2 * self.tree.device_bytes)
        began, ended = self.bench.criu(self.side, "dump", self.images, ["-t", str(self.pid), "--timeout", "120"])
        self.reap()
        return ended - began, self.bench.statistics(self.images, self.side)

    def restore(self):
        self.touch(2 * self.tree.device_bytes if self.side.dump != "agent" else 0)
        before = [member.steps() for member in self.tree.members]
        command = [self.side.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "-L", self.side.plugin,
                   "--pidfile", self.images / "pid", *self.side.options]
        self.bench.kernel_data.use(self.side.criu)
        began = time.monotonic()
        criu = subprocess.Popen(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while any(member.steps() == steps for member, steps in zip(self.tree.members, before)):
            if criu.poll():
                raise RunFailed(self.side, "restore", criu.returncode, self.images)
            if time.monotonic() > began + 300:
                raise RunFailed(self.side, "restore", "no step of some process", self.images)
            time.sleep(0.0005)
        seconds = time.monotonic() - began
        if criu.wait(60):
            raise RunFailed(self.side, "restore", criu.returncode, self.images)
        self.pid = int((self.images / "pid").read_text())
        found = self.tree.contents(self.bench)
        if found != self.known:
            raise RuntimeError(f"{self.tree.name} {self.side.name}: contents differ: {self.known} {found}")
        return seconds, self.bench.statistics(self.images, self.side)

    def reap(self):
        """Whoever of the tree has ended or ends just now: all of them are ours, see collect_orphans."""
        end = time.monotonic() + 60
        pool = self.bench.pool.pid if self.bench.pool else None
        while time.monotonic() < end:
            left = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
            left = [pid for pid in left if pid != pool]
            if not left:
                break
            for pid in left:
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)
        self.pid = None

    def end(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # its children end with it
        self.reap()
        shutil.rmtree(self.folder, ignore_errors=True)


def spans(record, phase):
    """(seconds in which any process was in the phase, the sum over all)."""
    times = sorted((entry["start"], entry["start"] + entry["duration"]) for process in record["processes"]
                   for entry in process["phases"] if entry["phase"] == phase)
    total = reached = 0
    for begin, end in times:
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total / 1e9, sum(end - begin for begin, end in times) / 1e9


def line(name, side, what, results):
    text = f"case={name} {side.name} {what}={statistics.median(seconds for seconds, _ in results):.3f}"
    records = [record for _, record in results if record]
    for phase in PHASES[what] if records else ():
        together, total = (statistics.median(values) for values in zip(*(spans(record, phase) for record in records)))
        if total:
            text += f" {phase}={together:.3f}({total:.3f})"
    return f"{text} runs=" + ",".join(f"{seconds:.3f}" for seconds, _ in results)


def measure(bench, arguments, count, raw):
    sides = [bench.side(name) for name in arguments.sides.split(",")]
    results = {(side, what): [] for side in sides for what in ("dump", "restore")}
    failed = set()
    for number in range(arguments.runs):
        for side in sides:
            if side in failed:
                continue
            run = None
            try:
                run = Run(bench, side, Tree(count, arguments.mib, arguments.gpus))
                for generation in range(2 if number == 0 else 1):
                    for what in ("dump", "restore"):
                        seconds, record = getattr(run, what)()
                        raw.append(dict(case=run.tree.name, side=side.name, what=what, number=number,
                                        generation=generation + 1, seconds=seconds, statistics=record))
                        if generation == 0:
                            results[side, what].append((seconds, record))
            except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
                say(f"case=tree{count} {side.name} FAILED {error}")
                failed.add(side)
            finally:
                if run:
                    run.end()
    for side in sides:
        for what in ("dump", "restore"):
            if results[side, what]:
                say(line(f"tree{count}", side, what, results[side, what]))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--simulated")
    parser.add_argument("--work", default="/dev/shm/rekindle-tree")
    parser.add_argument("--processes", default="1,2,4", help="how many the trees have")
    parser.add_argument("--mib", type=int, default=2048, help="device memory of each process")
    parser.add_argument("--gpus", default="0", help="over which each process spreads it, as 0,1")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sides", default=f"patched,patched/{SERIAL},patched-private,patched-private/{SERIAL},stock")
    parser.add_argument("--results", help="JSON file for every single run")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    parts = Parts.of_bundle(arguments.bundle) if arguments.bundle else Parts.of_build(arguments.simulated)
    bench = Bench(parts, arguments.work, touch=not arguments.simulated)
    failed, raw = 0, []
    try:
        for count in arguments.processes.split(","):
            failed |= measure(bench, arguments, int(count), raw)
    finally:
        bench.set_pool(None)
        if arguments.results:
            Path(arguments.results).write_text(json.dumps(raw, indent=1) + "\n")
        shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
