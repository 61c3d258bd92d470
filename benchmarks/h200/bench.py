# SPDX-License-Identifier: MIT
"""Dumping and restoring GPU processes, timed and compared: what measure.py, the soaks and ../demo.py share.

Time is counted from the start of the criu program to the first step that the restored process does, as the process
itself publishes it in a small file that it maps: "back at work", not "criu said so". Contents are compared every time.
"""
import concurrent.futures
import contextlib
import ctypes
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
WORKER_STEPS_OFFSET = 24  # of struct worker_state in native/protocol/worker_protocol.h
HERE = Path(__file__).resolve().parent
KERNEL_DATA = Path("/run/criu.kdat")
MADV_POPULATE_WRITE = 23


def say(text):
    print(text, flush=True)


def touch_memory(count):
    """These machines may give free memory back to their host; take it again before the clock runs."""
    count = min(count, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - 4 * GIB)
    if count <= 0:
        return
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


def collect_orphans():
    """Become the parent of what criu restores, so that killed processes are reaped and their ids come free."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class RunFailed(RuntimeError):
    """A criu run that failed. causes: the lines of its log that explain it, the plugin's own where it has any."""

    def __init__(self, side, action, status, folder):
        self.side, self.action = side, action
        lines = []
        for name in (f"{action}.log", "rekindled.log"):
            if (folder / name).exists():
                lines += (folder / name).read_text(errors="replace").splitlines()
        # That a limit cannot be raised is in the log of every CRIU in a container, and does no harm.
        errors = [line for line in lines if "Error" in line and "RLIMIT_NOFILE" not in line]
        texts = [line.partition("): ")[2] or line for line in errors]
        own = [text for text in texts if text.startswith(("cuda_plugin: ", "rekindle: "))]
        self.causes = own or texts[-5:]
        context = errors + [line for line in lines if line not in errors and ("rekindle" in line or "cuda_plugin" in line)]
        super().__init__("\n".join([f"{side.name}: criu {action} ended with {status}", *context[-25:]]))


