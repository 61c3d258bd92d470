# SPDX-License-Identifier: MIT
"""Workers under the agent, criu with the plugin, and a pool, in a namespace of their own (namespace.py)."""
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from matrix.processes import Children, Failure, Patience, all_processes, places, send, signal_of_zombie, wait_until
from matrix.worker import Worker

DEADLINE = 3        # REKINDLE_TIMEOUT of a run that is disturbed
HANGS = 120         # an operation that takes longer never ends
CONFIGURATION = Path(__file__).resolve().parents[1] / "criu.conf"  # of the runs that nobody disturbs
WORK = Path("/tmp/work")
# What a restore says that is to be tried again. A process is gone from /proc a moment before its id and those of its threads
# are free, and CRIU, stock as well, does not wait for that; after a dump that did not end the first restore puts the older
# checkpoint back, and says so, once.
IDS_IN_USE = re.compile(r"Can't fork for \d+: File exists|create a thread: -17")
PUT_BACK = "restore it again"


class Build:
    """Where everything was built."""

    @staticmethod
    def find():
        """As ctest says it: REKINDLE_TEST_BUILD, and REKINDLE_CRIU, else the criu that provide-criu.sh finds."""
        native = Path(__file__).resolve().parents[2]
        criu = os.environ.get("REKINDLE_CRIU")
        if not criu:
            found = subprocess.run([native / "criu/provide-criu.sh"], check=True, capture_output=True, text=True)
            criu = os.environ["REKINDLE_CRIU"] = found.stdout.split()[-1]
        return Build(os.environ.get("REKINDLE_TEST_BUILD", native / "build/release"), criu)

    def __init__(self, folder, criu):
        self.folder, self.criu = Path(folder), criu
        self.simcuda = self.folder / "lib/simcuda"
        self.agent = self.folder / "lib/librekindle-preload.so"
        self.plugin = self.folder / "lib/criu"
        self.pool = self.folder / "bin/rekindled"
        self.worker = self.folder / "bin/rekindle-worker"
        self.steps = self.folder / "lib/tests/librekindle-steps.so"
        self.hooks = self.folder / "lib/tests/librekindle-step-hooks.so"


