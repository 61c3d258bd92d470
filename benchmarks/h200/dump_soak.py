# SPDX-License-Identifier: MIT
"""Dumps GPU processes over and over while they are in CUDA calls: nothing may hang, fail or change. dump-soak.sh starts it.

Every fourth dump ends the process, which is then restored; the others leave it running. Contents are compared each time.
Prints a line a program and side: soak=NAME dumps=N waiting=K restores=R identical; K counts the dumps that met a CUDA call
that waited in the driver (native/pool/device/driver_gate.h).
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from bench import GIB, Bench, Parts, Pytorch, Worker, collect_orphans, say, wait_until

WAITING = b"CUDA calls wait for the end of the dump"
RESTORE_EACH = 4


class BusyWorker(Worker):
    def __init__(self, mebibytes):
        super().__init__("busy", mebibytes)

    def command(self, bench):
        return [*super().command(bench), "--busy"]


class SmallPytorch(Pytorch):
    """Two layers instead of all of them: kernels are launched all the time, and a dump takes little."""

    def __init__(self):
        super().__init__()
        self.device_bytes = 3 * GIB

    def command(self, bench):
        return [*super().command(bench), "--layers", "2"]


class Soak:
    def __init__(self, bench, subject, side):
        self.bench, self.subject, self.side = bench, subject, side
        self.folder = bench.work / f"{subject.name}-{side.name}"
        self.waiting = self.restores = 0
        self.seen = 0

    def log(self):
        return self.bench.work / "rekindled.log" if self.side.pool else self.folder / "rekindled.log"

    def count_waiting(self):
        count = self.log().read_bytes().count(WAITING)
        self.waiting += count > self.seen
        self.seen = count

    def goes_on(self):
        before = self.subject.steps()
        wait_until("another step", lambda: self.subject.steps() > before, 30)

    def dump(self, leave_running):
        if not self.side.pool:
            self.log().unlink(missing_ok=True)
            self.seen = 0
        options = ["-t", str(self.pid), "--shell-job", *(["--leave-running"] if leave_running else [])]
        self.bench.criu(self.side, "dump", self.folder, options)
        self.count_waiting()

    def restore(self):
        pidfile = self.folder / "pid"
        pidfile.unlink(missing_ok=True)
        os.waitpid(self.pid, 0)
        self.bench.criu(self.side, "restore", self.folder,
                        ["-d", "--shell-job", "--pidfile", str(pidfile), *self.side.options])
        self.restores += 1
        self.pid = int(pidfile.read_text())

    def run(self, dumps):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.bench.set_pool(self.side)
        self.subject.start(self.bench, self.folder, agent=True)
        self.pid = self.subject.process.pid
        self.goes_on()
        contents = self.subject.contents(self.bench)
        try:
            for number in range(1, dumps + 1):
                leave_running = number % RESTORE_EACH != 0
                try:
                    self.dump(leave_running)
                    if not leave_running:
                        self.restore()
                    self.goes_on()
                except RuntimeError as error:
                    raise RuntimeError(f"dump {number}: {error}") from error
                now = self.subject.contents(self.bench)
                if now != contents:
                    raise RuntimeError(f"dump {number}: contents differ: {contents} {now}")
        finally:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        say(f"soak={self.subject.name}-{self.side.name} dumps={dumps} waiting={self.waiting} restores={self.restores} identical")
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--work", default="/dev/shm/rekindle-soak")
    parser.add_argument("--programs", default="busy,pytorch")
    parser.add_argument("--sides", default="warm,patched,private")
    parser.add_argument("--dumps", type=int, default=40, help="a program and side")
    parser.add_argument("--mib", type=int, default=128, help="of the busy worker")
    parser.add_argument("--patched-options", default="--restore-threads 0")
    arguments = parser.parse_args()
    programs = {"busy": lambda: BusyWorker(arguments.mib), "pytorch": SmallPytorch}
    os.environ.setdefault("REKINDLE_TIMEOUT", "60")
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    bench = Bench(Parts.of_bundle(arguments.bundle), arguments.work, arguments.patched_options)
    failed = 0
    try:
        for program in arguments.programs.split(","):
            for side in arguments.sides.split(","):
                try:
                    Soak(bench, programs[program](), bench.side(side)).run(arguments.dumps)
                except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                    say(f"soak={program}-{side} FAILED {error}")
                    failed = 1
                    log = Path(arguments.work) / "rekindled.log"
                    if log.exists():
                        say(log.read_text(errors="replace")[-3000:])
    finally:
        bench.set_pool(None)
        shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
