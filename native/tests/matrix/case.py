# SPDX-License-Identifier: MIT
"""One case of the crash matrix: a dump or a restore that a fault strikes at one step, and the questions afterwards."""
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

from matrix.processes import Failure, Patience, descriptors_of, growth, held_files, send, status_of, threads_of
from matrix.scene import DEADLINE, WORK, Scene, errors_of

IMAGE, FIRST, AGAIN = WORK / "image", WORK / "first", WORK / "again"
# All that a disturbed run may take to end: every step its deadline, and what brings the process back as often again.
ENDED = 10 * DEADLINE
BUSY = re.compile("another run(?: is at work in this folder of images)?, whose criu has ended")
PROGRESS = "rekindle.progress"
SLOW = 60
FEW_DESCRIPTORS = 12
KEEP = os.environ.get("REKINDLE_TEST_KEEP")
SETTLED = 6 * DEADLINE  # a pool that is left alone brings the process back, or ends it, and ends

SCENES = {  # action, what it is about; kept in this order in the table
    "dump": {},
    "restore": {},
    "dump-leave-running": {"leave_running": True},
    "dump-while-calls-wait": {"busy": True},
    "dump-of-a-restored-process": {"restored": True, "busy": True, "few": True},
    "dump-two-processes": {"children": 1},
    "dump-two-processes-leave-running": {"children": 1, "leave_running": True},
    "restore-two-processes": {"children": 1},
    "dump-copying-ahead": {"ahead": True, "busy": True},
    "dump-of-a-restored-process-copying-ahead": {"restored": True, "ahead": True, "busy": True},
    "dump-as-a-difference": {"difference": True},
    "dump-of-a-restored-process-as-a-difference": {"difference": True, "restored": True, "leave_running": True},
    "dump-two-that-share": {"children": 1, "shares": True},
    "dump-two-that-share-leave-running": {"children": 1, "shares": True, "leave_running": True},
    "dump-two-that-share-copying-ahead": {"children": 1, "shares": True, "ahead": True},
    "restore-two-that-share": {"children": 1, "shares": True},
    "dump-lasting-pool": {"lasting": True},
    "restore-lasting-pool": {"lasting": True},
}

# What can strike at a step. self: whoever makes it is killed, where it is none of the others. fail: the call fails;
# pool-fail: both. full: from then on the disk is. hang: whoever makes the call does not come back from it. lost: nobody
# looks whether the call fails, as in the children of a stock criu that write the images of namespaces. all: criu, pool and
# target are killed, as by one kill of their cgroup.
FAULTS = ("criu", "pool", "both", "target", "self", "agent-ends", "agent-hangs", "fail", "pool-fail", "full", "hang",
          "stop-pool", "lost", "all")


@dataclasses.dataclass(frozen=True)
class Case:
    scene: str
    role: str
    occurrence: int
    name: str
    fault: str

    def __str__(self):
        return f"{self.scene}:{self.role}:{self.occurrence}:{self.fault}:{self.name}"

    @staticmethod
    def parse(text):
        scene, role, occurrence, fault, name = text.split(":", 4)
        return Case(scene, role, int(occurrence), name, fault)

    @property
    def action(self):
        return self.scene.split("-")[0]


def strikes_pool(case):
    """One whose driver gives errors may end, too: all its calls would fail from then on (native/README.md)."""
    return case.fault in ("pool", "pool-fail", "both", "all") or (case.role == "pool" and case.fault == "fail")


def is_refusal(case):
    """Of a complete checkpoint by a script: CRIU lets the process go on, fails, and tells its plugins of success."""
    return case.name == "post-dump" and case.fault in ("fail", "pool-fail")


