# SPDX-License-Identifier: MIT
"""Restores on other GPUs than those of the dump, each compared with its contents, and what is refused. run starts it.

  one      a process of GPU 0: on GPU 0 and on GPU 1 in turns, timed; then a second generation, and back to GPU 0
  swap     two processes, of GPU 0 and of GPU 1, come back at the same time and have swapped places; twice
  both     a process of both GPUs comes back swapped; twice
  full     GPU 0 is full: the process takes GPU 1 without being asked to, and the log says so
  refused  a GPU that is not there, a UUID that nobody has, no room: how long each takes, and that nothing is lost

Prints lines case=NAME SIDE ... identical, or FAILED with a reason, and ends with 1 where one failed. Time is from the start
of criu to the first step of the restored process, or to the end of criu where it refuses.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "h200"))
from bench import Bench, Parts, RunFailed, Worker, collect_orphans, say  # noqa: E402


class GpuWorker(Worker):
    def __init__(self, name, mebibytes, gpus="0", seed=1):
        super().__init__(name, mebibytes)
        self.gpus, self.seed = gpus, seed

    def command(self, bench):
        return [*super().command(bench), "--gpus", self.gpus, "--seed", str(self.seed)]

    def ask(self, bench, *what):
        command = [bench.parts.programs / "rekindle-worker-control", "--state", self.state, "--timeout", "120", *what]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Failed(RuntimeError):
    pass


class Choice:
    def __init__(self, bench, side, mebibytes, runs):
        self.bench, self.side, self.mebibytes, self.runs = bench, side, mebibytes, runs
        self.living = {}  # pid by worker, to be ended whatever happens
        self.raw = []
        bench.set_pool(side)

    # ---- steps ----

    def start(self, name, gpus="0", mebibytes=None, seed=1):
        worker = GpuWorker(name, mebibytes or self.mebibytes, gpus, seed)
        worker.folder = self.bench.work / f"{name}-{self.side.name}"
        shutil.rmtree(worker.folder, ignore_errors=True)
        worker.folder.mkdir(parents=True)
        worker.start(self.bench, worker.folder, agent=self.side.dump == "agent")
        self.living[worker] = worker.process.pid
        worker.images = None
        worker.generation = 0
        return worker

    def dump(self, worker):
        worker.known = worker.contents(self.bench)
        worker.generation += 1
        worker.images = worker.folder / f"images-{worker.generation}"
        worker.images.mkdir()
        pid = self.living[worker]
        self.bench.criu(self.side, "dump", worker.images, ["-t", str(pid), "--timeout", "60"])
        del self.living[worker]
        os.waitpid(pid, 0)

    def command(self, worker):
        return [self.side.criu, "restore", "-d", "-D", worker.images, "-o", "restore.log", "-v4", "-L", self.side.plugin,
                "--pidfile", worker.images / "pid", *self.side.options]

    def environment(self, device_map):
        environment = self.bench.environment(self.side)
        if device_map:
            environment["REKINDLE_DEVICE_MAP"] = device_map
        return environment

    def restore(self, worker, device_map, wanted, warm_up=True):
        """Seconds to its first step. wanted: the UUIDs of the GPUs that it has to use now."""
        if warm_up:
            self.bench.touch((2 * worker.device_bytes if self.side.dump != "agent" else 0) + (4 << 30))
        (worker.images / "pid").unlink(missing_ok=True)
        before = worker.steps()
        self.bench.kernel_data.use(self.side.criu)
        began = time.monotonic()
        criu = subprocess.Popen(self.command(worker), env=self.environment(device_map), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while worker.steps() == before:
            if criu.poll():
                raise RunFailed(self.side, "restore", criu.returncode, worker.images)
            if time.monotonic() > began + 300:
                raise Failed("the restored process makes no step")
            time.sleep(0.0005)
        seconds = time.monotonic() - began
        if criu.wait(60):
            raise RunFailed(self.side, "restore", criu.returncode, worker.images)
        self.living[worker] = int((worker.images / "pid").read_text())
        self.check(worker, wanted)
        return seconds

    def check(self, worker, wanted):
        found = worker.contents(self.bench)
        if found != worker.known:
            raise Failed(f"{worker.name}: contents differ: {worker.known} {found}")
        found = worker.ask(self.bench, "gpus").split(",")
        if found != list(wanted):
            raise Failed(f"{worker.name} is on {found}, wanted {list(wanted)}")

    def end(self, worker):
        pid = self.living.pop(worker, None)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def end_all(self):
        for worker in list(self.living):
            self.end(worker)

    def say(self, case, text, **raw):
        say(f"case={case} {self.side.name} {text}")
        self.raw.append(dict(case=case, side=self.side.name, **raw))

    # ---- cases ----

    def one(self, gpus):
        worker = self.start("one")
        self.check_start(worker, gpus[:1])
        self.dump(worker)
        seconds = {"0=0": [], "0=1": []}
        for _ in range(self.runs):
            for device_map, values in seconds.items():
                values.append(self.restore(worker, device_map, [gpus[int(device_map[-1])]]))
                self.end(worker)
        self.restore(worker, "0=1", [gpus[1]])
        worker.ask(self.bench, "change")
        self.dump(worker)
        stays = self.restore(worker, "", [gpus[1]])
        worker.ask(self.bench, "allocate", "64")
        self.dump(worker)
        back = self.restore(worker, f"{gpus[1]}={gpus[0]}", [gpus[0]])
        self.end(worker)
        same, other = (statistics.median(values) for values in seconds.values())
        self.say("one", f"same_gpu={same:.3f} other_gpu={other:.3f} second_generation={stays:.3f} back={back:.3f} identical",
                 same=seconds["0=0"], other=seconds["0=1"], second=stays, back=back)

    def check_start(self, worker, wanted):
        worker.known = worker.contents(self.bench)
        self.check(worker, wanted)

    def together(self, jobs):
        """Restores at the same time; the longest of them."""
        results = {}

        def run(worker, device_map, wanted):
            try:
                results[worker] = self.restore(worker, device_map, wanted, warm_up=False)
            except Exception as error:  # pylint: disable=broad-except
                results[worker] = error

        threads = [threading.Thread(target=run, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results.values():
            if isinstance(result, Exception):
                raise result
        return max(results.values())

    def swap(self, gpus):
        workers = [self.start("first", "0"), self.start("second", "1", seed=2)]
        for index, worker in enumerate(workers):
            self.check_start(worker, [gpus[index]])
        seconds = []
        for generation in (1, 2):
            for worker in workers:
                worker.ask(self.bench, "change")
                self.dump(worker)
            places = list(reversed(gpus)) if generation == 1 else gpus
            seconds.append(self.together([(worker, "0=1,1=0", [places[index]]) for index, worker in enumerate(workers)]))
        for worker in workers:
            self.end(worker)
        self.say("swap", "generations=" + ",".join(f"{value:.3f}" for value in seconds) + " identical", seconds=seconds)

    def both(self, gpus):
        worker = self.start("both", "0,1")
        self.check_start(worker, gpus)
        seconds = []
        for places in (list(reversed(gpus)), gpus):
            worker.ask(self.bench, "change")
            self.dump(worker)
            seconds.append(self.restore(worker, "0=1,1=0", places))
        self.end(worker)
        self.say("both", "generations=" + ",".join(f"{value:.3f}" for value in seconds) + " identical", seconds=seconds)

    def fill(self, gpu, total):
        """A program that leaves the GPU a gibibyte or so."""
        hog = self.start("hog", str(gpu), total - 4096 - total // 50, seed=3)
        return hog

    def full(self, gpus, totals):
        if self.side.dump != "agent":
            return  # the pool knows nothing of what the driver holds
        worker = self.start("moved", "0", max(self.mebibytes, 8192))
        self.check_start(worker, gpus[:1])
        self.dump(worker)
        hog = self.fill(0, totals[0])
        seconds = self.restore(worker, "", [gpus[1]])
        log = (worker.images / "restore.log").read_text(errors="replace")
        sentence = [line.partition("rekindle: ")[2] or line for line in log.splitlines() if "stands for" in line]
        if not sentence:
            raise Failed("criu's log does not say that it moved")
        self.end(worker)
        self.end(hog)
        self.say("full", f"seconds={seconds:.3f} identical: {sentence[0]}", seconds=seconds)

    def refuse(self, worker, name, device_map, sentence):
        (worker.images / "stats-rekindle.json").unlink(missing_ok=True)
        self.bench.kernel_data.use(self.side.criu)
        began = time.monotonic()
        status = subprocess.run(self.command(worker), env=self.environment(device_map), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120).returncode
        seconds = time.monotonic() - began
        log = (worker.images / "restore.log").read_text(errors="replace")
        report = json.loads((worker.images / "stats-rekindle.json").read_text())
        if not status or sentence not in report["failure"] or "Forking task" in log:
            raise Failed(f"{name}: status {status}, {report['failure']}")
        self.say("refused", f"{name} criu={seconds:.3f} plugin={report['duration'] / 1e9:.3f}: {report['failure']}",
                 what=name, seconds=seconds, plugin=report["duration"] / 1e9)

    def refused(self, gpus, totals):
        worker = self.start("refused", "0", self.mebibytes if self.bench.parts.simulated else max(self.mebibytes, 8192))
        self.check_start(worker, gpus[:1])
        self.dump(worker)
        self.refuse(worker, "no such GPU", "0=9", "asks for GPU 9")
        self.refuse(worker, "no such UUID", "0=GPU-00000000-0000-0000-0000-000000000000", "asks for GPU GPU-0000")
        # The simulated driver takes the host's memory.
        if self.side.dump == "agent" and not self.bench.parts.simulated:
            hog = self.fill(1, totals[1])
            self.refuse(worker, "no room", "0=1", "MiB free")
            self.end(hog)
        self.restore(worker, "0=1", [gpus[1]])
        self.end(worker)
        self.say("refused", "and restored afterwards identical")


def find_gpus(bench):
    """UUIDs and MiB of two GPUs, by the worker's own counting."""
    if bench.parts.simulated:
        return [f"GPU-53494d55-4c41-5445-442d-4750552d303{number}" for number in (0, 1)], [65536, 65536]
    lines = subprocess.run(["nvidia-smi", "--query-gpu=uuid,memory.total,name", "--format=csv,noheader,nounits"],
                           check=True, capture_output=True, text=True).stdout.strip().splitlines()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines][:2]
    if len(rows) < 2 or rows[0][2] != rows[1][2]:
        raise SystemExit(f"two GPUs of one type are needed, here are: {lines}")
    say(f"# {rows[0][2]}, two of them")
    return [row[0] for row in rows], [int(row[1]) for row in rows]


