#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes every step of a dump and of a restore, lets a fault strike at it, and asks afterwards whether anything was lost.

    crash_matrix.py --ci                  a spread of cases for two minutes, each kind of fault and of step among them
    crash_matrix.py --all                 all of them, two hours on two cores; writes crash_matrix.md beside this file
    crash_matrix.py --all --seconds 3600  as many as that, a spread of all; likewise
    crash_matrix.py --all --again FILE    what a run with --results FILE has left or found faulty; the table is of both
    crash_matrix.py --case CASE           one, as the others print it, with its logs
    crash_matrix.py --list                the cases

The steps are recorded from runs that nobody disturbs (steps/step.h), so that they are complete whatever the code is
like. Each case runs in namespaces of its own, with a worker of its own on the simulated driver, real criu and the pool;
matrix/case.py asks the questions.

REKINDLE_TEST_BUILD is the build folder, REKINDLE_CRIU a criu program (else provide-criu.sh finds one), REKINDLE_TEST_KEEP a
folder for the logs of cases that failed.
"""
import argparse
import collections
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

from matrix import case as cases, crowd, namespace, table
from matrix.case import FAULTS, SCENES, Case
from matrix.scene import WORK, Build

HERE = Path(__file__).resolve().parent

SKIPPED = 77
CI_CASES = 44
SUBSTITUTES = 3
KEPT_EVERY = 50  # cases
FULL_SCENES = ("dump", "restore")  # every step with every fault; of the others every step with one, and these:
ALWAYS = {  # (scene, role, name): faults. Whatever the seed they are among the cases, and with --ci among those
    # In mid copy: who copies dies, or never comes back from the driver; who asked for it dies.
    ("dump", "pool", "cuMemcpyDtoHAsync_v2"): ("pool", "hang", "criu"),
    ("dump-while-calls-wait", "pool", "cuMemcpyDtoHAsync_v2"): ("pool", "criu"),
    ("restore", "pool", "cuMemcpyHtoDAsync_v2"): ("pool", "criu"),
    # The program dies in mid copy, and the pool has to outlive it.
    ("dump-lasting-pool", "pool", "cuMemcpyDtoHAsync_v2"): ("target",),
    # In mid copy of a program that runs: it must not notice.
    ("dump-copying-ahead", "agent", "receive OFFER"): ("pool", "criu"),
    ("dump-copying-ahead", "pool", "cuMemcpyDtoHAsync_v2"): ("pool", "criu"),
    # A difference has the files of the older checkpoint by other names, and nobody may take them for its own.
    ("dump-as-a-difference", "pool", "cuLaunchKernel"): ("pool", "fail"),
    ("dump-as-a-difference", "pool", "link to .rekindle-new/data.tmp"): ("pool", "fail"),
    ("dump-as-a-difference", "pool", "cuMemcpyDtoHAsync_v2"): ("pool", "criu"),
    ("dump-as-a-difference", "seal", "link to .rekindle-older/data"): ("self", "fail"),
    # A pool that was taken for lost, and is not, ends after the one that took over, knows less, and leaves the folder alone.
    ("dump", "criu", "send RESUME"): ("fail",),
    ("dump", "pool", "receive RESUME"): ("fail",),
    ("restore", "criu", "send FINISH"): ("fail",),
    # Only the word is lost that the dump was good.
    ("dump", "pool", "receive FINISH"): ("fail",),
    ("dump", "criu", "rename to .rekindle-replaced"): ("fail",),
    # The disk fails in a child of criu's, which writes the images of namespaces (CRIU patch 18), and nobody notices (without).
    ("dump-of-a-restored-process", "task", "write .rekindle-new/CRIU's image"): ("fail", "lost"),
    # Whether the process has its memory cannot be seen.
    ("dump", "criu", "process_vm_readv"): ("fail",),
    # The image is complete, and the pool that has to remove it has not written it.
    ("dump", "pool", "send RELEASE"): ("pool",),
    # The memory is released, the image complete; it is nobody's any more where the program has ended with all others.
    ("dump", "pool", "cuCheckpointProcessCheckpoint"): ("pool", "all"),
    # An agent that is left alone while it replaces memory finishes that first; one that hangs there keeps all standing.
    ("dump-of-a-restored-process", "agent", "cuMemMap"): ("pool", "agent-hangs"),
    # What the agent cannot receive just then it receives a moment later.
    ("dump-leave-running", "agent", "receive EXPORT"): ("pool-fail",),
    # While CRIU dumps; the pool that takes over finds the memory in the images only. Likewise where the dump fails then.
    ("dump-leave-running", "script", "post-dump"): ("pool", "criu"),
    ("dump-two-processes-leave-running", "script", "post-dump"): ("pool", "pool-fail"),
    # Several processes are worked on at once when whoever does it, or whoever asked for it, dies.
    ("dump-two-processes", "pool", "cuCheckpointProcessCheckpoint"): ("pool", "criu", "all"),
    ("restore-two-processes", "pool", "cuCheckpointProcessRestore"): ("pool", "criu"),
    # The same of memory that came back, which it has by descriptors; and of what two share.
    ("dump-of-a-restored-process-copying-ahead", "agent", "receive RELEASE"): ("pool",),
    ("dump-two-that-share-copying-ahead", "pool", "cuMemcpyDtoHAsync_v2"): ("pool", "criu"),
    # One has given up memory that another one still has, or both have: they come back to the same.
    ("dump-two-that-share", "pool", "send RELEASE"): ("pool", "both"),
    # The agent of one goes on with the memory of a pool that is dead, after the other has got other memory.
    ("dump-two-that-share", "agent", "cuMemImportFromShareableHandle"): ("both",),
    ("dump-two-that-share-leave-running", "script", "post-dump"): ("pool",),
}


# ---- inside of the namespaces ----

def inside(build, task):
    """A case, or a scene of which the steps are to be recorded."""
    namespace.close_descriptors()
    namespace.mount_fresh()
    WORK.mkdir()
    os.chdir(WORK)
    print(json.dumps(cases.run_case(build, task) if isinstance(task, Case) else cases.record(build, task)))


def run_inside(build, tasks, jobs):
    """Yields (task, its result or the crowd.Broken one)."""
    for task, result in crowd.run(tasks, lambda task: inside(build, task), jobs):
        yield task, result if isinstance(result, crowd.Broken) else json.loads(result.splitlines()[-1])


# ---- which cases there are ----

def chosen_occurrences(before, count):
    """A call that is made many times: the first two, one in the middle, the last. Not those before the first hook."""
    return sorted({occurrence for occurrence in (before + 1, before + 2, (before + count + 1) // 2, count)
                   if before < occurrence <= count})


def steps_of(recorded):
    """Steps that all these runs made from the first hook on: (role, occurrence, name), in the order of the first one.

    What CRIU does before that is no part of the run: it looks at the kernel."""
    counts = []
    for steps in recorded:
        count, order = {}, []
        for role, occurrence, name in steps:
            if (role, name) not in count:
                order.append((role, name))
            count[role, name] = max(occurrence, count.get((role, name), 0))
        counts.append((count, order))
    before_hook = {}
    for role, occurrence, name in steps:
        if (role, name) == ("criu", "hook INIT"):
            break
        before_hook[role, name] = occurrence
    order = counts[0][1]
    return [(role, occurrence, name) for role, name in order if all((role, name) in count for count, _ in counts)
            for occurrence in chosen_occurrences(before_hook.get((role, name), 0),
                                                 min(count[role, name] for count, _ in counts))]


def steps_of_scenes(build, scenes, runs, jobs):
    recorded = {scene: [] for scene in scenes}
    for scene, steps in run_inside(build, collections.deque(list(scenes) * runs), jobs):
        if isinstance(steps, crowd.Broken):
            raise SystemExit(f"{scene}: {steps}")
        recorded[scene].append(steps)
    return {scene: steps_of(runs) for scene, runs in recorded.items()}


def writes(name):
    return name.split()[0] in ("create", "write", "size", "flush")


def faults_at(role, name):
    """Those that mean something at this step."""
    for fault in FAULTS:
        if fault == "full" and not writes(name):
            continue
        if fault == "self" and role not in ("task", "guardian", "seal"):
            continue
        if fault == "hang" and role != "pool":
            continue
        if fault == "lost" and not (role == "task" and name.startswith("write") and name.endswith("CRIU's image")):
            continue
        if fault == "pool-fail" and role == "pool":
            continue  # nobody is there to notice the failure
        # A hook is no call; kill() of a process of one's own, and ptrace() of a stopped one, fail where it was killed.
        if fault in ("fail", "pool-fail") and ("hook" in name or name == "kill" or name.startswith("ptrace")):
            continue
        yield fault


def all_cases(steps, seed):
    result = []
    for scene, its_steps in steps.items():
        for role, occurrence, name in its_steps:
            faults = list(faults_at(role, name))
            if scene != "dump":  # of the others only those of ALWAYS
                faults.remove("all")
            if scene not in FULL_SCENES:
                choice = random.Random(f"{seed} {scene} {role} {occurrence} {name}").choice(faults)
                faults = sorted({choice, *ALWAYS.get((scene, role, name), ())}, key=FAULTS.index)
            result += [Case(scene, role, occurrence, name, fault) for fault in faults]
    return result


def kind_of(name):  # of a step; of an action script's there is one only
    word = name.split()[0]
    if word.startswith("cu"):
        return "driver"
    if word in ("send", "receive", "connect", "socketpair"):
        return "message"
    if word in ("kill", "ptrace", "execv") or word.startswith(("pidfd", "process_vm")):
        return "process"
    return "hook" if "hook" in name else "file"


def shows(case):
    """What one case is an example of: --ci has one of each."""
    return {("scene", case.scene), ("fault", case.action, case.fault),
            ("step", case.action, case.role, kind_of(case.name))}


def in_order(cases, seed):
    """Shuffled, each by itself: a step more or less does not make it another choice."""
    return sorted(cases, key=lambda case: hashlib.sha256(f"{seed} {case}".encode()).digest())


def spread(ordered, count):
    """Those of ALWAYS, the first example of everything, and further ones up to that count."""
    wanted = {(place, fault) for place, faults in ALWAYS.items() for fault in faults}
    shown, chosen = set(), []
    for case in ordered:
        place = (case.scene, case.role, case.name), case.fault
        if place in wanted:
            wanted.remove(place)
            chosen.append(case)
            shown |= shows(case)
    for case in ordered:
        if not shows(case) <= shown:
            chosen.append(case)
            shown |= shows(case)
    rest = [case for case in ordered if case not in chosen]
    return chosen + rest[:max(0, count - len(chosen))]


# ---- running them ----

def run_cases(build, chosen, jobs, seconds=None, keep=None):
    """{case: result}; after that many seconds no further one is begun. keep is shown the results so far, now and then."""
    results = {}
    end = time.monotonic() + seconds if seconds else None
    waiting = collections.deque(chosen)
    for case, result in run_inside(build, waiting, jobs):
        if isinstance(result, crowd.Broken):
            result = {"outcome": "FAULT", "note": f"the case broke off: {result}", "seconds": 0}
        if result["outcome"] == "unreached" and case not in results:  # how often a call is made may vary: once more
            waiting.append(case)
        results[case] = result
        if result["outcome"] == "FAULT":
            print(f"FAULT {case}: {result['note']}\n{result.get('logs', '')}", flush=True)
        if keep and len(results) % KEPT_EVERY == 0:
            keep(results)
        if end and time.monotonic() > end:
            waiting.clear()
    return results


def run_substitutes(build, results, ordered, jobs):
    """Where a step was not made this time, or nobody was there to be struck, another case shows what that was to show."""
    for _ in range(SUBSTITUTES):
        shown, tried = set(), set()
        for case, result in results.items():
            tried |= shows(case)
            if result["outcome"] not in ("unreached", "nobody"):
                shown |= shows(case)
        chosen = []
        for case in ordered:
            if case not in results and shows(case) & (tried - shown):
                chosen.append(case)
                shown |= shows(case)
        if not chosen:
            return
        results.update(run_cases(build, chosen, jobs))


def write_results(path, results):
    """Whole at any moment: a run that is broken off goes on with --again."""
    new = Path(f"{path}.new")
    new.write_text(json.dumps({str(case): result for case, result in results.items()}, indent=1))
    new.replace(path)


def sound_before(path, cases):
    """Of an earlier run on the same code."""
    before = json.loads(Path(path).read_text())
    return {case: before[str(case)] for case in cases
            if before.get(str(case), {}).get("outcome") not in (None, "FAULT", "unreached")}


def summary(results):
    counts = {}
    for result in results.values():
        counts[result["outcome"]] = counts.get(result["outcome"], 0) + 1
    return ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ci", action="store_true")
    what.add_argument("--all", action="store_true")
    what.add_argument("--list", action="store_true")
    what.add_argument("--case")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--match", default="", help="only cases that hold this text")
    parser.add_argument("--count", type=int, help="so many of them, as the seed chooses")
    parser.add_argument("--seconds", type=float, help="begin none after that, in the order that the seed chooses")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--jobs", type=int, default=4 * os.cpu_count(), help="cases at once; most wait most of their time")
    parser.add_argument("--table", help="where to write the table")
    parser.add_argument("--results", help="JSON file for every case, written as the run goes on: --again with it goes on where it was broken off")
    parser.add_argument("--again", help="such a file of an earlier run: what that found sound is not run again")
    arguments = parser.parse_args()
    if os.geteuid():
        print("skipped: dump and restore need root")
        return SKIPPED
    build = Build.find()
    namespace.learn_kernel(build.criu)
    if arguments.case:
        (result,) = run_cases(build, [Case.parse(arguments.case)], 1).values()
        result.pop("logs", "")
        print(json.dumps(result))
        return result["outcome"] == "FAULT"

    began = time.monotonic()
    scenes = arguments.scenes.split(",")
    # With --ci a step that is not made each time costs less than looking for it.
    steps = steps_of_scenes(build, scenes, 1 if arguments.ci else 2, arguments.jobs)
    all_of_them = [case for case in all_cases(steps, arguments.seed) if arguments.match in str(case)]
    print(f"seed {arguments.seed}: {len(all_of_them)} cases at {sum(map(len, steps.values()))} steps", flush=True)
    if arguments.list:
        print("\n".join(map(str, all_of_them)))
        return 0
    ordered = in_order(all_of_them, arguments.seed)
    chosen = spread(ordered, CI_CASES) if arguments.ci else ordered[:arguments.count] if arguments.count else ordered
    results = sound_before(arguments.again, all_of_them) if arguments.again else {}
    earlier = len(results)
    results |= run_cases(build, [case for case in chosen if case not in results], arguments.jobs, arguments.seconds,
                         (lambda more: write_results(arguments.results, results | more)) if arguments.results else None)
    if arguments.ci:
        run_substitutes(build, results, ordered, arguments.jobs)
    if arguments.results:
        write_results(arguments.results, results)
    path = arguments.table or (HERE / "crash_matrix.md" if arguments.all and not arguments.match else None)
    if path:
        Path(path).write_text(table.text(steps, all_of_them, results, arguments.seed, earlier))
    print(f"{len(results)} cases in {time.monotonic() - began:.0f} s: {summary(results)}")
    return any(result["outcome"] == "FAULT" for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