@dataclass
class Parts:
    """Where programs and libraries are: in a folder of bundle.sh, or in the trees that were built here."""
    programs: Path
    libraries: Path
    criu: Path
    stock_criu: Path
    stock_plugin: Path
    cuda_checkpoint: Path  # folder of NVIDIA's program, or of the simulated driver's
    simulated: Path = None  # folder of the simulated driver, where it is to be used

    @staticmethod
    def of_bundle(folder):
        folder = Path(folder).resolve()
        stock = folder / "criu-stock"
        return Parts(folder / "bin", folder / "lib", folder / "criu" / "bin" / "criu", stock / "bin" / "criu",
                     stock / "lib" / "criu", folder / "cuda-checkpoint")

    @staticmethod
    def of_build(folder):
        """The simulated driver, in a build tree."""
        build = Path(folder).resolve()
        provide = build.parents[1] / "criu" / "provide-criu.sh"
        criu, stock = (Path(subprocess.run([provide, *option], check=True, capture_output=True,
                                           text=True).stdout.split()[-1]) for option in ([], ["--stock"]))
        simcuda = build / "lib" / "simcuda"
        return Parts(build / "bin", build / "lib", criu, stock, stock.parents[1] / "plugins" / "cuda", simcuda / "bin",
                     simcuda)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def protobuf_fields(data):
    """The members of a message that are numbers or messages."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        found[key >> 3] = value
    return found


def criu_own_seconds(folder):
    """restore_time of CRIU's statistics: its own work, without the GPU's part at the end."""
    data = (folder / "stats-restore").read_bytes()
    size = struct.unpack_from("<I", data, 8)[0]
    return protobuf_fields(protobuf_fields(data[12:12 + size])[2])[4] / 1e6


class Subject:
    """A program to checkpoint, and how to see that it works and that its contents are the same."""

    def __init__(self, name, device_bytes):
        self.name = name
        self.device_bytes = device_bytes

    def start(self, bench, folder, agent):
        self.state = folder / "state"
        environment = dict(os.environ)
        environment.update(self.settings(bench.parts, agent))
        log = open(folder / "program.log", "ab")
        self.process = subprocess.Popen(
            self.command(bench), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        began = time.monotonic()
        wait_until(f"{self.name} getting ready", self.is_ready, 300)
        return time.monotonic() - began

    def settings(self, parts, agent):
        """What it needs in its environment."""
        settings = {"LD_PRELOAD": str(parts.libraries / "librekindle-preload.so")} if agent else {}
        if parts.simulated:
            settings["LD_LIBRARY_PATH"] = str(parts.simulated)
        return settings

    def is_ready(self):
        if self.process.poll() is not None:
            log = (self.state.parent / "program.log").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {' '.join(log[-1:])}")
        return self.state.exists() and self.state.stat().st_size >= 48 and self.steps() > 0

    def read(self, offset):
        with open(self.state, "rb") as file:
            file.seek(offset)
            return struct.unpack("<Q", file.read(8))[0]


class Worker(Subject):
    def __init__(self, name, mebibytes):
        super().__init__(name, mebibytes << 20)

    def command(self, bench):
        pieces = max(1, min(16, self.device_bytes >> 21), self.device_bytes >> 28)
        return [bench.parts.programs / "rekindle-worker", "--state", self.state, "--mib", str(self.device_bytes >> 20),
                "--pieces", str(pieces)]

    def steps(self):
        return self.read(WORKER_STEPS_OFFSET)

    def contents(self, bench):
        command = [bench.parts.programs / "rekindle-worker-control", "--state", self.state, "checksum", "--timeout", "120"]
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

    def __init__(self, name, dump, criu, plugin, pool, options=(), environment=None, dump_options=()):
        """options: of criu restore."""
        self.name, self.dump, self.criu, self.plugin, self.pool = name, dump, criu, plugin, pool
        self.options, self.dump_options = list(options), list(dump_options)
        self.environment = environment or {}

    def with_setting(self, text):
        """The same with one more setting for plugin and pool: patched/CRIU_CUDA_STREAMS=8."""
        name, value = text.split("=", 1)
        environment = {**self.environment, name: value}
        pool = f"{self.pool} {text}" if self.pool else None
        return Side(f"{self.name}/{text}", self.dump, self.criu, self.plugin, pool, self.options, environment,
                    self.dump_options)


class KernelData:
    """What CRIU learned of the kernel, which takes 30 ms to learn. Each build has its own and would drop the other's."""

    def __init__(self):
        self.saved = {}

    def use(self, criu):
        if criu not in self.saved:
            KERNEL_DATA.unlink(missing_ok=True)
            subprocess.run([criu, "check"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.saved[criu] = KERNEL_DATA.read_bytes() if KERNEL_DATA.exists() else None
        if self.saved[criu] is not None:  # CRIU keeps it on a tmpfs only
            KERNEL_DATA.write_bytes(self.saved[criu])


class Bench:
    """Folders, pool and criu of a measurement. touch: takes the memory that a restore needs back from the host first."""

    def __init__(self, parts, work, patched_options="--restore-threads 0", touch=True, quiet=False):
        self.parts = parts
        self.work = Path(work)
        self.touch = touch_memory if touch else lambda count: None
        self.say = (lambda text: None) if quiet else say
        self.pid = None  # of the process that is to be ended should anything fail
        self.pool_socket = self.work / "pool.sock"
        self.pool = None
        self.raw = []
        self.kernel_data = KernelData()
        patched, stock, ours = parts.criu, parts.stock_criu, parts.libraries / "criu"
        threads = patched_options.split()
        self.sides = {
            "stock": Side("stock", "stock", stock, parts.stock_plugin, None),
            "warm": Side("warm", "agent", stock, ours, "warm"),
            "private": Side("private", "agent", stock, ours, None),
            "patched": Side("patched", "agent", patched, ours, "warm", threads),
            "patched-private": Side("patched-private", "agent", patched, ours, None, threads),
            "patched-huge": Side("patched-huge", "agent", patched, ours, "warm",
                                 [*threads, "--restore-thp", "always"]),
            "native": Side("native", "native", patched, ours, "warm", threads),
            "native-huge": Side("native-huge", "native", patched, ours, "warm", [*threads, "--restore-thp", "always"]),
            "serial": Side("serial", "agent", stock, ours, "warm", environment={"CRIU_CUDA_PARALLEL_RESTORE": "0"}),
        }
        for side in self.sides.values():
            if side.criu == patched:
                side.dump_options = ["--dump-threads", "0"]

    def environment(self, side):
        environment = dict(os.environ)
        environment["PATH"] = f"{self.parts.cuda_checkpoint}:{environment['PATH']}"
        environment["REKINDLE_POOL_SOCKET"] = str(self.pool_socket if side.pool else self.work / "none.sock")
        environment["REKINDLE_POOL_PROGRAM"] = str(self.parts.programs / "rekindled")
        if self.parts.simulated:
            environment["REKINDLE_CUDA_DRIVER"] = str(self.parts.simulated / "libcuda.so.1")
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
                [self.parts.programs / "rekindled", "--socket", self.pool_socket], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, env=self.environment(side))
            wait_until("the pool getting warm", self.pool_is_warm, 60)

    def pool_is_warm(self):
        text = (self.work / "rekindled.log").read_text(errors="replace")
        if self.pool.poll() is not None:
            raise RuntimeError(f"the pool did not start: {text.strip().splitlines()[-1:]}")
        return " is warm" in text

    def criu(self, side, action, folder, options, limit=400):
        command = [side.criu, action, "-D", folder, "-o", f"{action}.log", "-v4", "-L", side.plugin, *options]
        if action == "dump":
            command += side.dump_options
        began = time.monotonic()
        result = subprocess.run(command, env=self.environment(side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=limit)
        if result.returncode:
            raise RunFailed(side, action, result.returncode, folder)
        return began, time.monotonic()

    def statistics(self, folder, side):
        file = folder / "stats-rekindle.json"
        return json.loads(file.read_text()) if side.plugin != self.parts.stock_plugin and file.exists() else None

    def make_image(self, subject, side):
        folder = self.work / f"{subject.name}-{side.dump}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.set_pool(side)
        ready = subject.start(self, folder, agent=side.dump == "agent")
        self.pid = subject.process.pid
        contents = subject.contents(self)
        self.touch(2 * subject.device_bytes + 8 * GIB)
        began, ended = self.criu(side, "dump", folder, ["-t", str(subject.process.pid)])
        subject.process.wait(60)
        self.pid = None
        size = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
        self.say(f"# {subject.name}: {side.dump} dump {ended - began:.2f} s, image {size / GIB:.2f} GiB, "
                 f"program was ready after {ready:.1f} s")
        phases = self.statistics(folder, side)
        for process in phases["processes"] if phases else ():
            self.say("#   " + ", ".join(f"{phase['phase']} {phase['duration'] / 1e9:.2f}" for phase in process["phases"]))
        self.raw.append(dict(case=subject.name, what="dump", side=side.dump, seconds=ended - began, image_bytes=size,
                             ready_seconds=ready, statistics=phases))
        return dict(folder=folder, contents=contents, state=subject.state)

    def restore(self, subject, side, image, number, keep=False):
        """keep: the process goes on, as self.pid."""
        subject.state = image["state"]
        self.set_pool(side)
        self.touch((2 * subject.device_bytes if side.dump != "agent" else 0) + 8 * GIB)
        pidfile = image["folder"] / "pid"
        pidfile.unlink(missing_ok=True)
        command = [side.criu, "restore", "-d", "-D", image["folder"], "-o", "restore.log", "-v4", "-L", side.plugin,
                   "--pidfile", pidfile, *side.options]
        began, working, returned = self.first_step(side, command, self.environment(side), subject, image["folder"])
        self.pid = int(pidfile.read_text())
        contents = subject.contents(self)
        identical = contents == image["contents"]
        if not keep:
            self.end_process()
        phases = self.statistics(image["folder"], side)
        self.raw.append(dict(case=subject.name, what="restore", side=side.name, number=number,
                             start=int(began * 1e9), seconds=working - began, criu_seconds=returned - began,
                             criu_own_seconds=criu_own_seconds(image["folder"]), identical=identical, statistics=phases))
        if not identical:
            raise RuntimeError(f"{subject.name} {side.name}: contents differ: {image['contents']} {contents}")
        return working - began

    def first_step(self, side, command, environment, subject, folder, limit=300):
        """Runs the command that restores the subject: when it began, when the subject did a step, when the command ended."""
        before = subject.steps()
        self.kernel_data.use(side.criu)
        began = time.monotonic()
        criu = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        try:
            returned = None
            while subject.steps() == before:
                now = time.monotonic()
                if returned is None and criu.poll() is not None:
                    returned = now
                    if criu.returncode:
                        raise RunFailed(side, "restore", criu.returncode, folder)
                if now > began + limit:
                    raise RunFailed(side, "restore", "no step of the process", folder)
                time.sleep(0.0005)
            working = time.monotonic()
            if criu.wait(60):
                raise RunFailed(side, "restore", criu.returncode, folder)
            return began, working, returned or time.monotonic()
        finally:
            if criu.poll() is None:
                criu.kill()
                criu.wait()

    def end_process(self):
        """Restored processes are ours by now: see collect_orphans."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None

    def end(self):
        """Whatever became of it: process and pool are gone afterwards."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            self.end_process()
        self.set_pool(None)
