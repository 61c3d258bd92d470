# SPDX-License-Identifier: MIT
"""Times restores of GPU processes, stock CRIU against Rekindle, interleaved. restore.sh starts it."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import GIB, Bench, Parts, Pytorch, Worker, collect_orphans, say


def measure(bench, arguments, subject, names):
    """One program, every side of it in turns."""
    sides = [bench.side(name) for name in names]
    images = {}
    for side in sides:
        if side.dump not in images:
            images[side.dump] = bench.make_image(subject, side)
    if len({image["contents"] for image in images.values()}) != 1 and subject.name != "pytorch":
        say(f"# {subject.name}: the dumps hold different contents (each is compared with its own)")
    seconds = {side.name: [] for side in sides}
    for number in range(arguments.runs):
        for side in sides:
            if side.name == "stock" and number >= arguments.stock_runs:
                continue
            seconds[side.name].append(bench.restore(subject, side, images[side.dump], number))
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
    bench.set_pool(None)
    for image in images.values():
        if arguments.keep:
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
    subjects = {"c8": lambda: Worker("c8", 8 << 10), "c32": lambda: Worker("c32", 32 << 10), "c1": lambda: Worker("c1", 1 << 10),
                "pytorch": Pytorch, "pytorch-2gpus": lambda: Pytorch("pytorch-2gpus", ["--devices", "2"]),
                "pytorch-2gpus-peer": lambda: Pytorch("pytorch-2gpus-peer", ["--devices", "2", "--peer"])}
    shutil.rmtree(arguments.work, ignore_errors=True)
    Path(arguments.work).mkdir(parents=True)
    collect_orphans()
    bench = Bench(Parts.of_bundle(arguments.bundle), arguments.work, arguments.patched_options)
    about = machine()
    about["criu"] = {
        name: subprocess.run([bench.sides[name].criu, "--version"], capture_output=True, text=True).stdout.split()[1]
        for name in ("stock", "patched")}
    say("# " + json.dumps(about))
    failed = 0
    try:
        for name in arguments.cases.split(","):
            try:
                measure(bench, arguments, subjects[name](), arguments.sides.split(","))
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
