# SPDX-License-Identifier: MIT
"""Dumps a process that holds device memory and restores it, once with stock CRIU and once with Rekindle, and prints both
side by side. Builds what is missing.

It needs root, as CRIU does. REKINDLE_BUNDLE names a folder made by benchmarks/h200/bundle.sh: then nothing is built, for
machines without compilers.
"""
import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent / "native"
sys.path.insert(0, str(HERE / "h200"))
from bench import Bench, Parts, RunFailed, Side, Worker, collect_orphans  # noqa: E402

MIB = 1 << 20
TARGETS = ["cuda_plugin", "rekindled", "rekindle-preload", "rekindle-worker", "rekindle-worker-control", "simcuda",
           "simcuda-cuda-checkpoint"]


class Failed(Exception):
    """What went wrong, and what to do, in one sentence."""


def say(text):
    print(f"rekindle demo: {text}", file=sys.stderr, flush=True)


# ---- what is there ----

def has_gpu():
    """A plain look: the device files, and a driver library where the loader finds one."""
    if not Path("/dev/nvidiactl").exists():
        return False
    loader = shutil.which("ldconfig", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
    libraries = subprocess.run([loader, "-p"], capture_output=True, text=True).stdout if loader else ""
    return "libcuda.so.1" in libraries or Path("/usr/lib/libcuda.so.1").exists()


def gpu_name():
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "-i", "0"], check=True,
                              capture_output=True, text=True).stdout.strip()
    return "as the CUDA driver names it"


