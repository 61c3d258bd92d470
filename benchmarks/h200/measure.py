# SPDX-License-Identifier: MIT
"""Times restores of GPU processes, stock CRIU against Rekindle. restore.sh starts it.

Time is counted from the start of the criu program to the first step that the restored process does, as the process
itself publishes it in a small file that it maps: "back at work", not "criu said so". Contents are compared every time.
"""
import argparse
import concurrent.futures
import ctypes
import json
import mmap
import os
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

GIB = 1 << 30
WORKER_STEPS_OFFSET = 24  # of struct worker_state in native/worker/worker_state.h
HERE = Path(__file__).resolve().parent
KERNEL_DATA = Path("/run/criu.kdat")
MADV_POPULATE_WRITE = 23


def say(text):
    print(text, flush=True)


def touch_memory(count):
    """These machines may give free memory back to their host; take it again before the clock runs."""
    count = min(count, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - 4 * GIB)
    area = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)

    def populate(offset):
        if libc.madvise(ctypes.c_void_p(address + offset), ctypes.c_size_t(min(GIB, count - offset)), MADV_POPULATE_WRITE):
            raise OSError(ctypes.get_errno(), "the memory cannot be touched")

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(populate, range(0, count, GIB)))
    area.close()


def wait_until(what, condition, limit):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {limit} s")
        time.sleep(0.0005)