class Stage:
    """The scene of a case, with the run that is disturbed and what must hold after it."""

    def __init__(self, build, name):
        self.settings = SCENES[name]
        self.action = name.split("-")[0]
        self.leave_running = self.settings.get("leave_running", False)
        self.busy = self.settings.get("busy", False)
        # Of its only piece the first 16 MiB change, and the rest of it is linked.
        pieces = {"mib": 40, "pieces": 1} if self.settings.get("difference") else {}
        self.scene = Scene(build, children=self.settings.get("children", 0), busy=self.busy,
                           shares=self.settings.get("shares", False), **pieces)
        self.script = self.scene.make_script() if "children" in self.settings or self.leave_running else []
        self.notes = []

    # ---- before ----

    def prepare(self):
        scene = self.scene
        if self.settings.get("lasting"):
            scene.start_pool()
        scene.start_workers()
        self.old = scene.contents()
        if self.settings.get("few"):
            # The agent keeps no descriptor of what a restore brings, and has to put fresh memory in its place.
            for worker in scene.workers:
                number = len(descriptors_of(worker.pid)) + FEW_DESCRIPTORS
                resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (number, number))
        if self.settings.get("restored"):
            scene.must_dump(FIRST)
            scene.must_restore(FIRST)
        if self.action == "dump":
            # An older checkpoint of other contents lies in the folder already.
            # What the process has made itself it has by no descriptor: the driver saves it here, so that it stays that.
            to_driver = {"REKINDLE_SIMCUDA_FAIL": "cuMemImportFromShareableHandle=999"}
            own = self.settings.get("ahead") and not self.settings.get("restored") and not self.settings.get("shares")
            scene.must_dump(IMAGE, "--leave-running", settings=to_driver if own else None)
            for worker in scene.workers:
                worker.change()
        self.now = scene.contents()
        self.descriptors = [descriptors_of(worker.pid) for worker in scene.workers]
        if self.action == "restore":
            scene.must_dump(IMAGE)
        self.wait_alone()
        if scene.lasting:
            self.pool_descriptors = descriptors_of(scene.lasting.pid)
        self.locks = held_files()
        self.files = files_of(IMAGE)

    # ---- the run ----

    def run(self, case):
        scene = self.scene
        if case:
            scene.arm(IMAGE, case.role, case.occurrence, case.fault, case.name)
        else:
            scene.arm(IMAGE)
        self.began = time.time()
        settings = {"REKINDLE_TIMEOUT": str(DEADLINE), "REKINDLE_COPY_WHILE_RUNNING": "1" if self.settings.get("ahead") else "0",
                    "REKINDLE_PARENT": "" if self.settings.get("difference") else "none"}
        options = [*(["--leave-running"] if self.leave_running else []), *self.script]
        criu = scene.start_criu("dump", IMAGE, "-t", scene.root, *options, settings=settings) \
            if self.action == "dump" else scene.start_criu("restore", IMAGE, "-d", *options, settings=settings)
        self.status = scene.finish(criu, self.action)
        self.seconds = scene.seconds
        self.record = scene.record()
        reached = scene.plan / "reached"
        self.reached = reached.read_text() if reached.exists() else None
        return self.status

    def calls_waited(self, case):
        """A busy process is between two calls when it is locked, now and then: the case shows nothing then."""
        log = IMAGE / "rekindled.log"
        return not self.busy or case.name != "cuMemcpyDtoHAsync_v2" or \
            (log.exists() and "CUDA calls wait for the end of the dump" in log.read_text(errors="replace"))

    # ---- after ----

    def settle(self, case):
        """What the run has left to others is done, by its deadline."""
        scene = self.scene
        if self.seconds > ENDED:
            raise Failure(f"criu took {self.seconds:.1f} s with REKINDLE_TIMEOUT={DEADLINE}")
        if scene.lasting and case.fault == "stop-pool":
            # The operator ends a pool that hangs.
            self.end_lasting_pool()
        elif case.fault == "stop-pool":
            # One that nobody waits for any more; what it then does may do no harm either.
            for pid in scene.others():
                send(pid, signal.SIGCONT)
        elif case.fault == "hang":
            scene.release()  # likewise
        scene.processes.collect()
        if scene.lasting and scene.lasting.poll() is not None:
            if not strikes_pool(case):
                raise Failure(f"the lasting pool ended with {scene.lasting.returncode}")
            scene.lasting = None
        self.wait_alone()
        scene.disarm()

    def end_lasting_pool(self):
        pool, self.scene.lasting = self.scene.lasting, None
        if pool.poll() is None:
            pool.kill()
            pool.wait()

    def revive(self):
        """Runs the commands that a log names, one for each process, if one does."""
        for log in (IMAGE / f"{self.action}.log", IMAGE / "rekindled.log", WORK / "pool.log"):
            text = log.read_text(errors="replace") if log.exists() else ""
            found = re.findall(r"rekindled (--revive \d+(?: --images \S+?)?)[\"';,.]*(?:\s|$)", text)
            commands = {command.split()[1]: command for command in found}  # the last one of each
            for command in commands.values():
                folder = command.partition(" --images ")[2]
                if folder not in ("", str(IMAGE)):
                    raise Failure(f"{log.name} names the folder {folder}, and nobody has given that to criu")
                environment = {**self.scene.environment, "REKINDLE_TIMEOUT": str(DEADLINE)}
                result = subprocess.run([self.scene.build.pool, *command.split()], env=environment, capture_output=True,
                                        text=True, stdin=subprocess.DEVNULL, timeout=60)
                said = result.stderr.strip().splitlines()
                self.notes.append(f"rekindled {command} ended with {result.returncode}: {said[-1] if said else ''}")
            if commands:
                return True
        return False

    def workers_run(self, case):
        """True: all of them, with their contents. False: all have ended."""
        scene = self.scene
        there = scene.are_there()
        if not any(there):
            return False
        try:
            if not all(there):
                raise Failure("one process of the tree is there and one is not")
            contents = scene.contents(10)
        except Failure:
            if case.fault in ("criu", "both") and scene.lost_one_to_criu(IMAGE, self.now):
                return False
            if self.all_end():
                return False  # the end of what was not complete had only begun
            revived = self.revive()
            if case.fault == "agent-ends":
                self.end_without_agent()
                return False
            # Nobody had to revive it: then it is this machine that is slow.
            contents = scene.contents(10 if revived else SLOW)
            self.revived = revived
        if contents != self.now:
            raise Failure(f"it runs with other contents: {contents}, not {self.now}")
        return True

    def wait_alone(self):
        try:
            self.scene.wait_alone(SETTLED)
        except Failure as failure:
            raise Failure(f"{failure}: {self.scene.others()}") from None

    def all_end(self):
        patience = Patience(0 if all(self.scene.are_there()) else SETTLED)
        while any(self.scene.are_there()):
            if patience.is_over():
                return False
            time.sleep(0.01)
        return True

    def end_without_agent(self):
        """A part of the program has ended, as with "target" all of it: the thread that had the memory in hand, which nobody
        can bring back then. The process stands still, its CUDA calls fail, or it goes on and cannot be dumped any more;
        other contents it must not show."""
        scene = self.scene
        try:
            contents = scene.contents(2)
        except Failure:
            contents = self.now
        if contents != self.now:
            raise Failure(f"it runs with other contents: {contents}, not {self.now}")
        self.without_agent = True
        scene.kill_workers()

    def nobody_cleans(self, case):
        """Where both have died, or criu before it had a pool or when that was through with the run, nobody is left to remove
        what the dump has begun, as nobody is where a stock criu is killed, which leaves its images. Likewise where criu has
        left that to a pool which the operator ends. The next dump into that folder does it: see must_restore."""
        if self.action == "dump" and case.fault == "all":
            return not self.is_guarded() or may_restore()
        heard = {name for role, _, name in self.record if role == "pool"}
        at_work = "receive HELLO" in heard and "receive FINISH" not in heard
        return self.action == "dump" and (case.fault == "both" or (case.fault == "criu" and not at_work) or
                                          (case.fault == "stop-pool" and self.settings.get("lasting", False)))

    def is_guarded(self):
        """The guardian has been told of a process, waits for the next word, and was not dismissed."""
        return ("guardian", 2, "receive message") in self.record and ("pool", 1, "receive FINISH") not in self.record

    def left_files(self, case):
        if self.nobody_cleans(case):
            return set()
        # Where the agent has not answered, the image of the dump that failed stays: it may be the only copy.
        failed = self.action == "dump" and self.status > 0 and \
            not (is_refusal(case) or case.fault in ("agent-ends", "agent-hangs"))
        return set(temporary_files()) | (files_of(IMAGE) - self.files if failed else set())

    def check_nothing_left(self, case):
        scene = self.scene
        patience = Patience(SETTLED)  # for a lasting pool to remove them
        while (more := self.left_files(case)) and not patience.is_over():
            time.sleep(0.01)
        if more:
            raise Failure(f"files are left that were not there before: {more}")
        shared = os.listdir("/dev/shm")
        if shared:
            raise Failure(f"files are left in /dev/shm: {shared}")
        # What the driver would not take back nobody can give back.
        if scene.lasting and not ((case.role, case.fault) == ("pool", "fail") and
                                  case.name in ("cuMemUnmap", "cuMemRelease", "cuMemFree_v2")):
            more = self.growth_of(scene.lasting.pid, self.pool_descriptors)
            if more:
                raise Failure(f"the pool has more open than before: {more}")
        elif (WORK / "pool.sock").exists() and not self.settings.get("lasting"):
            raise Failure("a pool's socket is left")
        locks = growth(self.locks, held_files())
        if locks:
            raise Failure(f"files are locked: {locks}")

    def check_workers_are_free(self, case):
        for worker, before in zip(self.scene.workers, self.descriptors):
            # A lasting pool lets go of one thread after the other.
            patience = Patience(SETTLED)
            while (held := held_threads(worker.pid)) and not patience.is_over():
                time.sleep(0.01)
            if held:
                raise Failure(f"threads of process {worker.pid} are held: {held}")
            # What the agent's thread was working with, nobody is there to close; and what a driver's call would not take
            # back is given back before the next dump.
            if case.fault == "agent-ends" or (case.fault in ("fail", "pool-fail") and case.role == "agent" and
                                              case.name.startswith("cu")):
                continue
            more = self.growth_of(worker.pid, before)
            if more:
                raise Failure(f"process {worker.pid} has more open than before: {more}")

    @staticmethod
    def growth_of(pid, before):
        """The agent may have gone on only now, and the pool lets go after its last answer."""
        patience = Patience(SETTLED)
        while (more := growth(before, descriptors_of(pid))) and not patience.is_over():
            time.sleep(0.01)
        return more

    def must_restore(self, folder, allowed, dump_there=False):
        """It restores, to one of these contents. Returns which."""
        scene = self.scene
        scene.must_restore(folder)
        contents = scene.contents()
        if contents not in allowed:
            raise Failure(f"{folder.name} restores to other contents: {contents}, not one of {allowed}")
        if dump_there:
            scene.must_dump(folder)
            if temporary_files():
                raise Failure(f"the next dump into the folder left temporary files there: {temporary_files()}")
        else:
            scene.kill_workers()
        self.wait_alone()
        return contents

    def check_dump_again(self, case):
        """The process is sound: it can be dumped, and restored from that."""
        scene = self.scene
        patience = Patience(SETTLED)
        # That is the right answer as long as a lasting pool is still ending the run that was disturbed.
        while (status := scene.dump(AGAIN)) and BUSY.search(errors_of(AGAIN / "dump.log")) and not patience.is_over():
            time.sleep(0.05)
        if status and case.fault == "agent-ends" and "agent" in errors_of(AGAIN / "dump.log"):
            self.end_without_agent()
            return
        if status:
            raise Failure(f"it cannot be dumped again: {errors_of(AGAIN / 'dump.log')}")
        scene.wait_gone()
        self.must_restore(AGAIN, [self.now])

    def check_explained(self, case):
        """A run that failed says why, and an operator who has set a limit finds it named."""
        log = (IMAGE / f"{self.action}.log").read_text(errors="replace")
        ours = [line for line in log.splitlines() if "Error (rekindle)" in line]
        if self.status <= 0 or case.fault not in ("pool", "hang", "stop-pool"):
            return
        if not ours or (case.fault != "pool" and not any("REKINDLE_TIMEOUT" in line for line in ours)):
            raise Failure(f"{self.action}.log does not say why it failed: {ours}")

    def check_statistics(self, case):
        """What the run says of itself is so. A criu that was killed may have got further than it could say."""
        file = IMAGE / "stats-rekindle.json"
        if self.status < 0 or is_refusal(case) or not file.exists() or file.stat().st_mtime < self.began:
            return
        says = json.loads(file.read_text())["succeeded"]
        if says != (self.status == 0):
            raise Failure(f"criu ended with {self.status}, and the statistics say succeeded={says}")

    def ask_after_dump(self, case):
        succeeded = self.status == 0
        runs = self.workers_run(case)
        killed = case.fault in ("target", "all") or self.without_agent
        if succeeded and not self.leave_running and runs and not killed:
            raise Failure("the dump says that it succeeded, and the process goes on")
        if runs:
            self.check_workers_are_free(case)
        self.check_nothing_left(case)
        if runs:
            self.check_dump_again(case)
        killed = killed or self.without_agent
        # Success: this checkpoint. A failure: the older one, unless criu was killed when the new one was complete.
        if succeeded:
            allowed = [self.now]
        elif runs or killed:
            allowed = [self.old, self.now]
        elif case.fault in ("criu", "both") and self.scene.died_of_criu(IMAGE):
            self.must_restore(IMAGE, [self.old, self.now])
            return "criu"
        else:
            allowed = [self.now]
        if case.fault == "all":
            # Their guardian puts the folder in order, which takes the lock on it.
            self.wait_alone()
        restored = self.must_restore(IMAGE, allowed, dump_there=self.nobody_cleans(case))
        if self.without_agent:
            return "agent"
        if succeeded:
            return "success"
        if runs:
            return "revived" if self.revived else "runs"
        return "older" if restored == self.old else "image"

    def ask_after_restore(self, case):
        runs = self.workers_run(case)
        if self.status == 0 and not runs and case.fault not in ("target", "all") and not self.without_agent:
            raise Failure("the restore says that it succeeded, and the process is gone")
        if runs:
            self.check_workers_are_free(case)
        self.check_nothing_left(case)
        if runs:
            self.check_dump_again(case)
        self.must_restore(IMAGE, [self.now])
        if self.without_agent:
            return "agent"
        return "success" if self.status == 0 else "runs" if runs else "image"

    def ask(self, case):
        self.revived = self.without_agent = False
        self.settle(case)
        self.check_explained(case)
        self.check_statistics(case)
        return self.ask_after_dump(case) if self.action == "dump" else self.ask_after_restore(case)


