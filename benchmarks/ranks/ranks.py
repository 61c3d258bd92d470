# SPDX-License-Identifier: MIT
"""Dumps two busy NCCL ranks, each on a GPU of its own, again and again, and restores them. run starts it.

Prints a line for each dump that lets them run: criu's time, how long they had been being locked, at which attempt they came
to rest. Then they are dumped and restored, --generations times, each time into a network namespace of its own, as the
connections that end leave theirs waiting. Ends with 1 where something failed or the weights differ.
"""
import argparse
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
from bench import Bench, Parts, RunFailed, collect_orphans, say, wait_until  # noqa: E402
from network import network_of, new_network  # noqa: E402

OPTIONS = ["--tcp-established", "--network-lock", "skip", "--ghost-limit", "1G", "--link-remap", "--file-locks",
           "--timeout", "20"]


class Ranks:
    def __init__(self, bench, side):
        self.bench, self.side = bench, side
        self.folder = bench.work / "ranks"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        log = open(self.folder / "log", "wb")
        environment = bench.environment(side)
        environment["LD_PRELOAD"] = str(bench.parts.libraries / "librekindle-preload.so")
        self.root = subprocess.Popen([sys.executable, HERE / "nccl_rank.py", self.folder], stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, start_new_session=True, env=environment,
                                     preexec_fn=new_network)
        self.pid = self.root.pid
        wait_until("the ranks' first steps", lambda: self.root.poll() is not None or len(self.state()) == 2, 180)
        if self.root.poll() is not None:
            sys.exit((self.folder / "log").read_text(errors="replace")[-2000:])
        self.sums = [state["sum"] for state in self.state()]

    def are_gone(self):
        """Whoever of them has ended is ours to reap, see collect_orphans."""
        pool = self.bench.pool.pid
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        left = [int(pid) for pid in children if int(pid) != pool]
        return all(os.waitpid(pid, os.WNOHANG)[0] for pid in left)

    def state(self):
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("rank-*.json"))]

    def check(self):
        """Both make steps, and the weights are the same."""
        before = [state["steps"] for state in self.state()]
        wait_until("steps of both ranks", lambda: all(
            state["steps"] > steps + 40 for state, steps in zip(self.state(), before)), 60)
        if [state["sum"] for state in self.state()] != self.sums:
            raise RuntimeError(f"the weights differ: {self.sums} {self.state()}")

    def criu(self, action, images, options, **arguments):
        command = [self.side.criu, action, "-D", images, "-o", f"{action}.log", "-v4", "-L", self.side.plugin, *OPTIONS,
                   *options]
        began = time.monotonic()
        result = subprocess.run(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, **arguments)
        if result.returncode:
            raise RunFailed(self.side, action, result.returncode, images)
        return time.monotonic() - began

    def images(self, name):
        images = self.folder / name
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir()
        return images

    def dump(self, images, *options):
        seconds = self.criu("dump", images, ["-t", str(self.pid), *options], preexec_fn=network_of(self.pid))
        log = (images / "dump.log").read_text(errors="replace")
        attempt = re.search(r"came to rest together at attempt (\d+)", log)
        record = self.bench.statistics(images, self.side)
        locked = max(phase["duration"] for process in record["processes"] for phase in process["phases"]
                     if phase["phase"] == "lock") / 1e9
        say(f"dump={seconds:.2f} lock={locked:.3f} attempt={attempt.group(1) if attempt else 1}")
        return record


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--work", default="/dev/shm/ranks")
    parser.add_argument("--dumps", type=int, default=10)
    parser.add_argument("--generations", type=int, default=2)
    parser.add_argument("--side", default="patched")
    arguments = parser.parse_args()
    collect_orphans()
    Path(arguments.work).mkdir(parents=True, exist_ok=True)
    bench = Bench(Parts.of_bundle(arguments.bundle), arguments.work)
    side = bench.side(arguments.side)
    bench.set_pool(side)
    ranks, failed = Ranks(bench, side), 0
    try:
        for number in range(arguments.dumps):
            try:
                ranks.dump(ranks.images("running"), "--leave-running")
            except RunFailed as failure:
                failed += 1
                say(f"dump FAILED: {failure}")
            ranks.check()
        for generation in range(arguments.generations):
            images = ranks.images(f"images-{generation}")
            ranks.dump(images)
            wait_until("the ranks' end", ranks.are_gone, 60)
            before = ranks.state()
            seconds = ranks.criu("restore", images, ["-d", "--pidfile", images / "pid", *side.options],
                                 preexec_fn=new_network)
            ranks.pid = int((images / "pid").read_text())
            wait_until("steps", lambda: ranks.state()[0]["steps"] > before[0]["steps"], 60)
            ranks.check()
            say(f"restore={seconds:.2f} identical")
    except (RunFailed, RuntimeError) as failure:
        failed += 1
        say(f"FAILED: {failure}")
        say((ranks.folder / "log").read_text(errors="replace")[-1500:])
    subprocess.run(["pkill", "-KILL", "-f", "nccl_rank.py"])
    bench.set_pool(None)
    shutil.rmtree(bench.work, ignore_errors=True)
    say(f"ranks: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
