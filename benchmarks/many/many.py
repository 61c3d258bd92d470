# SPDX-License-Identifier: MIT
"""Times several restores of one image at the same time, each in a pid and a network namespace with a /proc of its own. run starts it.

The program is started in such a namespace, and dumped and restored by a criu that is inside: so its ids are the same in each
copy. What the program writes to lies in a folder of which every copy has one of its own, mounted where the program has it. The
pool is outside, one for all. Copies go to the GPUs in turns.

A run is one restore of each number of copies, in turns. Its time is from the start of the first to the moment when the last
program has answered once more. The contents of every copy are compared. Lines copies=N have the median of all runs, how many
times that of one copy it is (with the least and the most of all runs against the one of the same round), how much the pool has
read meanwhile in images' sizes, and each run. Ends with 1 where something failed.
"""
import argparse
import contextlib
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
from bench import GIB, Bench, Parts, Pytorch, RunFailed, Worker, collect_orphans, say, wait_until  # noqa: E402
from measure import machine  # noqa: E402

# The network as well: what the driver binds there (abstract sockets) has the same name in each copy.
NAMESPACE = ["unshare", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
# The first id of a namespace is for who waits in it for its end, the next ones are for criu: the program gets a higher one.
PROGRAM_ID = 1001
# LOG COMMAND...: a log that was opened outside would be a file of another mount namespace, and the namespace has to outlive
# the program, as criu is in it when that ends.
START = f'log=$1; shift; echo {PROGRAM_ID - 1} >/proc/sys/kernel/ns_last_pid; setsid "$@" >>"$log" 2>&1 & wait; exec sleep infinity'
# STATUS FOLDER PLACE COMMAND...: a copy's own folder in its place, criu, and a namespace that stays.
RESTORE = 'status=$1; mount --bind "$2" "$3" || exit 1; shift 3; "$@"; echo $? >"$status"; exec sleep infinity'


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_namespace(subject):
    """The same subject, whose program is PROGRAM_ID in a namespace."""
    command = subject.command
    subject.command = lambda bench: [*NAMESPACE, "sh", "-c", START, "sh", subject.state.parent / "program.log",
                                     *command(bench)]
    return subject


class Copy:
    """One restored program: a subject of its own, which sees the copy's own state."""

    def __init__(self, number, many, device_map):
        self.many, self.number = many, number
        self.subject = many.new_subject()
        self.folder = many.folder / f"copy-{number}"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(many.program, self.folder / "program")
        self.work = self.folder / "work"
        self.work.mkdir()
        self.status = self.work / "status"
        self.subject.state = self.folder / "program" / "state"
        self.before = self.subject.steps()
        self.environment = many.bench.environment(many.side)
        if device_map:
            self.environment["REKINDLE_DEVICE_MAP"] = device_map

    def begin(self):
        side = self.many.side
        criu = [side.criu, "restore", "-d", "-D", self.many.images, "-W", self.work, "-o", "restore.log", "-v4", "-L",
                side.plugin, *side.options]
        command = [*NAMESPACE, "sh", "-c", RESTORE, "sh", self.status, self.folder / "program", self.many.program, *criu]
        self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def is_back(self):
        if self.subject.steps() != self.before:
            return True
        if self.process.poll() is not None:
            raise RuntimeError(f"copy {self.number}: its namespace ended with {self.process.returncode}")
        status = self.status.read_text().strip() if self.status.exists() else ""
        if status not in ("", "0"):
            raise RunFailed(self.many.side, "restore", f"{status} (copy {self.number})", self.work)
        return False

    def end(self):
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()


class Many:
    def __init__(self, bench, side, arguments):
        self.bench, self.side, self.arguments = bench, side, arguments
        self.folder = bench.work / side.name.replace("/", "-")
        self.program, self.images = self.folder / "program", self.folder / "images"
        for folder in (self.program, self.images):
            folder.mkdir(parents=True)
        self.raw = []
        self.seconds = {}

    def new_subject(self):
        if self.arguments.case == "pytorch":
            return Pytorch("pytorch", ["--layers", str(self.arguments.layers)] if self.arguments.layers else ())
        return Worker("worker", self.arguments.mib)

    def dump(self):
        subject = in_namespace(self.new_subject())
        self.bench.set_pool(self.side)
        agent = self.side.dump == "agent"
        try:
            subject.start(self.bench, self.program, agent=agent)
            init = children(subject.process.pid)[0]
            self.known = subject.contents(self.bench)
            self.bench.touch(2 * subject.device_bytes + 8 * GIB)
            self.bench.kernel_data.use(self.side.criu)
            command = ["nsenter", "--target", str(init), "--pid", "--mount", self.side.criu, "dump", "-D", self.images, "-o",
                       "dump.log", "-v4", "-L", self.side.plugin, "-t", str(PROGRAM_ID)]
            began = time.monotonic()
            result = subprocess.run(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=self.arguments.limit)
            if result.returncode:
                raise RunFailed(self.side, "dump", result.returncode, self.images)
        finally:
            subject.process.kill()
            subject.process.wait()
        self.image_bytes = sum(file.stat().st_blocks * 512 for file in self.images.glob("rekindle-pages-*"))
        say(f"# {self.side.name}: dump {time.monotonic() - began:.2f} s, of device memory {self.image_bytes / GIB:.2f} GiB")

    def bytes_read(self):
        """By the pool, from whatever it is."""
        if not self.bench.pool:
            return 0
        text = Path(f"/proc/{self.bench.pool.pid}/io").read_text()
        return int(text.split()[text.split().index("rchar:") + 1])

    def restore(self, count, number):
        """Seconds until all of so many copies are back."""
        gpus = self.arguments.gpus
        maps = [f"0={copy % gpus}" if gpus > 1 and self.side.pool else "" for copy in range(count)]
        copies = [Copy(copy, self, device_map) for copy, device_map in enumerate(maps)]
        self.bench.touch(count * (4 << 30) + 4 * GIB)
        self.bench.kernel_data.use(self.side.criu)
        read, back = self.bytes_read(), {}
        began = time.monotonic()
        try:
            for copy in copies:
                copy.begin()
            while len(back) < count:
                for copy in copies:
                    if copy not in back and copy.is_back():
                        back[copy] = time.monotonic() - began
                if time.monotonic() > began + self.arguments.limit:
                    raise RuntimeError(f"{len(back)} of {count} copies are back after {self.arguments.limit} s")
                time.sleep(0.0005)
            read = self.bytes_read() - read
            for copy in copies:
                wait_until(f"criu's end in copy {copy.number}", lambda at=copy: at.status.exists(), 60)
                found = copy.subject.contents(self.bench)
                if found != self.known:
                    raise RuntimeError(f"copy {copy.number} of {count}: contents differ: {self.known} {found}")
            records = [self.bench.statistics(copy.work, self.side) for copy in copies]
        finally:
            for copy in copies:
                copy.end()
        seconds = [back[copy] for copy in copies]
        self.raw.append(dict(case=self.arguments.case, side=self.side.name, copies=count, number=number, gpus=gpus,
                             seconds=max(seconds), each=seconds, bytes_read=read, image_bytes=self.image_bytes,
                             identical=True, statistics=records))
        self.note(count, seconds, read, records)
        return max(seconds)

    def note(self, count, seconds, read, records):
        words = [f"# {self.side.name} copies={count}", "each=" + ",".join(f"{value:.3f}" for value in seconds)]
        if self.image_bytes:
            words.append(f"read={read / self.image_bytes:.2f}")
        for record in filter(None, records):
            words.append("(" + " ".join(f"{phase['phase']}={(phase['start'] - record['start']) / 1e6:.0f}+"
                                        f"{phase['duration'] / 1e6:.0f}"
                                        for process in record["processes"] for phase in process["phases"]) + ")")
        say(" ".join(words))

    def run(self):
        self.dump()
        counts = [int(count) for count in self.arguments.copies.split(",")]
        self.seconds = {count: [] for count in counts}
        for number in range(self.arguments.runs):
            for count in counts:
                self.seconds[count].append(self.restore(count, number))

    def report(self):
        ones = self.seconds.get(1, [])
        for count, values in self.seconds.items():
            if not values:
                continue
            text = f"case={self.arguments.case} {self.side.name} copies={count} gpus={self.arguments.gpus} " \
                   f"seconds={statistics.median(values):.3f}"
            ratios = [value / one for value, one in zip(values, ones)]
            if ratios and count != 1:
                text += f" times={statistics.median(values) / statistics.median(ones):.2f}" \
                        f" ({min(ratios):.2f}-{max(ratios):.2f})"
            read = [entry["bytes_read"] for entry in self.raw if entry["copies"] == count]
            if self.image_bytes:
                text += f" read={max(read) / self.image_bytes:.2f}"
            say(text + " runs=" + ",".join(f"{value:.3f}" for value in values) + " identical")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--simulated")
    parser.add_argument("--work", default="/dev/shm/rekindle-many")
    parser.add_argument("--case", choices=("pytorch", "worker"), help="(default: pytorch, on the simulated driver worker)")
    parser.add_argument("--sides", default="patched")
    parser.add_argument("--copies", default="1,2,4")
    parser.add_argument("--gpus", type=int, default=1, help="over which the copies are spread; stock's stay where they were")
    parser.add_argument("--mib", type=int, default=1024, help="device memory of the worker")
    parser.add_argument("--layers", type=int, help="of the PyTorch model, for a smaller one than that of 15 GiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=120, help="seconds that a dump, or restores at once, may take")
    parser.add_argument("--results", help="JSON file for every single run")
    arguments = parser.parse_args()
    arguments.case = arguments.case or ("worker" if arguments.simulated else "pytorch")
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = Parts.of_bundle(arguments.bundle) if arguments.bundle else Parts.of_build(arguments.simulated)
    bench = Bench(parts, arguments.work, touch=not arguments.simulated)
    about, failed, raw = machine(), False, []
    say("# " + json.dumps(about))
    try:
        for name in arguments.sides.split(","):
            many = Many(bench, bench.side(name), arguments)
            try:
                many.run()
            except (RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
                say(f"case={arguments.case} {name} FAILED {error}")
                failed = True
            many.report()
            log = bench.work / "rekindled.log"
            for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
                if "of another restore" in line or "Another restore" in line:
                    say(f"# {line}")
            raw += many.raw
            shutil.rmtree(many.folder, ignore_errors=True)
    finally:
        with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
            bench.set_pool(None)
        if arguments.results:
            Path(arguments.results).write_text(json.dumps(dict(machine=about, runs=raw), indent=1) + "\n")
        shutil.rmtree(arguments.work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
