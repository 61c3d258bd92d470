# SPDX-License-Identifier: MIT
"""Dumps and restores a GPU process over and over, and kills criu or the pool in every third cycle. kill-soak.sh starts it.

Whatever is killed: the process runs with its contents, at once or after the one command that the log names, or its image
restores with them. A cycle is a dump and a restore, and in every third one either of them is struck at a random moment
of its usual time; it is then done once more, and has to succeed. The program "busy" is in CUDA calls all the time, and
its dumps are cancelled in the middle of the copy (native/pool/device/driver_gate.h): the next dump has to succeed.

Without a GPU: --simulated FOLDER (of the simulated driver) and --programs worker,busy.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench import GIB, Bench, Parts, Pytorch, Worker, collect_orphans, say, wait_until
from dump_soak import BusyWorker
from measure import machine

EVERY = 3  # which cycle is disturbed
VICTIMS = ("criu", "pool", "both", "all")  # all: both, and the guardian that would bring the process back
GIB_A_LAYER = 0.41  # of the model
PATIENCE = 60  # what a run that lost somebody may take to leave the process in order


class Model(Pytorch):
    def __init__(self, layers):
        super().__init__("pytorch", ["--layers", str(layers)])
        self.device_bytes = int((2 + GIB_A_LAYER * layers) * GIB)


class Soak:
    def __init__(self, bench, subject, side, seed, end):
        self.bench, self.subject, self.side, self.end = bench, subject, side, end
        self.choice = random.Random(seed)
        self.folder = bench.work / f"{subject.name}-kill"
        self.usual = {}
        self.counts = dict(killed=0, failed=0, went_on=0, revived=0, from_image=0)
        self.cycles = []

    # ---- the process ----

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.bench.set_pool(self.side)
        self.bench.kernel_data.use(self.side.criu)
        self.subject.start(self.bench, self.folder, agent=True)
        self.pid = self.subject.process.pid
        self.contents = self.subject.contents(self.bench)

    def is_there(self):
        """Collects it where it has ended."""
        try:
            if os.waitpid(self.pid, os.WNOHANG)[0] == self.pid:
                return False
        except ChildProcessError:
            pass  # not ours (yet)
        try:
            return re.search(r"^State:\s+[^ZX]", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE) is not None
        except FileNotFoundError:
            return False

    def goes_on(self):
        before = self.subject.steps()
        wait_until("another step", lambda: self.subject.steps() > before, 20)

    def compare(self):
        now = self.subject.contents(self.bench)
        if now != self.contents:
            raise RuntimeError(f"contents differ: {self.contents} {now}")

    def wait_gone(self):
        wait_until("the end of the process", lambda: not self.is_there(), PATIENCE)

    # ---- the runs ----

    def pool_pids(self, guardians=False):
        """Every pool that was started from the bundle, or every guardian of a pool's run."""
        program = str((self.bench.parts.programs / "rekindled").resolve())
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/exe").removesuffix(" (deleted)") == program:
                    guards = Path(f"/proc/{name}/cmdline").read_bytes().startswith(b"rekindle-guard\0")
                    if guards == guardians:
                        found.append(int(name))
            except OSError:
                pass
        return found

    def private_pools(self):
        return [pid for pid in self.pool_pids() if not self.bench.pool or pid != self.bench.pool.pid]

    def start_criu(self, action):
        if action == "restore":
            wait_until("its id getting free", lambda: not self.is_there() and not Path(f"/proc/{self.pid}").exists(), PATIENCE)
            (self.folder / "pid").unlink(missing_ok=True)
            options = ["-d", "--pidfile", str(self.folder / "pid"), *self.side.options]
        else:
            options = ["-t", str(self.pid), "--timeout", "120", *self.side.dump_options]
        command = [self.side.criu, action, "-D", self.folder, "-o", f"{action}.log", "-v4", "-L", self.side.plugin,
                   "--shell-job", *options]
        return subprocess.Popen(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def must(self, action):
        """Undisturbed it succeeds."""
        for _ in range(200):
            began = time.monotonic()
            status = self.start_criu(action).wait(400)
            seconds = time.monotonic() - began
            # A lasting pool may still be ending the run that was killed, and a process is gone from /proc a moment
            # before its id is free.
            log = (self.folder / f"{action}.log").read_text(errors="replace") if status else ""
            if "another run" not in log and ": File exists" not in log:
                break
            time.sleep(0.1)
        if status:
            raise RuntimeError(f"an undisturbed {action} ended with {status}\n{self.log_ends(action)}")
        self.usual[action] = max(self.usual.get(action, 0), seconds)
        if action == "dump":
            self.wait_gone()
        else:
            self.pid = int((self.folder / "pid").read_text())
            self.goes_on()
        return seconds

    def log_ends(self, action):
        text = []
        for name in (f"{action}.log", "rekindled.log"):
            for folder in (self.folder, self.bench.work):
                if (folder / name).exists():
                    lines = (folder / name).read_text(errors="replace").splitlines()
                    lines = [line for line in lines if name == "rekindled.log" or "Error" in line or "cuda_plugin" in line]
                    text += [f"--- {folder / name}", *lines[-12:]]
        return "\n".join(text)

    def states(self):
        """Of the process and whoever works on it: what each thread is at."""
        text = []
        for pid in [self.pid, *self.private_pools(), *self.pool_pids(guardians=True)]:
            for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
                try:
                    fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
                    text.append(" ".join([str(pid), task.name, *(fields[name].strip() for name in (
                        "Name", "State", "TracerPid", "SigPnd", "ShdPnd")), (task / "wchan").read_text(),
                        (task / "syscall").read_text().split()[0]]))
                except (OSError, KeyError, IndexError):
                    pass
        return "\n".join(text)

    def strike(self, criu, victim):
        pools = self.private_pools() or ([self.bench.pool.pid] if self.bench.pool else [])
        guardians = self.pool_pids(guardians=True) if victim == "all" else []
        for pid in [*guardians, *(pools if victim != "criu" else []), *([criu.pid] if victim != "pool" else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.counts["killed"] += 1

    def settle(self):
        """No private pool is left, and the lasting one is there again."""
        try:
            wait_until("the end of the pool of a killed run, or of its guardian",
                       lambda: not self.private_pools() and not self.pool_pids(guardians=True), PATIENCE)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log_ends('dump')}\n{self.states()}") from None
        if self.bench.pool and self.bench.pool.poll() is not None:
            self.bench.pool = None
        self.bench.set_pool(self.side)

    def revive(self):
        """The one command that a log names."""
        for name in (self.folder / "dump.log", self.folder / "rekindled.log", self.bench.work / "rekindled.log"):
            found = re.findall(r"rekindled (--revive \d+ --images .*)", name.read_text(errors="replace")) if name.exists() else []
            if found:
                subprocess.run([self.bench.parts.programs / "rekindled", *found[-1].split()], check=True, timeout=120,
                               env=self.bench.environment(self.side), stdin=subprocess.DEVNULL, capture_output=True)
                return True
        return False

    def disturbed(self, action, victim, when):
        """Runs it, and kills after so long. Returns what became of the run and of the process."""
        self.seen = self.device_data()
        criu = self.start_criu(action)
        when(criu)
        if criu.poll() is not None:
            what = f"{action} was over"
        else:
            self.strike(criu, victim)
            what = f"{action}, {victim} killed"
        status = criu.wait(400)
        self.settle()
        if action == "restore" and (self.folder / "pid").exists():
            self.pid = int((self.folder / "pid").read_text() or self.pid)
        if action == "restore" and status:
            # Whatever was restored in part ends; what is complete may stay.
            try:
                wait_until("", lambda: not self.is_there(), 5)
            except RuntimeError:
                pass
        there = self.is_there()
        if there:
            try:
                self.goes_on()
            except RuntimeError:
                if action == "restore" or not self.revive():
                    raise RuntimeError(f"{what}: the process stands still\n{self.log_ends(action)}") from None
                self.goes_on()
                self.counts["revived"] += 1
            self.counts["went_on"] += 1
            self.compare()
        if status == 0 and there != (action == "restore"):
            raise RuntimeError(f"{what}: criu says that it succeeded, and the process {'is there' if there else 'is gone'}")
        self.counts["failed"] += status != 0
        self.counts["from_image"] += not there
        return f"{what}: criu {status}, process {'goes on' if there else 'is gone'}"

    def after_random_time(self, action):
        seconds = self.choice.uniform(0, self.usual.get(action, 1.0))

        def wait(criu):
            try:
                criu.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        return wait, seconds

    def device_data(self):
        return {file.name for file in self.folder.glob("rekindle-pages-*")}

    def in_the_copy(self, criu):
        """Device memory is being written: where the threads of a busy process wait in the driver."""
        def copying():
            return criu.poll() is not None or self.device_data() - self.seen
        try:
            wait_until("", copying, 60)
        except (RuntimeError, FileNotFoundError):
            pass
        time.sleep(self.choice.uniform(0, 0.2 * self.usual.get("dump", 0.2)))

    # ---- cycles ----

    def cycle(self, number):
        events = []
        strikes = number % EVERY == 0
        action = self.choice.choice(("dump", "restore")) if strikes else None
        victim = self.choice.choice(VICTIMS)
        for step in ("dump", "restore"):
            done = False
            if step == action:
                when, seconds = self.after_random_time(step)
                events.append(f"after {seconds:.2f} s of {self.disturbed(step, victim, when)}")
                done = self.is_there() == (step == "restore")
            if not done:
                events.append(f"{step} {self.must(step):.2f} s")
        self.compare()
        return events

    def busy_cycle(self, number):
        """A dump that is cancelled, and one that is not."""
        if number % EVERY == 1 and number > 1:
            return [f"dump {self.must('dump'):.2f} s", f"restore {self.must('restore'):.2f} s"]
        events = [self.disturbed("dump", self.choice.choice(("criu", "pool")), self.in_the_copy)]
        if self.is_there():
            events.append(f"next dump {self.must('dump'):.2f} s")
        events.append(f"restore {self.must('restore'):.2f} s")
        self.compare()
        return events

    def run(self, cycles, one):
        self.start()
        number = 0
        try:
            while number < cycles and time.monotonic() < self.end:
                number += 1
                try:
                    events = one(number)
                except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                    raise RuntimeError(f"cycle {number}: {error}") from error
                self.cycles.append(dict(number=number, events=events))
                say(f"{self.subject.name} {number}: " + "; ".join(events))
        finally:
            for pid in self.private_pools():
                os.kill(pid, signal.SIGKILL)
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        say(f"kill-soak={self.subject.name}-{self.side.name} cycles={number} " +
            " ".join(f"{name}={count}" for name, count in self.counts.items()) + " identical")
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--work", default="/dev/shm/rekindle-kill-soak")
    parser.add_argument("--programs", default="pytorch,busy")
    parser.add_argument("--side", default="patched-private", help="patched: a pool that stays, patched-private: one a run")
    parser.add_argument("--cycles", type=int, default=30, help="a program")
    parser.add_argument("--seconds", type=float, default=330, help="of all; no cycle begins after that")
    parser.add_argument("--layers", type=int, default=32, help="of the model: 32 are 15 GiB, 2 are 3 GiB")
    parser.add_argument("--mib", type=int, default=1024, help="of the workers")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--results", help="JSON file with every cycle")
    parser.add_argument("--simulated", help="folder of the simulated driver")
    parser.add_argument("--patched-options", default="--restore-threads 0")
    arguments = parser.parse_args()
    if arguments.simulated:
        os.environ["LD_LIBRARY_PATH"] = arguments.simulated
        os.environ["REKINDLE_CUDA_DRIVER"] = f"{arguments.simulated}/libcuda.so.1"
    programs = {"pytorch": lambda: Model(arguments.layers), "busy": lambda: BusyWorker(arguments.mib),
                "worker": lambda: Worker("worker", arguments.mib)}
    os.environ.setdefault("REKINDLE_TIMEOUT", "30")
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    bench = Bench(Parts.of_bundle(arguments.bundle), arguments.work, arguments.patched_options)
    names = arguments.programs.split(",")
    began = time.monotonic()
    say(f"seed {arguments.seed}")
    failed, results = 0, {}
    try:
        for index, name in enumerate(names):
            # What a program leaves of its share is the next one's.
            left = began + arguments.seconds - time.monotonic()
            share = left if index == len(names) - 1 else left * (0.8 if name == "pytorch" else 1 / (len(names) - index))
            soak = Soak(bench, programs[name](), bench.side(arguments.side), arguments.seed + index,
                        time.monotonic() + share)
            try:
                soak.run(arguments.cycles, soak.busy_cycle if name == "busy" else soak.cycle)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                say(f"kill-soak={name}-{arguments.side} FAILED {error}")
                failed = 1
            results[name] = dict(cycles=soak.cycles, **soak.counts, seconds=soak.usual)
    finally:
        bench.set_pool(None)
        if arguments.results:
            about = dict(machine=machine(), seed=arguments.seed, side=arguments.side, failed=failed, programs=results)
            Path(arguments.results).write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
