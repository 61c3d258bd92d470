# SPDX-License-Identifier: MIT
"""Times dumps and restores of a GPU program in a container of runc's, beside the same program bare. run starts it.

A side is one of ../h200/bench.py: patched is Rekindle as installed, its warm pool on the host; stock is CRIU with its own
plugin. Each side dumps the program bare and in the container, restores both in turns, dumps both again, and restores that
second generation in turns. Contents are compared after each restore.

A restore's time is from the start of what restores (criu, or runc, which starts it) to the moment when the program has
answered once more. Lines case=... have the medians; more: what the container takes more than the bare program.
Statistics after the # are of that run: criu= its own work, command= until it ended, then what the plugin did since the dump.
Ends with 1 where something failed.
"""
import argparse
import contextlib
import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "h200"))
from bench import GIB, HERE, Bench, Parts, Pytorch, RunFailed, Worker  # noqa: E402
from bench import collect_orphans, criu_own_seconds, say, wait_until  # noqa: E402
from measure import machine  # noqa: E402
from runc import DATA, PROGRAM, Container, Failed, Runc, said  # noqa: E402

FAILURES = (Failed, RuntimeError, subprocess.SubprocessError, OSError, ValueError)


class Place:
    """One program of one side, bare or in a container. The class below it starts, dumps, restores and ends."""
    logs = None  # a folder for those of criu

    def __init__(self, bench, side, subject, limit):
        self.bench, self.side, self.subject, self.limit = bench, side, subject, limit
        self.folder = bench.work / f"{self.name}-{side.name}"
        self.folder.mkdir()
        self.agent = side.dump == "agent"
        self.generation = 0
        self.images = None
        self.failed = False

    def begin(self):
        began = time.monotonic()
        self.start()
        self.ready = time.monotonic() - began

    def dump(self, raw):
        """The next generation; the images of the one before are not needed any more."""
        if self.images:
            shutil.rmtree(self.images)
        self.generation += 1
        self.images = self.folder / f"images-{self.generation}"
        self.images.mkdir()
        self.known = self.subject.contents(self.bench)
        self.bench.touch(2 * self.subject.device_bytes + 8 * GIB)
        self.bench.kernel_data.use(self.side.criu)
        began = time.monotonic()
        self.run_dump()
        self.note(raw, "dump", time.monotonic() - began, None)

    def restore(self, raw):
        self.bench.touch((2 * self.subject.device_bytes if not self.agent else 0) + 8 * GIB)
        command, environment = self.restore_command()
        began, working, returned = self.bench.first_step(
            self.side, command, environment, self.subject, self.images, self.limit)
        self.restored()
        found = self.subject.contents(self.bench)
        if found != self.known:
            raise RuntimeError(f"contents differ: {self.known} {found}")
        self.note(raw, "restore", working - began, returned - began)

    def keep_log(self, what):
        """Of the latest run of its kind."""
        log = self.images / f"{what}.log"
        if self.logs and log.exists():
            name = f"{self.subject.name}-{self.side.name}-{self.name}-{what}-{self.generation}.log.gz"
            with gzip.open(Path(self.logs) / name, "wb") as kept:
                kept.write(log.read_bytes())

    def note(self, raw, what, seconds, returned):
        self.keep_log(what)
        record = self.bench.statistics(self.images, self.side)
        own = criu_own_seconds(self.images) if what == "restore" else None
        raw.append(dict(case=self.subject.name, side=self.side.name, place=self.name, what=what, generation=self.generation,
                        seconds=seconds, command_seconds=returned, criu_own_seconds=own, statistics=record))
        processes = (record or {}).get("processes", ())
        words = [self.subject.name, self.side.name, self.name, f"generation {self.generation}", what, f"{seconds:.3f}"]
        if own is not None:
            words += [f"criu={own:.3f}", f"command={returned:.3f}"]
        words += [process.get("mode", "") for process in processes]
        words += [f"{phase['phase']}={phase['duration'] / 1e9:.3f}" for process in processes for phase in process["phases"]]
        say("# " + " ".join(words))


