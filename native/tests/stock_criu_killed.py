#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What becomes of a process whose dump is broken off by the end of criu: a stock criu, no plugin, a process without CUDA.

    stock_criu_killed.py --criu PROGRAM

At each ptrace call of an undisturbed dump criu is killed once (steps/step.h), and then the process goes on or has ended of
it. What crash_matrix.py calls lost by stock CRIU is measured here; run by hand.
"""
import argparse
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from matrix import namespace
from matrix.processes import Failure, wait_until
from matrix.scene import WORK, Build, Scene

HERE = Path(__file__).resolve().parent
IMAGE = WORK / "image"


class Process(Scene):
    """A worker without CUDA, and nothing of ours but what counts criu's steps."""

    def __init__(self, build):
        super().__init__(build)
        self.options = ["--no-cuda", "--mib", 8, "--pieces", 3]

    def preload(self, *libraries):
        return str(self.build.steps) if self.build.agent not in libraries else ""

    def dump_it(self):
        IMAGE.mkdir(exist_ok=True)
        environment = {**self.environment, "LD_PRELOAD": str(self.build.steps)}
        criu = self.processes.start([self.build.criu, "dump", "-D", IMAGE, "-v4", "-o", "dump.log", "-t", self.root],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        return self.finish(criu, "dump")


def inside(build, occurrence, name):
    namespace.close_descriptors()
    namespace.mount_fresh()
    WORK.mkdir()
    os.chdir(WORK)
    process = Process(build)
    process.start_workers()
    contents = process.contents()
    process.arm(IMAGE, *(("criu", occurrence, "criu", name) if name else ()))
    status = process.dump_it()
    if not name:
        if status:
            raise Failure(f"a dump that nobody disturbs ends with {status}")
        return [step for step in process.record() if step[2].startswith("ptrace")]
    if not (process.plan / "reached").exists():
        return "the step was not made"
    worker = process.workers[0]
    try:
        if process.contents(3) == contents:
            return "goes on"
        return "goes on with other contents"
    except Failure:
        pass
    try:
        wait_until("the end of the process", lambda: process.processes.collect() or worker.is_gone(), 3)
    except Failure:
        return f"stands still: {worker.how_it_stands()}"
    return f"ended by {signal.Signals(process.processes.signals[worker.pid]).name}"


def run_inside(criu, *arguments):
    child = namespace.start([HERE / "stock_criu_killed.py", "--criu", criu, "--inside", *arguments],
                            stdout=subprocess.PIPE, text=True)
    out, _ = child.communicate(timeout=200)
    if child.returncode:
        return "the case broke off"
    return json.loads(out.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--criu", required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    build = Build(os.environ.get("REKINDLE_TEST_BUILD", HERE.parent / "build/release"), arguments.criu)
    if arguments.inside:
        print(json.dumps(inside(build, int(arguments.inside[0]), arguments.inside[1])), flush=True)
        return 0
    namespace.learn_kernel(arguments.criu)
    steps = run_inside(arguments.criu, "0", "")
    if isinstance(steps, str):
        raise SystemExit(steps)
    counts = {}
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda step: run_inside(arguments.criu, str(step[1]), step[2]), steps)
        for (_, occurrence, name), result in zip(steps, results):
            print(f"{occurrence:3} {name}: {result}", flush=True)
            counts[result] = counts.get(result, 0) + 1
    print(", ".join(f"{result}: {count}" for result, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