class Scene:
    def __init__(self, build, children=0, mib=8, pieces=3, busy=False, shares=False, steps=True):
        self.build, self.with_steps = build, steps
        self.processes = Children()
        self.options = ["--mib", mib, "--pieces", pieces, "--children", children, *(["--busy"] if busy else []),
                        *(["--share"] if shares else [])]
        self.names = ["worker", *(f"worker.{number}" for number in range(1, children + 1))]
        self.plan = WORK / "steps"
        self.plan.mkdir(parents=True)
        (WORK / "rekindle.conf").write_text("[rekindle]\n")
        self.generation = 0
        self.lasting = None
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("REKINDLE_", "CRIU_")) and name != "LD_PRELOAD"}
        self.environment = {**kept, "REKINDLE_POOL_SOCKET": f"{WORK}/pool.sock",
                            "REKINDLE_CONFIGURATION": f"{WORK}/rekindle.conf", "REKINDLE_TEST_STEPS": str(self.plan),
                            "REKINDLE_CUDA_DRIVER": str(build.simcuda / "libcuda.so.1"), "REKINDLE_TIMEOUT": "60"}
        if steps:
            self.environment["REKINDLE_TEST_STEPS_PRELOAD"] = str(build.steps)
            self.environment["CRIU_CUDA_STREAMS"] = "2"  # the steps are the same then on a machine of many cores

    def preload(self, *libraries):
        steps = (self.build.steps, self.build.hooks)
        return ":".join(str(library) for library in libraries if self.with_steps or library not in steps)

    # ---- the processes ----

    def start_workers(self, seconds=120):
        environment = {**self.environment, "LD_LIBRARY_PATH": str(self.build.simcuda),
                       "LD_PRELOAD": self.preload(self.build.agent, self.build.steps)}
        del environment["REKINDLE_CUDA_DRIVER"]
        # Not into a file: CRIU restores nothing whose files have another size.
        root = self.processes.start([self.build.worker, "--state", WORK / "worker", *self.options],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                    env=environment)
        for name in self.names:
            wait_until(f"{name} starting", lambda: (WORK / name).exists() and (WORK / name).stat().st_size == 4096, seconds)
        self.workers = [Worker(WORK / name, 0) for name in self.names]
        for worker in self.workers:
            worker.wait_ready(seconds)
            worker.pid = worker.get(12)
        self.root = root.pid

    def contents(self, seconds=60):
        return [worker.contents(seconds) for worker in self.workers]

    def are_there(self):
        self.processes.collect()
        return [worker.is_there() for worker in self.workers]

    def wait_gone(self, seconds=120):
        def gone():
            self.processes.collect()
            return all(worker.is_gone() for worker in self.workers)
        wait_until("the ids of the processes getting free", gone, seconds)

    def kill_workers(self):
        for worker in self.workers:
            if worker.is_there():
                send(worker.pid, signal.SIGKILL)
        self.wait_gone()

    # ---- the pool ----

    def start_pool(self, *options, deadline=DEADLINE):
        log = open(WORK / "pool.log", "wb")
        self.lasting = self.processes.start(
            [self.build.pool, *(options or ["--socket", WORK / "pool.sock"])], stdout=log, stderr=log, start_new_session=True,
            env={**self.environment, "LD_PRELOAD": self.preload(self.build.steps), "REKINDLE_TIMEOUT": str(deadline)})
        log.close()
        wait_until("the pool getting warm", lambda: b" is warm" in (WORK / "pool.log").read_bytes(), 60)

    def others(self):
        """pid: name of what is there beside the workers and a lasting pool."""
        self.processes.collect()
        expected = {worker.pid for worker in self.workers} | ({self.lasting.pid} if self.lasting else set())
        return {pid: name for pid, name in all_processes().items() if pid not in expected}

    def wait_alone(self, seconds):
        wait_until("the end of all that belongs to the run", lambda: not self.others(), seconds)

    # ---- criu ----

    def make_script(self):
        """An action script of CRIU's, each run of which is a step of its own. Returns the options that name it."""
        script = WORK / "script"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        return ["--action-script", script]

    def arm(self, folder, role="x", occurrence=0, fault="record", name="x"):
        """See steps/step.h. Without arguments: only record."""
        self.generation += 1
        for file in self.plan.iterdir():
            if file.name != "pid.pool" or not self.lasting:
                file.unlink()
        new = WORK / "plan.new"
        new.write_text(f"{self.generation} {folder} {self.root} {role} {occurrence} {fault} {name}\n")
        new.rename(self.plan / "plan")

    def release(self):
        """What hangs goes on."""
        (self.plan / "hang").unlink(missing_ok=True)

    def disarm(self):
        for name in ("plan", "full", "agent-hangs", "hang"):
            (self.plan / name).unlink(missing_ok=True)

    def record(self):
        """The steps that were made: (role, occurrence, name) in order."""
        # A line that is just being written, or whose writer was killed, may be there in part.
        lines = re.findall(r"^(\w+) (\d+) (.+)\n", (self.plan / "record").read_text(), re.MULTILINE)
        return [(role, int(occurrence), name) for role, occurrence, name in lines]

    def start_criu(self, action, folder, *options, settings=None):
        folder.mkdir(exist_ok=True)
        environment = {**self.environment, **(settings or {}), "LD_PRELOAD": self.preload(self.build.steps, self.build.hooks)}
        with open(folder / f"{action}.out.log", "wb") as out:
            return self.processes.start(
                [self.build.criu, action, "-D", folder, "-L", self.build.plugin, "-v4", "-o", f"{action}.log", *options],
                stdout=out, stderr=out, env=environment)

    def finish(self, criu, what):
        """Its exit status; negative: the signal. self.seconds: how long it took."""
        patience = Patience(HANGS)
        while criu.poll() is None:
            if patience.is_over():
                raise Failure(f"criu {what} hangs for {HANGS} s:\n{places()}")
            time.sleep(0.002)
        self.seconds = patience.passed
        self.processes.collect()
        return criu.returncode

    def died_of_criu(self, folder):
        """Has criu been killed while code of its own ran in the process, which ended of that? A stock criu does that to a
        process without CUDA, too: stock_criu_killed.py. The plugin's part was over then: CRIU's log says when it begins,
        and the signal is one that a program gets for what it runs."""
        signals = (signal.SIGTRAP, signal.SIGSEGV, signal.SIGILL, signal.SIGBUS)
        log = (folder / "dump.log").read_text(errors="replace")
        self.processes.collect()
        return "Parasite syscall_ip at" in log and "Dumping finished" not in log and \
            any(self.processes.signals.get(worker.pid, signal_of_zombie(worker.pid)) in signals for worker in self.workers)

    def lost_one_to_criu(self, folder, expected):
        """Likewise in one process alone, and the others go on, with what is expected of them."""
        there = self.are_there()
        if all(there) or not self.died_of_criu(folder):
            return False
        for worker, is_there, contents in zip(self.workers, there, expected):
            if is_there and worker.contents() != contents:
                raise Failure(f"process {worker.pid} runs with other contents than {contents}")
        self.kill_workers()
        return True

    def dump(self, folder, *options, settings=None):
        settings = {"CRIU_CONFIG_FILE": str(CONFIGURATION), **(settings or {})}
        return self.finish(self.start_criu("dump", folder, "-t", self.root, *options, settings=settings), "dump")

    def restore(self, folder, *options, settings=None):
        return self.finish(self.start_criu("restore", folder, "-d", *options, settings=settings), "restore")

    def must_dump(self, folder, *options, settings=None):
        status = self.dump(folder, *options, settings=settings)
        if status:
            raise Failure(f"a dump that nobody disturbs ends with {status}: {errors_of(folder / 'dump.log')}")
        if "--leave-running" not in options:
            self.wait_gone()

    def must_restore(self, folder, settings=None):
        put_back = False
        for _ in range(20):
            status = self.restore(folder, settings=settings)
            log = (folder / "restore.log").read_text(errors="replace")
            if not status or not (IDS_IN_USE.search(log) or (not put_back and PUT_BACK in log)):
                break
            put_back = put_back or PUT_BACK in log
            time.sleep(0.05)
        if status:
            raise Failure(f"{folder.name} does not restore ({status}): {errors_of(folder / 'restore.log')}")


def errors_of(log):
    """The first error lines that explain."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "no log"
    errors = [line for line in lines if "Error" in line and "RLIMIT_NOFILE" not in line]
    ours = [line for line in errors if "rekindle" in line]
    return " | ".join((ours or errors)[:3]) or "no error in the log"