class Bare(Place):
    name = "bare"

    def start(self):
        self.pid = None
        try:
            self.subject.start(self.bench, self.folder, agent=self.agent)
        finally:
            self.pid = self.subject.process.pid

    def run_dump(self):
        self.bench.criu(self.side, "dump", self.images, ["-t", str(self.pid)], self.limit)
        os.waitpid(self.pid, 0)
        self.pid = None

    def restore_command(self):
        (self.images / "pid").unlink(missing_ok=True)
        return [self.side.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "-L", self.side.plugin,
                "--pidfile", self.images / "pid", *self.side.options], self.bench.environment(self.side)

    def restored(self):
        self.pid = int((self.images / "pid").read_text())

    def end(self):
        if self.pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.pid = None


class Contained(Place):
    name = "container"

    def __init__(self, bench, side, subject, limit, runc, options):
        super().__init__(bench, side, subject, limit)
        self.runc, self.options = runc, options
        libraries, simulated = bench.parts.libraries, bench.parts.simulated
        self.binaries = [bench.parts.programs / "rekindle-worker", HERE / "pytorch_llama.py",
                         libraries / "librekindle-preload.so"]
        if simulated:
            self.binaries.append(simulated / "libcuda.so.1")
        self.parts = Parts(PROGRAM, PROGRAM, None, None, None, None, PROGRAM if simulated else None)

    def environment(self):
        """runc takes the first criu in PATH."""
        environment = self.bench.environment(self.side)
        environment["PATH"] = f"{Path(self.side.criu).parent}:{environment['PATH']}"
        return environment

    def start(self):
        self.runc.configure_criu(self.side)
        self.container = Container(self.runc, f"rekindle-{self.side.name}", self.folder / "bundle", self.environment(),
                                   [file for file in self.binaries if file.exists()])
        self.subject.state = DATA / "state"
        command = self.subject.command(SimpleNamespace(parts=self.parts))
        arguments = [PROGRAM / Path(word).name if Path(word).parent == HERE else word for word in command]
        self.subject.state = self.container.data / "state"
        self.container.start(arguments, self.subject.settings(self.parts, self.agent))
        wait_until(f"{self.subject.name} getting ready in its container", self.is_ready, 300)

    def is_ready(self):
        if not Path(f"/proc/{self.container.pid}/fd").exists() or not os.listdir(f"/proc/{self.container.pid}/fd"):
            log = self.container.data / "program.log"
            raise RuntimeError(f"the program has ended: {said(log)}")
        state = self.subject.state
        return state.exists() and state.stat().st_size >= 48 and self.subject.steps() > 0

    def run_dump(self):
        self.runc.configure_criu(self.side)
        try:
            self.container.checkpoint(self.images, self.limit, self.options)
        except Failed as error:
            raise RunFailed(self.side, "dump", error, self.images) from error

    def restore_command(self):
        self.runc.configure_criu(self.side)
        self.runc.log.unlink(missing_ok=True)
        return self.container.restore_command(self.images, self.options), self.environment()

    def restored(self):
        self.container.read_pid()

    def end(self):
        if hasattr(self, "container"):
            self.container.end()


@contextlib.contextmanager
def kept_apart(place, what, runc):
    """A place that fails is ended; the others go on."""
    try:
        yield
    except FAILURES as error:
        place.failed = True
        if place.images:
            place.keep_log("dump")
            place.keep_log("restore")
        say(f"case={place.subject.name} {place.side.name} {place.name} FAILED in {what}: {error}; runc: {said(runc.log)}")
        with contextlib.suppress(*FAILURES):
            place.end()


def measure(bench, arguments, case, side, runc, raw):
    bench.set_pool(side)
    places = [Bare(bench, side, SUBJECTS[case](arguments), arguments.limit),
              Contained(bench, side, SUBJECTS[case](arguments), arguments.limit, runc, arguments.runc_options.split())]
    try:
        for place in places:
            with kept_apart(place, "start or dump", runc):
                place.begin()
                place.dump(raw)
        for generation, runs in ((1, arguments.runs), (2, arguments.second_runs)):
            for number in range(runs):
                for place in places:
                    if place.failed or time.monotonic() > arguments.end:
                        continue
                    with kept_apart(place, f"restore of generation {generation}", runc):
                        place.restore(raw)
                        if generation == 1 and number == runs - 1 and arguments.second_runs:
                            place.dump(raw)
                        else:
                            place.end()
    finally:
        for place in places:
            with contextlib.suppress(*FAILURES):
                place.end()
            shutil.rmtree(place.folder, ignore_errors=True)
    return report(places, raw)


