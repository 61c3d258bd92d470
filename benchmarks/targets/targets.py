# SPDX-License-Identifier: MIT
"""Dumps and restores programs as people run them, each with a check of its contents, stock CRIU beside Rekindle. run starts it.

A case is a target on a side: a process of its own (case.py), with its own pool, its own time limit, and a line as soon as
something is measured:

  target=NAME side=SIDE generation=N dump=S restore=S contents=identical processes=P
  target=NAME side=SIDE generation=N FAILED criu dump says: ...

dump is criu's time; restore is from the start of criu to the first work that each process of the target does on the GPU, an
answer, a step or a reduction. Contents are compared with those before the dump, and the program has to go on after it. What
fails is a line and no end. The script ends with 1 where another side than stock failed.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import shared_memory  # noqa: E402
from case import Parts, add_arguments, collect_orphans, descendants, say  # noqa: E402
from measure import machine  # noqa: E402
from programs import programs  # noqa: E402
from table import rows_of  # noqa: E402


def end_descendants():
    """Whoever is left of a case that was ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, 9)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                pass
        time.sleep(0.01)
    say(f"# these processes do not end: {descendants(os.getpid())}")


def count_gpus(arguments):
    if arguments.simulated:
        return 2
    lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout.splitlines()
    return len([line for line in lines if line.startswith("GPU ")])


def run_case(arguments, program, side):
    """Returns whether it went well. Its lines come from itself, unless it does not get through."""
    work = Path(arguments.work) / "case"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    limit = arguments.seconds_each * program.patience
    generations = arguments.stock_generations if side == "stock" else arguments.generations
    command = [sys.executable, HERE / "case.py", "--work", work, "--target", program.name, "--side", side, "--generations",
               str(generations), "--records", arguments.records, "--cache", arguments.cache, "--gpus",
               str(arguments.gpus), "--start-limit", str(max(10, limit - 30))]
    for name in ("bundle", "simulated", "logs"):
        if getattr(arguments, name):
            command += [f"--{name}", getattr(arguments, name)]
    failed = None
    before = shared_memory.names()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        status = process.wait(limit)
        if status not in (0, 1):
            failed = f"the case ended with {status}"
    except subprocess.TimeoutExpired:
        stage = (work / "stage").read_text() if (work / "stage").exists() else "start"
        failed = f"not through within {limit} s, at: {stage}"
        process.kill()
        process.wait()
        status = 1
    if failed:
        say(f"target={program.name} side={side} FAILED {failed}")
        with open(arguments.records, "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(target=program.name, side=side, failure=failed, at="time limit")) + "\n")
    end_descendants()
    shared_memory.clean(before)
    shutil.rmtree(work, ignore_errors=True)
    return status == 0


def write_results(arguments, about):
    records = Path(arguments.records)
    lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    result = dict(machine=about, runs=[json.loads(line) for line in lines])
    if arguments.results:
        Path(arguments.results).write_text(json.dumps(result, indent=1) + "\n")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--targets", help="some of them, as training,server,ranks-busy (all)")
    parser.add_argument("--sides", default="patched,stock")
    parser.add_argument("--stock-generations", type=int, default=1)
    parser.add_argument("--results", help="JSON file for all figures, written after each case; table.py reads it")
    parser.add_argument("--seconds-each", type=int, default=100, help="time limit of a case")
    arguments = parser.parse_args()
    arguments.gpus = arguments.gpus or count_gpus(arguments)
    known = {program.name: program for program in programs(bool(arguments.simulated), arguments.gpus)}
    names = arguments.targets.split(",") if arguments.targets else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(known)}")
    collect_orphans()
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    arguments.records = str(Path(arguments.work) / "records")
    about = machine()
    parts = Parts.of_bundle(arguments.bundle) if arguments.bundle else Parts.of_build(arguments.simulated)
    about["criu"] = {name: subprocess.run([criu, "--version"], capture_output=True, text=True).stdout.split()[1]
                     for name, criu in (("stock", parts.stock_criu), ("patched", parts.criu))}
    if arguments.simulated:
        about["gpu"] = "SIMULATED"
    say("# " + json.dumps(about))
    failed = False
    # Their sockets are there as well, whose paths may not be long. What is compiled serves both sides.
    arguments.cache = tempfile.mkdtemp(prefix="rekindle-", dir="/tmp")
    try:
        for name in names:
            program = known[name]
            if program.gpus > arguments.gpus:
                say(f"target={name} left out: it needs {program.gpus} GPUs, here is {arguments.gpus}")
                continue
            for side in arguments.sides.split(","):
                well = run_case(arguments, program, side)
                failed |= not well and side != "stock"
                write_results(arguments, about)
        for row in rows_of(write_results(arguments, about), known.values()):
            say(row)
    finally:
        end_descendants()
        for folder in (arguments.work, arguments.cache):
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