def held_threads(pid):
    """{thread: its state and who traces it} of those that do not run."""
    every = {thread: status_of(pid, thread) for thread in threads_of(pid)}
    return {thread: f"{status['State']}, traced by {status['TracerPid']}" for thread, status in every.items()
            if status and (status["TracerPid"] != "0" or status["State"] in "Tt")}


def files_of(folder):
    """Those of a checkpoint: what tells of runs stays."""
    names = {file.name for file in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not (name.endswith(".log") or name.startswith("stats-") or name == PROGRESS)}


def may_restore():
    """What CRIU has written all of the guardian leaves to the next run where the process has ended."""
    return (IMAGE / ".rekindle-older").exists() or (IMAGE / ".rekindle-new" / "inventory.img").exists()


def temporary_files():
    return [name for name in files_of(IMAGE) if "tmp" in name or name.startswith(".rekindle-")]


def describe(folder):
    """The ends of the logs, for a person."""
    lines = []
    for name in ("dump.log", "restore.log", "rekindled.log", "dump.out.log"):
        file = folder / name
        if file.exists():
            text = file.read_text(errors="replace").splitlines()
            if name != "rekindled.log":
                text = [line for line in text if "Error" in line or "Warn" in line or "cuda_plugin" in line]
            lines += [f"--- {folder.name}/{name}", *text[-12:]]
    return "\n".join(lines)


