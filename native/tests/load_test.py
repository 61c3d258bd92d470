#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many dumps and restores at once against one pool, while criu is killed at random: load_test.py [--seconds 30]

Each lane has a pid namespace, a worker and a folder of its own, and dumps and restores in turn. One run in four is
killed at a random moment. After each run the contents are compared: the worker runs with them, or its image restores
with them; only CRIU itself, killed while its own code runs in the process, may have broken it (counted as broken). At the
end the pool holds no more than at the beginning.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from matrix import namespace
from matrix.case import BUSY
from matrix.processes import Failure, descriptors_of, growth, status_of, threads_of, wait_until
from matrix.scene import IDS_IN_USE, PUT_BACK, WORK, Build, Scene, errors_of

HERE = Path(__file__).resolve().parent
SKIPPED = 77
SOCKET = "/run/load-pool.sock"
LIMIT = 120  # a run of one of 64 lanes on two cores
# With 64 at once each one waits for its turn: a deadline of seconds would be one for the machine.
DEADLINE = LIMIT // 2
ENVIRONMENT = {"REKINDLE_POOL_SOCKET": SOCKET, "REKINDLE_TIMEOUT": str(DEADLINE)}


class Lane:
    def __init__(self, number, seed, end):
        self.choice = random.Random(f"{seed}-{number}")
        self.end = end
        self.scene = Scene(Build.find(), mib=4, pieces=2, steps=False)
        self.scene.environment.update(ENVIRONMENT)
        self.scene.start_workers(LIMIT)
        self.contents = self.scene.contents(LIMIT)
        self.folder = WORK / "image"
        self.usual = {"dump": 0.5, "restore": 0.5}
        self.killed = False  # the run before
        self.counts = dict(dumps=0, restores=0, killed=0, broken=0)

    def compare(self, seconds=LIMIT):
        now = self.scene.contents(seconds)
        if now != self.contents:
            raise Failure(f"contents differ: {self.contents} {now}")

    def run(self, action):
        """Its exit status, or the signal as which it was killed."""
        scene = self.scene
        options = ["-t", scene.root, "--timeout", LIMIT] if action == "dump" else ["-d"]
        # Until the pool is through with a run whose criu was killed, the next one is told to come again.
        end = time.monotonic() + (LIMIT if self.killed else 0)
        self.killed = self.choice.random() < 0.25
        ids_end, put_back = time.monotonic() + LIMIT, False
        while True:
            began = time.monotonic()
            criu = scene.start_criu(action, self.folder, *options)
            if self.killed:
                try:
                    criu.wait(self.choice.uniform(0, 1.2 * self.usual[action]))
                except subprocess.TimeoutExpired:
                    criu.kill()
                    self.counts["killed"] += 1
                return criu.wait()
            if criu.wait(LIMIT) == 0:
                self.usual[action] = time.monotonic() - began
                return 0
            errors = errors_of(self.folder / (action + ".log"))
            log = (self.folder / (action + ".log")).read_text(errors="replace")
            again = (BUSY.search(errors) and time.monotonic() < end) or (action == "restore" and (
                (IDS_IN_USE.search(log) and time.monotonic() < ids_end) or (PUT_BACK in log and not put_back)))
            if not again:
                raise Failure(f"{action} ended with {criu.returncode}: {errors}")
            put_back = put_back or PUT_BACK in log
            time.sleep(0.05)

    def is_gone(self, seconds):
        try:
            self.scene.wait_gone(seconds)
        except Failure:
            return False
        return True

    def dump(self):
        """True: it is in the image. False: it goes on. None: it is no more, see above."""
        status = self.run("dump")
        self.counts["dumps"] += 1
        if status == 0:
            self.scene.wait_gone(LIMIT)
            return True
        # The kill may have come when criu had ended it already.
        end = time.monotonic() + LIMIT
        while not self.is_gone(0.2):
            try:
                self.compare(5)
                return False
            except Failure:
                if time.monotonic() > end:
                    raise
        if (self.folder / "inventory.img").exists():
            return True
        # Nothing but this may end a process that is not in an image.
        if not self.scene.died_of_criu(self.folder):
            raise Failure("the process has ended, and no image has it")
        self.counts["broken"] += 1
        return None

    def restore(self):
        status = self.run("restore")
        self.counts["restores"] += 1
        if status == 0:
            self.compare()
            return True
        # What was complete goes on; the rest ends.
        end = time.monotonic() + LIMIT
        while not self.is_gone(0.2):
            try:
                self.compare(5)
                return True
            except Failure:
                if time.monotonic() > end:
                    raise
        return False

    def work(self):
        in_image = False
        while in_image is not None and (time.monotonic() < self.end or in_image):
            in_image = not self.restore() if in_image else self.dump()
        return self.counts


def lane(arguments):
    namespace.close_descriptors()
    namespace.mount_fresh(("/tmp", "/dev/shm"))
    WORK.mkdir()
    os.chdir(WORK)
    print(json.dumps(Lane(arguments.lane, arguments.seed, time.monotonic() + arguments.seconds).work()))
    return 0


def memory_of(pid):
    return int(status_of(pid)["VmRSS"]) // 1024


def all_lanes(arguments):
    namespace.close_descriptors()
    namespace.mount_fresh()
    WORK.mkdir()
    scene = Scene(Build.find(), steps=False)
    scene.environment.update(ENVIRONMENT)
    scene.start_pool("--socket", SOCKET, deadline=DEADLINE)
    pool = scene.lasting.pid
    before, threads = descriptors_of(pool), len(threads_of(pool))
    lanes = [namespace.start([HERE / "load_test.py", "--seed", str(arguments.seed), "--seconds", str(arguments.seconds),
                              "--lane", str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
             for number in range(arguments.lanes)]
    totals, failed = {}, 0
    for number, child in enumerate(lanes):
        out, errors = child.communicate()
        if child.returncode:
            failed += 1
            print(f"lane {number} FAILED: {errors.strip().splitlines()[-1]}", flush=True)
            continue
        for name, count in json.loads(out.splitlines()[-1]).items():
            totals[name] = totals.get(name, 0) + count
    if scene.lasting.poll() is not None:
        print(f"the pool ended with {scene.lasting.returncode}")
        return 1
    print(" ".join(f"{name}={count}" for name, count in totals.items()), f"pool={memory_of(pool)} MiB")
    try:
        wait_until("the pool letting go of everything", lambda: not growth(before, descriptors_of(pool)) and
                   len(threads_of(pool)) <= threads, LIMIT)
    except Failure as failure:
        names = sorted(status_of(pool, thread)["Name"] for thread in threads_of(pool) if status_of(pool, thread))
        print(f"{failure}: {growth(before, descriptors_of(pool))}, {threads} threads and now {len(names)}: {names}")
        failed = 1
    if failed:
        print("\n".join((WORK / "pool.log").read_text().splitlines()[-20:]))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid():
        print("skipped: dump and restore need root")
        return SKIPPED
    if arguments.lane is not None:
        return lane(arguments)
    if os.getpid() == 1:
        return all_lanes(arguments)
    print(f"seed {arguments.seed}: {arguments.lanes} lanes for {arguments.seconds:g} s", flush=True)
    namespace.learn_kernel(Build.find().criu)
    return namespace.start([HERE / "load_test.py", "--seed", str(arguments.seed), "--seconds", str(arguments.seconds),
                            "--lanes", str(arguments.lanes)]).wait()


if __name__ == "__main__":
    sys.exit(main())
