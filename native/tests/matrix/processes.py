# SPDX-License-Identifier: MIT
"""Looks at processes in /proc, and collects those that have ended."""
import os
import re
import subprocess
import time
from pathlib import Path


class Failure(Exception):
    """What was asked for does not hold."""


class Patience:
    """How long somebody waits who looks again and again. Of the time between two looks a second counts at most: where it is
    more, the machine stood still, as a virtual one does now and then for half a minute, and what is waited for stood with
    it."""

    LOOK = 1

    def __init__(self, seconds, clock=time.monotonic):
        self.seconds, self.clock = seconds, clock
        self.passed, self.last = 0, clock()

    def is_over(self):
        now = self.clock()
        self.passed += min(now - self.last, self.LOOK)
        self.last = now
        return self.passed > self.seconds


def wait_until(what, condition, seconds):
    """Polls, as there is nothing to wait on for what a foreign process does."""
    patience = Patience(seconds)
    while not condition():
        if patience.is_over():
            raise Failure(f"{what}: not within {seconds:g} s")
        time.sleep(0.002)


class Children:
    """The first process of a namespace is parent of every orphan: ended ones keep their ids until it collects them."""

    def __init__(self):
        self.started = {}
        self.signals = {}  # of those that one has ended

    def start(self, command, **options):
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **options)
        self.started[child.pid] = child
        return child

    def collect(self):
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                self.signals[ended.si_pid] = ended.si_status
            child = self.started.pop(ended.si_pid, None)
            if child:
                child.poll()
            else:
                os.waitpid(ended.si_pid, 0)


def status_of(pid, thread=None):
    """The fields of /proc/PID/status that count here, None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return dict(re.findall(r"^(Name|State|TracerPid|VmRSS):\s+(\S+)", text, re.MULTILINE))


def signal_of_zombie(pid):
    """That has ended a process which its parent has not asked after yet, else None."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[-1]) & 0x7F if state == "Z" else None


def send(pid, signal):
    """To a process that may be ending just now."""
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass


def threads_of(pid):
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def has_ended(pid):
    """All of it: its first thread may end before the others, which keep what it has open; its id is in use yet."""
    every = (status_of(pid, thread) for thread in threads_of(pid))
    return all(status is None or status["State"] in "ZX" for status in every)


def all_processes():
    """pid: name of every process but this one that has not ended."""
    result = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            status = status_of(name)
            if status and (status["State"] not in "ZX" or not has_ended(name)):
                result[int(name)] = status["Name"]
    return result


def places():
    """Where every thread of every process stands, for a person who asks why something hangs: state, tracer, system call, and
    the innermost functions of the kernel."""
    lines = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"):
        for thread in threads_of(pid):
            folder = Path(f"/proc/{pid}/task/{thread}")
            try:
                status = status_of(pid, thread)
                call = (folder / "syscall").read_text().split()[:4]
                stack = re.findall(r"\] (\S+?)\+", (folder / "stack").read_text())[:4]
                lines.append(f"process {pid} thread {thread} {status['Name']}: {status['State']}, traced by "
                             f"{status['TracerPid']}, call {' '.join(call)}, in {' '.join(stack)}")
            except (OSError, TypeError):  # it has ended
                lines.append(f"process {pid} thread {thread}: gone")
    return "\n".join(lines)


def descriptors_of(pid):
    """Kinds of what it has open: paths, and "socket", "anon_inode" and the like for what has no path."""
    kinds = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                kind = re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/{pid}/fd/{name}"))
            except FileNotFoundError:
                continue
            # What the agent keeps of memory that came back: agent/memory/restored_descriptors.h.
            if int(name) < 768 or "simcuda-memory" not in kind:
                kinds.append(kind)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return sorted(kinds)


def growth(before, after):
    """What is there more often than before."""
    rest = list(before)
    more = []
    for kind in after:
        if kind in rest:
            rest.remove(kind)
        else:
            more.append(kind)
    return more


def held_files(files=("/tmp", "/dev/shm", "/run")):
    """The locks that somebody has on files there."""
    devices = {os.stat(folder).st_dev for folder in files}
    locks = []
    for line in Path("/proc/locks").read_text().splitlines():
        place = re.search(r" ([0-9a-f]+):([0-9a-f]+):(\d+) ", line)
        if place and os.makedev(int(place[1], 16), int(place[2], 16)) in devices and " -> " not in line:
            locks.append(line.partition(": ")[2].strip())
    return sorted(set(locks))  # read in parts, between which others come and go, it may show one twice