class Subject:
    """A program to checkpoint, and how to see that it works and that its contents are the same."""

    def __init__(self, name, device_bytes):
        self.name = name
        self.device_bytes = device_bytes

    def start(self, bench, folder, agent):
        self.state = folder / "state"
        environment = dict(os.environ)
        if agent:
            environment["LD_PRELOAD"] = str(bench.bundle / "lib" / "librekindle-preload.so")
        log = open(folder / "program.log", "ab")
        self.process = subprocess.Popen(
            self.command(bench), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        began = time.monotonic()
        wait_until(f"{self.name} getting ready", self.is_ready, 300)
        return time.monotonic() - began

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
        return self.state.exists() and self.state.stat().st_size >= 48 and self.steps() > 0

    def read(self, offset):
        with open(self.state, "rb") as file:
            file.seek(offset)
            return struct.unpack("<Q", file.read(8))[0]


class Worker(Subject):
    def __init__(self, name, gibibytes):
        super().__init__(name, gibibytes * GIB)

    def command(self, bench):
        return [bench.bundle / "bin" / "rekindle-worker", "--state", self.state, "--mib", str(self.device_bytes >> 20),
                "--pieces", str(max(16, self.device_bytes >> 28))]

    def steps(self):
        return self.read(WORKER_STEPS_OFFSET)

    def contents(self, bench):
        command = [bench.bundle / "bin" / "rekindle-worker-control", "--state", self.state, "checksum", "--timeout", "120"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


class Pytorch(Subject):
    def __init__(self, name="pytorch", options=()):
        super().__init__(name, 15 * GIB)
        self.options = options

    def command(self, bench):
        return [sys.executable, HERE / "pytorch_llama.py", "--state", self.state, *self.options]

    def steps(self):
        return self.read(0)

    def contents(self, bench):
        with open(self.state, "r+b") as file:
            state = mmap.mmap(file.fileno(), 4096)
        requested = struct.unpack_from("<Q", state, 24)[0] + 1
        struct.pack_into("<Q", state, 24, requested)
        wait_until("the digest of the weights", lambda: struct.unpack_from("<Q", state, 32)[0] == requested, 60)
        before = self.steps()
        wait_until("another pass", lambda: self.steps() > before + 1, 60)
        return "%016x-%016x" % (struct.unpack_from("<Q", state, 8)[0], struct.unpack_from("<Q", state, 16)[0])


class Side:
    """One way to dump and restore."""

    def __init__(self, name, dump, criu, plugin, pool, options=(), environment=None):
        self.name, self.dump, self.criu, self.plugin, self.pool = name, dump, criu, plugin, pool
        self.options = list(options)
        self.environment = environment or {}

    def with_setting(self, text):
        """The same with one more setting for plugin and pool: patched/CRIU_CUDA_STREAMS=8."""
        name, value = text.split("=", 1)
        environment = {**self.environment, name: value}
        pool = f"{self.pool} {text}" if self.pool else None
        return Side(f"{self.name}/{text}", self.dump, self.criu, self.plugin, pool, self.options, environment)


class KernelData:
    """What CRIU learned of the kernel, which takes 30 ms to learn. Each build has its own and would drop the other's."""

    def __init__(self):
        self.saved = {}

    def use(self, criu):
        if criu not in self.saved:
            KERNEL_DATA.unlink(missing_ok=True)
            subprocess.run([criu, "check"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.saved[criu] = KERNEL_DATA.read_bytes()
        KERNEL_DATA.write_bytes(self.saved[criu])


class Bench:
    def __init__(self, arguments):
        self.bundle = Path(arguments.bundle)
        self.work = Path(arguments.work)
        self.arguments = arguments
        self.pool_socket = self.work / "pool.sock"
        self.pool = None
        self.raw = []
        self.kernel_data = KernelData()
        patched = self.bundle / "criu" / "bin" / "criu"
        stock = self.bundle / "criu-stock" / "bin" / "criu"
        ours = self.bundle / "lib" / "criu"
        stock_plugin = self.bundle / "criu-stock" / "lib" / "criu"
        threads = arguments.patched_options.split()
        self.sides = {
            "stock": Side("stock", "stock", stock, stock_plugin, None),
            "warm": Side("warm", "agent", stock, ours, "warm"),
            "private": Side("private", "agent", stock, ours, None),
            "patched": Side("patched", "agent", patched, ours, "warm", threads),
            "patched-private": Side("patched-private", "agent", patched, ours, None, threads),
            "patched-huge": Side("patched-huge", "agent", patched, ours, "warm",
                                 [*threads, "--restore-hugepages", "always"]),
            "native": Side("native", "native", patched, ours, "warm", threads),
            "native-huge": Side("native-huge", "native", patched, ours, "warm", [*threads, "--restore-hugepages", "always"]),
            "serial": Side("serial", "agent", stock, ours, "warm", environment={"CRIU_CUDA_PARALLEL_RESTORE": "0"}),
        }

    def environment(self, side):
        environment = dict(os.environ)
        environment["PATH"] = f"{self.bundle / 'cuda-checkpoint'}:{environment['PATH']}"
        environment["REKINDLE_POOL_SOCKET"] = str(self.pool_socket if side.pool else self.work / "none.sock")
        environment["REKINDLE_POOL_PROGRAM"] = str(self.bundle / "bin" / "rekindled")
        environment.update(side.environment)
        return environment

    def side(self, name):
        name, _, setting = name.partition("/")
        return self.sides[name].with_setting(setting) if setting else self.sides[name]

    def set_pool(self, side):
        """The pool that the side wants, and no other: None stops the one there is."""
        wanted = side.pool if side else None
        if self.pool and wanted != self.pool_kind:
            self.pool.send_signal(signal.SIGTERM)
            self.pool.wait(60)
            self.pool = None
        if wanted and not self.pool:
            self.pool_kind = wanted
            log = open(self.work / "rekindled.log", "wb")
            self.pool = subprocess.Popen(
                [self.bundle / "bin" / "rekindled", "--socket", self.pool_socket], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, env={**os.environ, **side.environment})
            wait_until("the pool getting warm",
                       lambda: b" is warm" in (self.work / "rekindled.log").read_bytes(), 60)

    def criu(self, side, action, folder, options):
        command = [side.criu, action, "-D", folder, "-o", f"{action}.log", "-v4", "-L", side.plugin, *options]
        began = time.monotonic()
        result = subprocess.run(command, env=self.environment(side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=400)
        if result.returncode:
            lines = (folder / f"{action}.log").read_text(errors="replace").splitlines()
            errors = [line for line in lines if "Error" in line or "rekindle" in line][-15:]
            pool = folder / "rekindled.log"
            if pool.exists():
                errors += pool.read_text(errors="replace").splitlines()[-15:]
            raise RuntimeError(f"{side.name}: criu {action} ended with {result.returncode}\n" + "\n".join(errors))
        return began, time.monotonic()

    def statistics(self, folder):
        file = folder / "stats-rekindle.json"
        return json.loads(file.read_text()) if file.exists() else None

    def make_image(self, subject, side):
        folder = self.work / f"{subject.name}-{side.dump}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.set_pool(side)
        ready = subject.start(self, folder, agent=side.dump == "agent")
        contents = subject.contents(self)
        touch_memory(2 * subject.device_bytes + 8 * GIB)
        began, ended = self.criu(side, "dump", folder, ["-t", str(subject.process.pid)])
        subject.process.wait(60)
        size = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
        say(f"# {subject.name}: {side.dump} dump {ended - began:.2f} s, image {size / GIB:.2f} GiB, "
            f"program was ready after {ready:.1f} s")
        phases = self.statistics(folder) if side.dump != "stock" else None
        for process in phases["processes"] if phases else ():
            say("#   " + ", ".join(f"{phase['phase']} {phase['duration'] / 1e9:.2f}" for phase in process["phases"]))
        self.raw.append(dict(case=subject.name, what="dump", side=side.dump, seconds=ended - began, image_bytes=size,
                             ready_seconds=ready, statistics=phases))
        return dict(folder=folder, contents=contents, state=subject.state)

    def restore(self, subject, side, image, number):
        subject.state = image["state"]
        self.set_pool(side)
        touch_memory((2 * subject.device_bytes if side.dump != "agent" else 0) + 8 * GIB)
        pidfile = image["folder"] / "pid"
        pidfile.unlink(missing_ok=True)
        before = subject.steps()
        command = [side.criu, "restore", "-d", "-D", image["folder"], "-o", "restore.log", "-v4", "-L", side.plugin,
                   "--pidfile", pidfile, *side.options]
        environment = self.environment(side)
        self.kernel_data.use(side.criu)
        began = time.monotonic()
        criu = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        returned = None
        limit = began + 40
        while True:
            now = time.monotonic()
            if returned is None and criu.poll() is not None:
                returned = now
                if criu.returncode:
                    self.criu_failed(side, image)
            if subject.steps() != before:
                working = now
                break
            if now > limit:
                self.criu_failed(side, image)
            time.sleep(0.0005)
        criu.wait()
        returned = returned or time.monotonic()
        contents = subject.contents(self)
        identical = contents == image["contents"]
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # ours by now: see the subreaper below
        phases = self.statistics(image["folder"]) if side.name != "stock" else None
        self.raw.append(dict(case=subject.name, what="restore", side=side.name, number=number,
                             start=int(began * 1e9), seconds=working - began, criu_seconds=returned - began, identical=identical,
                             statistics=phases))
        if not identical:
            raise RuntimeError(f"{subject.name} {side.name}: contents differ: {image['contents']} {contents}")
        return working - began

    def criu_failed(self, side, image):
        for name in ("restore.log", "rekindled.log"):
            file = image["folder"] / name
            if file.exists():
                text = file.read_text(errors="replace").splitlines()
                say(f"--- {name}")
                say("\n".join([line for line in text if "Error" in line or "cuda_plugin" in line or name != "restore.log"][-25:]))
        raise RuntimeError(f"{side.name}: restore failed")

    def case(self, subject, names):
        sides = [self.side(name) for name in names]
        images = {}
        for side in sides:
            if side.dump not in images:
                images[side.dump] = self.make_image(subject, side)
        if len({image["contents"] for image in images.values()}) != 1 and subject.name != "pytorch":
            say(f"# {subject.name}: the dumps hold different contents (each is compared with its own)")
        seconds = {side.name: [] for side in sides}
        for number in range(self.arguments.runs):
            for side in sides:
                if side.name == "stock" and number >= self.arguments.stock_runs:
                    continue
                seconds[side.name].append(self.restore(subject, side, images[side.dump], number))
        for side in sides:
            values = seconds[side.name]
            say(f"# {subject.name} {side.name}: " + " ".join(f"{value:.3f}" for value in values))
        for side in sides:
            if side.name == "stock":
                continue
            mine = statistics.median(seconds[side.name])
            spread = (max(seconds[side.name]) - min(seconds[side.name])) / mine * 100
            if "stock" in seconds:
                stock = statistics.median(seconds["stock"])
                say(f"case={subject.name}-{side.name} stock={stock:.3f} ours={mine:.3f} ratio={stock / mine:.1f} "
                    f"spread={spread:.0f}%")
            else:
                say(f"case={subject.name}-{side.name} ours={mine:.3f} spread={spread:.0f}%")
        self.set_pool(None)
        for image in images.values():
            if self.arguments.keep:
                continue
            shutil.rmtree(image["folder"], ignore_errors=True)


def machine():
    def output(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""
    return dict(
        gpu=output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
        kernel=platform.release(), cores=os.cpu_count(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        images="tmpfs", cache="warm", date=time.strftime("%Y-%m-%d"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--work", default="/dev/shm/rekindle-bench")
    parser.add_argument("--cases", default="c8,c32,pytorch")
    parser.add_argument("--sides", default="stock,warm,private,patched,patched-private,native")
    parser.add_argument("--patched-options", default="--restore-threads 0", help="given to the patched criu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--stock-runs", type=int, default=5)
    parser.add_argument("--results", help="JSON file for every single run")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    subjects = {"c8": lambda: Worker("c8", 8), "c32": lambda: Worker("c32", 32), "c1": lambda: Worker("c1", 1),
                "pytorch": Pytorch, "pytorch-2gpus": lambda: Pytorch("pytorch-2gpus", ["--devices", "2"]),
                "pytorch-2gpus-peer": lambda: Pytorch("pytorch-2gpus-peer", ["--devices", "2", "--peer"])}
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    # Become the parent of what criu restores, so that killed processes are reaped and their pids come free.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    bench = Bench(arguments)
    about = machine()
    about["criu"] = {
        name: subprocess.run([bench.sides[name].criu, "--version"], capture_output=True, text=True).stdout.split()[1]
        for name in ("stock", "patched")}
    say("# " + json.dumps(about))
    failed = 0
    try:
        for name in arguments.cases.split(","):
            try:
                bench.case(subjects[name](), arguments.sides.split(","))
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                say(f"case={name} FAILED {error}")
                failed = 1
                subprocess.run(["pkill", "-9", "rekindle-worker"], check=False)
                subprocess.run(["pkill", "-9", "-f", "pytorch_llama.py"], check=False)
    finally:
        bench.set_pool(None)
        if arguments.results:
            Path(arguments.results).write_text(json.dumps(dict(machine=about, runs=bench.raw), indent=1) + "\n")
        if not arguments.keep:
            shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
