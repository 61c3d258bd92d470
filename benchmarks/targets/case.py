# SPDX-License-Identifier: MIT
"""One target program on one side: started, dumped and restored, generation after generation. targets.py starts it, in a
process of its own, in whose network namespace all of it happens: a new one for each restore, as connections that end leave
theirs waiting. Prints a line for each generation; how far it is stands in the file `stage`, the figures in `records`.
"""
import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "h200"))
from bench import GIB, Bench, Parts, RunFailed, collect_orphans, say, wait_until  # noqa: E402
from network import new_network  # noqa: E402
from programs import Failed, programs  # noqa: E402

OPTIONS = ["--tcp-established", "--network-lock", "skip", "--ghost-limit", "1G", "--link-remap", "--file-locks",
           "--timeout", "20"]
DUMP_LIMIT, WAIT_LIMIT = 60, 60


def children(pid):
    """Of all its threads."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in file.read_text().split()]
        except OSError:
            pass
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def is_there(pid):
    """Not even as a zombie of ours, which is taken away here: its id has to be free for the restore."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return Path(f"/proc/{pid}").exists()


class Case:
    def __init__(self, bench, side, program, arguments):
        self.bench, self.side, self.program, self.arguments = bench, side, program, arguments
        self.folder = bench.work / "program"
        self.folder.mkdir(parents=True)
        self.simulated = bool(bench.parts.simulated)
        self.record = {}

    def stage(self, text):
        self.at = text
        known = " ".join(f"{name}={self.record[name]:.3f}" for name in ("dump", "restore") if name in self.record)
        (self.bench.work / "stage").write_text(f"{text} {known}".strip())

    # ---- steps ----

    def environment(self):
        cache = Path(self.arguments.cache)
        environment = {**os.environ, "TMPDIR": str(cache), "PYTHONUNBUFFERED": "1",
                       "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
                       "TRITON_CACHE_DIR": str(cache / "triton"), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
        if self.side.dump == "agent":
            environment["LD_PRELOAD"] = str(self.bench.parts.libraries / "librekindle-preload.so")
            environment.update(self.program.agent_environment)
        if self.simulated:
            environment["LD_LIBRARY_PATH"] = str(self.bench.parts.simulated)
        return environment

    def start(self):
        self.stage("start")
        command = self.program.command(self.folder, self.simulated)
        if self.program.namespace:
            command = ["unshare", "--pid", "--fork", "setsid", *command]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment(), start_new_session=True)
        began = time.monotonic()
        wait_until("its start", self.has_started, self.arguments.start_limit)
        self.record["ready"] = time.monotonic() - began
        self.pid = children(self.process.pid)[0] if self.program.namespace else self.process.pid

    def has_started(self):
        if self.process.poll() is not None:
            raise Failed(f"the program ended with {self.process.returncode}")
        return self.program.is_ready()

    def last_words(self):
        """Of the program, for a failure that is its own."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        return f"; its log ends with: {' '.join(lines[-3:])[-300:]}" if lines else ""

    def check_lives(self, pidfile):
        """CRIU up to 4.2 succeeds where a GPU does not come back, and leaves a program whose calls fail."""
        try:
            if os.waitpid(int(pidfile.read_text()), os.WNOHANG)[0]:
                raise Failed("the restored program ended")
        except (ChildProcessError, FileNotFoundError, ValueError):
            pass

    def dump(self, generation):
        self.images = self.bench.work / f"images-{generation}"
        self.images.mkdir()
        self.stage("work before the dump")
        self.program.before_dump(generation, WAIT_LIMIT)
        self.known = self.program.contents(WAIT_LIMIT)
        self.bench.touch(2 * self.program.device_bytes + 4 * GIB)
        self.program.settle(WAIT_LIMIT)
        self.stage("dump")
        self.record["processes"] = 1 + len(descendants(self.pid))
        command = ["-t", str(self.pid), *OPTIONS]
        began, ended = self.bench.criu(self.side, "dump", self.images, command, limit=DUMP_LIMIT)
        self.record["dump"] = ended - began
        self.record["dump_statistics"] = self.bench.statistics(self.images, self.side)
        self.stage("the processes' end")
        ids = {int(match.group(1)) for match in map(re.compile(r"core-(\d+)\.img").fullmatch, os.listdir(self.images)) if match}
        if self.program.namespace:
            ids = {self.pid, self.process.pid}
        wait_until("the end of the dumped processes", lambda: not any([is_there(pid) for pid in ids]), 30)

    def restore(self):
        self.stage("restore")
        self.bench.touch((2 * self.program.device_bytes if self.side.dump != "agent" else 0) + 4 * GIB)
        self.program.before_restore()
        new_network()
        pidfile = self.images / "pid"
        command = [self.side.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "-L", self.side.plugin,
                   "--pidfile", pidfile, *OPTIONS, *self.side.options]
        self.bench.kernel_data.use(self.side.criu)
        began = time.monotonic()
        criu = subprocess.Popen(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.program.is_back(WAIT_LIMIT):
            if criu.poll():
                raise RunFailed(self.side, "restore", criu.returncode, self.images)
            if criu.returncode == 0:
                self.check_lives(pidfile)
            if time.monotonic() > began + WAIT_LIMIT:
                raise RunFailed(self.side, "restore", "no work of some process", self.images)
            time.sleep(0.0005)
        self.record["restore"] = time.monotonic() - began
        if criu.wait(WAIT_LIMIT):
            raise RunFailed(self.side, "restore", criu.returncode, self.images)
        self.record["criu"] = time.monotonic() - began
        self.record["restore_statistics"] = self.bench.statistics(self.images, self.side)
        self.pid = int(pidfile.read_text())
        self.stage("the contents after the restore")
        found = self.program.contents(WAIT_LIMIT)
        if found != self.known:
            raise Failed(f"contents differ: {self.known} {found}")
        self.record["contents"] = "identical"
        self.stage("work after the restore")
        self.program.progress(WAIT_LIMIT)
        shutil.rmtree(self.images)

    # ---- all of them ----

    def text(self, end):
        record = self.record
        text = f"target={self.program.name} side={self.side.name} generation={record['generation']}"
        for name in ("dump", "restore"):
            if name in record:
                text += f" {name}={record[name]:.3f}"
        return f"{text} {end}"

    def generation(self, number):
        self.record.update(target=self.program.name, side=self.side.name, generation=number)
        try:
            if number == 1:
                self.start()
            self.dump(number)
            self.restore()
        except RunFailed as failure:
            causes = "; ".join(failure.causes) or "nothing"
            self.record["failure"] = f"criu {failure.action} says: {causes[:500]}"
            self.keep_logs(failure.action)
        except subprocess.TimeoutExpired as failure:
            self.record["failure"] = f"{self.at}: not within {failure.timeout:.0f} s"
            self.keep_logs(self.at)
        except (Failed, RuntimeError, OSError, ValueError, subprocess.SubprocessError) as failure:
            self.record["failure"] = f"{self.at}: {str(failure)[:500]}{self.last_words()}"
            self.keep_logs(self.at)
        failed = self.record.get("failure")
        if failed:
            self.record["at"] = self.at
        else:
            self.record["note"] = self.program.note()
        say(self.text(f"FAILED {failed}" if failed else
                      f"contents=identical processes={self.record['processes']} {self.record['note']}".strip()))
        with open(self.arguments.records, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.record) + "\n")
        self.record = {}
        return not failed

    def keep_logs(self, action):
        """The ends of all logs, where somebody can look at them afterwards."""
        if not self.arguments.logs:
            return
        folder = Path(self.arguments.logs) / f"{self.program.name}-{self.side.name.replace('/', '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        for file in [self.folder / "log", self.bench.work / "rekindled.log", *self.bench.work.glob("images-*/*.log")]:
            if file.exists():
                (folder / f"{action.split()[0]}-{file.name}").write_bytes(file.read_bytes()[-300000:])

    def end(self):
        keep = self.bench.pool.pid if self.bench.pool else None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            left = [pid for pid in descendants(os.getpid()) if pid != keep]
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, 9)
                    os.waitpid(pid, os.WNOHANG)
                except (ProcessLookupError, ChildProcessError):
                    pass
            time.sleep(0.005)
        self.bench.set_pool(None)


def add_arguments(parser):
    parser.add_argument("--bundle")
    parser.add_argument("--simulated", metavar="BUILD")
    parser.add_argument("--work", default="/dev/shm/rekindle-targets")
    parser.add_argument("--generations", type=int, default=2)
    parser.add_argument("--logs", help="a folder for the logs of what failed")
    parser.add_argument("--gpus", type=int, help="that there are; what needs more is left out")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    for name in ("--target", "--side", "--records", "--cache"):
        parser.add_argument(name, required=True)
    parser.add_argument("--start-limit", type=int, required=True)
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: not without who started it
    collect_orphans()
    new_network()
    parts = Parts.of_bundle(arguments.bundle) if arguments.bundle else Parts.of_build(arguments.simulated)
    bench = Bench(parts, arguments.work, touch=not arguments.simulated)
    program = {program.name: program for program in programs(bool(arguments.simulated), arguments.gpus)}[arguments.target]
    side = bench.side(arguments.side)
    case = Case(bench, side, program, arguments)
    try:
        case.stage("the pool's start")
        bench.set_pool(side)
        for number in range(1, arguments.generations + 1):
            if not case.generation(number):
                return 1
    finally:
        case.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