def make_parts(arguments):
    if arguments.bundle:
        return Parts.of_bundle(arguments.bundle)
    os.environ["REKINDLE_SIMCUDA_DEVICES"] = "2"
    return Parts.of_build(arguments.simulated)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--simulated")
    parser.add_argument("--work", default="/dev/shm/rekindle-gpu-choice")
    parser.add_argument("--mib", type=int, default=8192, help="device memory of each process")
    parser.add_argument("--runs", type=int, default=3, help="of the case `one`, on each GPU")
    parser.add_argument("--sides", default="patched,patched-private,native")
    parser.add_argument("--cases", default="one,swap,both,full,refused")
    parser.add_argument("--results", help="JSON file for every single run")
    arguments = parser.parse_args()
    # The driver's own order is by speed; nvidia-smi's is by place.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    bench = Bench(make_parts(arguments), arguments.work, touch=not arguments.simulated)
    gpus, totals = find_gpus(bench)
    cases = [case for case in arguments.cases.split(",") if not (arguments.simulated and case == "full")]
    failed, raw = 0, []
    for side in (bench.side(name) for name in arguments.sides.split(",")):
        choice = Choice(bench, side, arguments.mib, arguments.runs)
        for case in cases:
            try:
                function = getattr(choice, case)
                if case in ("full", "refused"):
                    function(gpus, totals)
                else:
                    function(gpus)
            except (Failed, RuntimeError, subprocess.SubprocessError, OSError, ValueError) as error:
                say(f"case={case} {side.name} FAILED {error}")
                failed = 1
            finally:
                choice.end_all()
                for folder in bench.work.glob("*/images-*"):
                    shutil.rmtree(folder, ignore_errors=True)
        raw += choice.raw
        bench.set_pool(None)
    if arguments.results:
        Path(arguments.results).write_text(json.dumps(raw, indent=1) + "\n")
    shutil.rmtree(arguments.work, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