def built_parts(simulated):
    """The two builds of CRIU and ours do not depend on each other."""
    if subprocess.run([NATIVE / "packages.sh", "native"]).returncode:
        raise Failed("packages are missing (see above): install them and run this again")
    say("building, if anything has changed")
    provide = NATIVE / "criu" / "provide-criu.sh"
    patched = subprocess.Popen([provide], stdout=subprocess.PIPE, text=True)
    stock = subprocess.Popen([provide, "--stock"], stdout=subprocess.PIPE, text=True)
    ours = subprocess.run([NATIVE / "dev", "build", "release", *TARGETS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    paths = [job.communicate()[0].splitlines() for job in (patched, stock)]
    for job, name in ((patched, "criu"), (stock, "unpatched criu")):
        if job.returncode:
            raise Failed(f"no {name} could be provided: the messages above say why")
    if ours.returncode:
        print(*ours.stdout.splitlines()[-30:], sep="\n", file=sys.stderr)
        raise Failed("the build failed, see above")
    criu, stock_criu = (Path(lines[-1]) for lines in paths)
    build = NATIVE / "build" / "release"
    simcuda = build / "lib" / "simcuda"
    return Parts(build / "bin", build / "lib", criu, stock_criu, stock_criu.parents[1] / "plugins" / "cuda",
                 simcuda / "bin" if simulated else Path("/nonexistent"), simcuda if simulated else None)


def bundled_parts(folder, simulated):
    if not Path(folder).is_dir():
        raise Failed(f"REKINDLE_BUNDLE={folder} is no folder")
    if simulated:
        raise Failed("a bundle has no simulated GPU: run this where there is a GPU, or without REKINDLE_BUNDLE")
    return Parts.of_bundle(folder)


def images_folder(mib):
    needed = 2 * mib + 512
    for folder in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/var/tmp"):
        with contextlib.suppress(OSError):
            if shutil.disk_usage(folder).free > needed * MIB:
                return folder
    raise Failed(f"no folder has {needed} MiB free for the images: make room or use --mib")


def criu_version(criu):
    return subprocess.run([criu, "--version"], capture_output=True, text=True).stdout.split()[1]


# ---- the two sides ----

def sides(bench):
    """Stock and ours, with a text for each."""
    stock = bench.side("stock")
    version = criu_version(stock.criu)
    text = f"CRIU {version}, its CUDA plugin and cuda-checkpoint"
    if not shutil.which("cuda-checkpoint", path=bench.environment(stock)["PATH"]):
        text = (f"CRIU {version}; cuda-checkpoint is not in PATH, so the contents travel through the process image with "
                "Rekindle's plugin, one worker, no overlap")
        stock = Side("stock", "native", stock.criu, bench.parts.libraries / "criu", None,
                     environment={"CRIU_CUDA_PARALLEL_RESTORE": "0"})
    options = subprocess.run([bench.parts.criu, "--help"], capture_output=True, text=True).stdout
    ours = bench.side("patched")
    ours.name = "rekindle"
    if "--restore-threads" not in options:
        ours.options = []
    return (stock, text), (ours, "CRIU with Rekindle's plugin, agent and a warm pool")


def run(bench, side, mib):
    """One dump and one restore of a new process. Only figures are needed from then on, and the other side needs the room."""
    say(f"{side.name}: dump and restore of {mib} MiB")
    worker = Worker("worker", mib)
    image = bench.make_image(worker, side)
    bench.restore(worker, side, image, 0)
    shutil.rmtree(image["folder"])
    dump, restore = bench.raw[-2:]
    return {"dump": dump, "restore": restore}


# ---- what is printed ----

def seconds(value):
    return "-" if value is None else f"{value:.3f} s"


def phases(result):
    statistics = result["restore"]["statistics"] or {"processes": []}
    found = {}
    # Some come in several pieces.
    for phase in (phase for process in statistics["processes"] for phase in process["phases"]):
        known = found.setdefault(phase["phase"], {**phase, "duration": 0})
        known["duration"] += phase["duration"]
    return found


def phase_text(phase):
    if phase is None:
        return "-"
    text = seconds(phase["duration"] / 1e9)
    if phase["phase"] == "prefetch" and phase.get("bytes") and phase["duration"]:
        text += f" ({phase['bytes'] / phase['duration']:.1f} GB/s)"
    return text


def table(stock, ours):
    both = (stock, ours)
    restore = [result["restore"] for result in both]
    yield "dump", *(seconds(result["dump"]["seconds"]) for result in both)
    yield "images", *(f"{result['dump']['image_bytes'] / MIB:.0f} MiB" for result in both)
    yield "restore, to the first step", *(seconds(run["seconds"]) for run in restore)
    yield "  CRIU's own work", *(seconds(run["criu_own_seconds"]) for run in restore)
    yield "  GPU and the rest after it", *(seconds(run["seconds"] - run["criu_own_seconds"]) for run in restore)
    for name, title in (("prefetch", "  contents to the device"), ("driver_restore", "  driver restore"), ("map", "  map")):
        texts = [phase_text(phases(result).get(name)) for result in both]
        if texts != ["-", "-"]:
            yield title, *texts
    yield "  of it hidden behind CRIU", "-", seconds((ours["restore"]["statistics"] or {}).get("overlap", 0) / 1e9)


def show(texts, results, mib, folder):
    print(f"stock:    {texts[0]}")
    print(f"rekindle: {texts[1]}")
    print(f"process:  {mib} MiB of device memory; images in {folder}")
    print(f"{'':30}{'stock':>22}{'rekindle':>24}")
    for title, first, second in table(*results):
        print(f"{title:30}{first:>22}{second:>24}")
    a, b = (result["restore"]["seconds"] for result in results)
    print(f"contents identical; restore stock={a:.3f} rekindle={b:.3f} ratio={a / b:.1f}")


# ---- the whole ----

class WrongArguments(Failed):
    pass


def parse(arguments):
    parser = argparse.ArgumentParser(prog="rekindle demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", help="device memory of the process (8192 on a GPU, 512 on the simulated one)")
    parser.add_argument("--simulated", action="store_true", help="use the simulated GPU even where there is a real one")

    def error(message):
        raise WrongArguments(f"{message}: see --help")
    parser.error = error
    result = parser.parse_args(arguments)
    if result.mib is not None and not (result.mib.isdecimal() and int(result.mib) > 0):
        raise WrongArguments("--mib needs a number of mebibytes")
    return result


def forget_settings():
    """What a user has set is not what is shown."""
    for name in list(os.environ):
        if name.startswith(("REKINDLE_", "CRIU_CUDA_")) or name in ("CRIU_LIBS_DIR", "LD_PRELOAD"):
            del os.environ[name]
    os.environ["REKINDLE_TIMEOUT"] = "600"


def demonstrate(arguments):
    options = parse(arguments)
    if os.geteuid() != 0:
        raise Failed("CRIU needs root: run this as root")
    simulated = options.simulated or not has_gpu()
    if simulated:
        print("SIMULATED GPU: the processes, CRIU and the copies are real, the device is memory of this machine", flush=True)
    else:
        print(f"GPU: {gpu_name()}", flush=True)
    mib = int(options.mib or (512 if simulated else 8192))
    bundle = os.environ.get("REKINDLE_BUNDLE")
    parts = bundled_parts(bundle, simulated) if bundle else built_parts(simulated)
    folder = images_folder(mib)
    work = tempfile.mkdtemp(prefix="rekindle-demo-", dir=folder)
    bench = None
    try:
        forget_settings()
        collect_orphans()
        bench = Bench(parts, work, touch=False, quiet=True)
        chosen = sides(bench)
        results = [run(bench, side, mib) for side, _ in chosen]
        show([text for _, text in chosen], results, mib, folder)
    finally:
        if bench:
            bench.end()
        shutil.rmtree(work, ignore_errors=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        demonstrate(sys.argv[1:])
    except RunFailed as failure:
        say(f"the {failure.action} ({failure.side.name}) failed: {'; '.join(failure.causes) or 'CRIU gave no reason'}")
        return 1
    except WrongArguments as failure:
        say(failure)
        return 2
    except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as failure:
        say(failure)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
