# SPDX-License-Identifier: MIT
"""Dumps processes that share device memory, and restores them, several generations each. run starts it.

Each case stands for itself: it has a limit, and its line is written when it ends. Contents are compared before and after;
NCCL's bandwidth too. After the last of the restores they share anew: ranks make a new communicator, others share memory that
they have had from the beginning; and then they are dumped and restored once more.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "h200"))
from bench import WORKER_STEPS_OFFSET, Bench, Parts, RunFailed, collect_orphans, say, wait_until  # noqa: E402
from network import network_of, new_network  # noqa: E402

OPTIONS = ["--tcp-established", "--network-lock", "skip", "--ghost-limit", "1G", "--link-remap", "--file-locks",
           "--timeout", "30"]

# Never multicast objects; no ring of libuv's; only the loopback device. NCCL's small allocations are shared by legacy handles
# as well as the large ones.
COMMON = {"NCCL_NVLS_ENABLE": "0", "NCCL_IB_DISABLE": "1", "NCCL_SOCKET_IFNAME": "lo", "USE_LIBUV": "0",
          "NCCL_NET_PLUGIN": "none", "NCCL_RAS_ENABLE": "0", "TORCH_NCCL_ENABLE_MONITORING": "0",
          "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
CASES = {
    "worker": ("worker", 3, {}),
    "cumem": ("ranks", 2, {"NCCL_CUMEM_ENABLE": "1", "NCCL_CUMEM_HOST_ENABLE": "0"}),
    "legacy": ("ranks", 2, {"NCCL_CUMEM_ENABLE": "0", "NCCL_CUMEM_HOST_ENABLE": "0", "REKINDLE_AGENT_MINIMUM": "1K"}),
    "host": ("ranks", 2, {"NCCL_CUMEM_ENABLE": "1", "NCCL_CUMEM_HOST_ENABLE": "1"}),
    # Without P2P all goes through memory of the host: the driver's, or /dev/shm that is registered with it.
    "hostonly": ("ranks", 2, {"NCCL_P2P_DISABLE": "1", "NCCL_CUMEM_ENABLE": "1", "NCCL_CUMEM_HOST_ENABLE": "1"}),
    "shm": ("ranks", 2, {"NCCL_P2P_DISABLE": "1", "NCCL_CUMEM_ENABLE": "0", "NCCL_CUMEM_HOST_ENABLE": "0"}),
    "hostmem": ("hostmem", 1, {}),
    "hostpair": ("hostpair", 2, {}),
    "tensors": ("tensors", 5, {}),
    "exports": ("exports", 2, {}),
}


def below(pid):
    """The processes of a tree, the root too."""
    found = [pid]
    for one in found:
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in file.read_text().split()]
            except OSError:
                pass
    return found


class Case:
    def __init__(self, bench, side, name, gibibytes, with_agent=True):
        self.bench, self.side, self.name = bench, side, name
        kind, self.count, environment = CASES[name]
        self.shares_anew = False
        self.folder = bench.work / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.tree = []
        log = open(self.folder / "log", "wb")
        environment = {**bench.environment(side), **COMMON, **environment}
        if with_agent:
            environment["LD_PRELOAD"] = str(bench.parts.libraries / "librekindle-preload.so")
        if bench.parts.simulated:
            environment["LD_LIBRARY_PATH"] = str(bench.parts.simulated)
        command = [sys.executable, HERE / "programs.py", kind, self.folder, str(gibibytes)]
        if kind == "worker":
            command = [bench.parts.programs / "rekindle-worker", "--state", self.folder / "worker", "--mib",
                       str(bench.worker_mebibytes), "--children", str(self.count - 1), "--share"]
        self.root = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                     preexec_fn=new_network, env=environment)
        self.pid = self.root.pid
        wait_until("the first steps", lambda: self.root.poll() is not None or len(self.state()) == self.count, 120)
        if self.root.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text(errors="replace")[-1500:])
        self.contents = self.sums()
        self.tree = below(self.pid)

    def workers(self):
        """The files of the workers that are ready."""
        names = ["worker", *(f"worker.{number}" for number in range(1, self.count))]
        files = [self.folder / name for name in names if (self.folder / name).exists()]
        return [file for file in files if file.stat().st_size >= 48]

    def sums(self):
        if self.name != "worker":
            return [state["sum"] for state in self.state()]
        control = [self.bench.parts.programs / "rekindle-worker-control", "--timeout", "60", "--state"]
        return [subprocess.run([*control, file, "checksum"], check=True, capture_output=True, text=True).stdout.split()[-1]
                for file in self.workers()]

    def state(self):
        if self.name == "worker":
            steps = [struct.unpack_from("<Q", file.read_bytes(), WORKER_STEPS_OFFSET)[0] for file in self.workers()]
            return [dict(steps=step) for step in steps if step]
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("rank-*.json"))]

    def check(self, seconds=60):
        """All make steps, what they hold is the same, and readers see what the writer writes."""
        before = [state["steps"] for state in self.state()]
        wait_until("steps of all", lambda: all(
            state["steps"] > steps + 20 for state, steps in zip(self.state(), before)), seconds)
        if self.sums() != self.contents:
            raise RuntimeError(f"the contents differ: {self.contents} {self.state()}")
        if self.name == "tensors":
            step = self.state()[0]["seen"]
            wait_until("readers that see what was written", lambda: all(
                state["seen"] >= step for state in self.state()), seconds)
        if self.name in ("tensors", "exports", "hostpair") and self.shares_anew:
            self.check_late(seconds)

    def check_late(self, seconds):
        """Of what is shared anew, too."""
        if self.name in ("exports", "hostpair"):  # each sees the steps of the other one
            steps = [state["steps"] for state in self.state()]
            wait_until("what the other one writes", lambda: all(
                state["seen"] >= step for state, step in zip(self.state(), reversed(steps))), seconds)
            return
        step, total = self.state()[0]["late"]
        wait_until("what was handed out late", lambda: all(
            state["late"] and state["late"][0] >= step and state["late"][1] == total for state in self.state()), seconds)

    def bandwidth(self):
        return self.state()[0].get("bandwidth")

    def criu(self, action, images, options, **arguments):
        command = [self.side.criu, action, "-D", images, "-o", f"{action}.log", "-v4", "-L", self.side.plugin, *OPTIONS,
                   *options]
        began = time.monotonic()
        result = subprocess.run(command, env=self.bench.environment(self.side), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=100, **arguments)
        if result.returncode:
            raise RunFailed(self.side, action, result.returncode, images)
        return time.monotonic() - began

    def are_gone(self):
        for pid in self.tree:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        return not any(Path(f"/proc/{pid}").exists() for pid in self.tree)

    def cycle(self, generation, result):
        images = self.folder / f"images-{generation}"
        images.mkdir()
        before, bandwidth = self.state(), self.bandwidth()
        seconds = self.criu("dump", images, ["-t", str(self.pid)], preexec_fn=network_of(self.pid))
        wait_until("the end of the tree", self.are_gone, 60)
        record = self.bench.statistics(images, self.side)
        modes = [process["mode"] for process in record["processes"]]
        restored = self.criu("restore", images, ["-d", "--pidfile", images / "pid", *self.side.options],
                             preexec_fn=new_network)
        began = time.monotonic()
        self.pid = int((images / "pid").read_text())
        self.tree = below(self.pid)
        wait_until("a step", lambda: self.state()[0]["steps"] > before[0]["steps"], 60)
        phases = {}
        for phase in (phase for process in record["processes"] for phase in process["phases"]):
            phases[phase["phase"]] = phases.get(phase["phase"], 0) + phase["bytes"]
        result["generations"].append(dict(
            copied={name: phases[name] for name in ("copy_ahead", "compare", "copy_out") if phases.get(name)}, dump=round(seconds, 2), restore=round(restored, 2), step_after=round(time.monotonic() - began, 2), modes=modes,
            device_bytes=sum(process["device_bytes"] for process in record["processes"]), bandwidth_before=bandwidth))
        self.check()
        result["generations"][-1]["bandwidth_after"] = self.bandwidth()
        shutil.rmtree(images)

    def leave_running(self, result):
        images = self.folder / "images-running"
        images.mkdir()
        result["leave_running"] = round(self.criu("dump", images, ["-t", str(self.pid), "--leave-running"],
                                                  preexec_fn=network_of(self.pid)), 2)
        self.check()
        shutil.rmtree(images)

    def share_anew(self, result):
        (self.folder / "again").touch()
        if CASES[self.name][0] == "ranks":
            wait_until("a new communicator", lambda: all(state["groups"] == 2 for state in self.state()), 60)
        else:
            wait_until("what is shared late", lambda: all(state["late"] for state in self.state()), 60)
        self.shares_anew = True
        self.check()
        result["shared_anew"] = True

    def end(self):
        for pid in reversed(self.tree or [self.pid]):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            wait_until("the end of the tree", self.are_gone, 30)
        except RuntimeError as error:
            say(str(error))


def simulated_parts(folder):
    """Of a build tree; nothing of it is compared with the stock side."""
    build = Path(folder).resolve()
    criu = Path(subprocess.run([build.parents[1] / "criu" / "provide-criu.sh"], check=True, capture_output=True,
                               text=True).stdout.split()[-1])
    simcuda = build / "lib" / "simcuda"
    return Parts(build / "bin", build / "lib", criu, criu, build, simcuda / "bin", simcuda)


def work_on(bench, side, name, arguments):
    result = dict(case=name, ok=False, generations=[])
    case = None
    try:
        case = Case(bench, side, name, arguments.gibibytes)
        result["bandwidth_first"] = case.bandwidth()
        case.leave_running(result)
        for generation in range(arguments.generations):
            case.cycle(generation, result)
        if CASES[name][0] not in ("worker", "hostmem"):
            case.share_anew(result)
            case.cycle(arguments.generations, result)
        result["ok"] = True
    except (RunFailed, RuntimeError, OSError, subprocess.SubprocessError, ValueError, KeyError) as failure:
        result["failure"] = str(failure)[-3000:]
        log = bench.work / name / "log"
        if log.exists():
            result["log"] = log.read_text(errors="replace")[-1200:]
    if case:
        case.end()
    shutil.rmtree(bench.work / name, ignore_errors=True)
    return result


SAMPLES = 15


def measure_bandwidth(bench, side, name, gibibytes, with_agent):
    """The median of NCCL's all-reduce of 256 MiB, in GB/s."""
    case, found, step = Case(bench, side, name, gibibytes, with_agent), [], 0
    try:
        while len(found) < SAMPLES:
            wait_until("another measurement", lambda: case.state()[0]["steps"] > step, 60)
            state = case.state()[0]
            step = state["steps"]
            found.append(state["bandwidth"])
    finally:
        case.end()
    return statistics.median(found[2:])