def keep_logs(name):
    """Into the folder that REKINDLE_TEST_KEEP names, which must lie outside of what is fresh in here."""
    if not KEEP:
        return
    folder = Path(KEEP, re.sub(r"[^\w.-]+", "_", name))
    for file in WORK.rglob("*"):
        if file.is_file() and file.suffix not in (".img", ".tmp") and not file.name.startswith("worker"):
            (folder / file.parent.relative_to(WORK)).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / file.relative_to(WORK))


def record(build, scene_name):
    """The steps of an undisturbed run."""
    stage = Stage(build, scene_name)
    stage.prepare()
    if stage.run(None):
        raise Failure(f"{scene_name} that nobody disturbs ends with {stage.status}: "
                      f"{errors_of(IMAGE / (stage.action + '.log'))}")
    return stage.scene.record()


def run_case(build, case):
    """{"outcome": ..., "note": ..., "seconds": ...}"""
    stage = Stage(build, case.scene)
    stage.prepare()
    result = {"status": None, "seconds": 0}
    try:
        stage.run(case)
        result.update(status=stage.status, seconds=round(stage.seconds, 2))
        if stage.reached is None or not stage.calls_waited(case):
            outcome, note = "unreached", ""
        elif stage.reached != "done":
            outcome, note = "nobody", ""
        else:
            outcome, note = stage.ask(case), ""
    except (Failure, subprocess.TimeoutExpired) as failure:
        outcome, note = "FAULT", str(failure)
        result["logs"] = "\n".join(filter(None, [describe(IMAGE), describe(AGAIN)]))
        keep_logs(str(case))
    result.update(outcome=outcome, note="; ".join(filter(None, [note, *stage.notes])))
    return result