def report(places, raw):
    side, subject = places[0].side, places[0].subject

    def seconds(place, what, generation):
        wanted = dict(case=subject.name, side=side.name, place=place, what=what, generation=generation)
        return [entry["seconds"] for entry in raw if wanted.items() <= entry.items()]
    for what in ("dump", "restore"):
        for generation in (1, 2):
            times = {place.name: seconds(place.name, what, generation) for place in places}
            if not any(times.values()):
                continue
            text = f"case={subject.name} {side.name} {what} generation={generation}"
            for name, values in times.items():
                if values:
                    text += f" {name}={statistics.median(values):.3f}"
            if all(times.values()):
                bare, container = (statistics.median(values) for values in times.values())
                text += f" more={container - bare:.3f}"
            for name, values in times.items():
                if values:
                    text += f" {name}-runs=" + ",".join(f"{value:.3f}" for value in values)
            say(text + (" identical" if what == "restore" else ""))
    return any(place.failed for place in places)


SUBJECTS = {
    "pytorch": lambda arguments: Pytorch("pytorch", ["--layers", str(arguments.layers)] if arguments.layers else ()),
    "worker": lambda arguments: Worker("worker", arguments.mib),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--simulated")
    parser.add_argument("--work", default="/dev/shm/rekindle-container")
    parser.add_argument("--cases", help="of pytorch and worker (default: pytorch, on the simulated driver worker)")
    parser.add_argument("--sides", default="patched,stock")
    parser.add_argument("--mib", type=int, default=1024, help="device memory of the worker")
    parser.add_argument("--layers", type=int, help="of the PyTorch model, for a smaller one than that of 15 GiB")
    parser.add_argument("--runs", type=int, default=3, help="restores of the first generation")
    parser.add_argument("--second-runs", type=int, default=2, help="restores of the second generation")
    parser.add_argument("--limit", type=int, default=120, help="seconds that a dump or a restore may take")
    parser.add_argument("--seconds", type=int, default=3600, help="after which no restore is begun any more")
    parser.add_argument("--runc", help="the program, where it is not the bundle's or the one in PATH")
    parser.add_argument("--runc-options", default="",
                        help="for checkpoint and restore: --runc-options='--manage-cgroups-mode full'")
    parser.add_argument("--cgroups", default="auto", choices=("auto", "own", "v2", "v1"))
    parser.add_argument("--results", help="JSON file for every single run")
    parser.add_argument("--logs", help="folder for the logs of criu, compressed")
    arguments = parser.parse_args()
    arguments.end = time.monotonic() + arguments.seconds
    if arguments.logs:
        Path(arguments.logs).mkdir(parents=True, exist_ok=True)
        Place.logs = arguments.logs
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    parts = Parts.of_build(arguments.simulated) if arguments.simulated else None
    if arguments.bundle:
        carried = Parts.of_bundle(arguments.bundle)
        parts = replace(carried, simulated=parts.simulated, cuda_checkpoint=parts.cuda_checkpoint) if parts else carried
    bench = Bench(parts, arguments.work, touch=not arguments.simulated)
    carried = Path(arguments.bundle or "/").resolve() / "runc"
    program = arguments.runc or (carried / "runc" if carried.exists() else shutil.which("runc"))
    if not program:
        parser.error("there is no runc: make the bundle with RUNC=/usr/sbin/runc, or give --runc")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed, raw = False, []
    runc = Runc(program, arguments.work)
    try:
        runc.prepare(carried if carried.exists() else None)
        runc.find_control_groups(os.environ, arguments.cgroups, say)
        about = dict(machine(), runc=runc.version, control_groups=runc.groups)
        say("# " + json.dumps(about))
        for case in (arguments.cases or ("worker" if arguments.simulated else "pytorch")).split(","):
            for name in arguments.sides.split(","):
                try:
                    failed |= measure(bench, arguments, case, bench.side(name), runc, raw)
                except FAILURES as error:
                    say(f"case={case} {name} FAILED {error}")
                    failed = True
                if arguments.results:
                    Path(arguments.results).write_text(json.dumps(dict(machine=about, runs=raw), indent=1) + "\n")
    except FAILURES as error:
        say(f"case=container FAILED {error}")
        failed = True
    finally:
        bench.set_pool(None)
        runc.end()
        shutil.rmtree(arguments.work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