def compare_bandwidth(bench, side, name, arguments):
    """With the agent and without, by turns."""
    found = {True: [], False: []}
    for _ in range(arguments.pairs):
        for with_agent in (True, False):
            found[with_agent].append(measure_bandwidth(bench, side, name, 1, with_agent))
    ratio = statistics.median(one / other for one, other in zip(found[True], found[False]))
    return dict(case=name, ok=True, with_agent=found[True], without=found[False], ratio=round(ratio, 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle")
    parser.add_argument("--build", help="a build tree instead, with the simulated driver: only the cases worker, hostmem and hostpair")
    parser.add_argument("--work", default="/dev/shm/sharing")
    parser.add_argument("--cases", default="worker,cumem,legacy,tensors,exports,host,hostonly,shm,hostmem,hostpair")
    parser.add_argument("--generations", type=int, default=2)
    parser.add_argument("--gibibytes", type=int, default=4)
    parser.add_argument("--worker-mebibytes", type=int, default=2048, help="of each of the three in the case worker")
    parser.add_argument("--results", default="")
    parser.add_argument("--side", default="patched")
    parser.add_argument("--pairs", type=int, default=0,
                        help="dump nothing: all-reduce bandwidth of the cases of ranks with the agent and without, so often")
    arguments = parser.parse_args()
    collect_orphans()
    Path(arguments.work).mkdir(parents=True, exist_ok=True)
    parts = simulated_parts(arguments.build) if arguments.build else Parts.of_bundle(arguments.bundle)
    bench = Bench(parts, arguments.work, touch=False)
    bench.worker_mebibytes = arguments.worker_mebibytes
    side, failed = bench.side(arguments.side), 0
    for name in arguments.cases.split(","):
        bench.set_pool(side)
        result = (compare_bandwidth if arguments.pairs else work_on)(bench, side, name, arguments)
        failed += not result["ok"]
        say(json.dumps(result))
        if arguments.results:
            with open(arguments.results, "a") as file:
                file.write(json.dumps(result) + "\n")
    bench.set_pool(None)
    shutil.rmtree(bench.work, ignore_errors=True)
    say(f"sharing: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
