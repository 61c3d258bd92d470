# SPDX-License-Identifier: MIT
"""Runs tasks side by side, each in a copy of this program that is the first process of namespaces of its own."""
import os
import signal
import sys
import tempfile
import traceback

from matrix import namespace

LIMIT = 400  # seconds; of one that hangs nobody would hear otherwise


class Broken(Exception):
    """A task that did not come to its end, and the last words of it."""


class Task:
    """One that runs. Not a new program: Python takes longer to start than most tasks do. Nothing of this may be called
    where there is a second thread, which the copy would not have."""

    def __init__(self, function):
        self.out, self.errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.pid = os.fork()
        if not self.pid:
            self.inside(function)

    def inside(self, function):
        status = 1
        try:
            signal.alarm(LIMIT)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(self.out.fileno(), 1)
            os.dup2(self.errors.fileno(), 2)
            namespace.enter()
            function()
            sys.stdout.flush()
            status = 0
        except BaseException:  # whatever it is: this copy must not go on as the original
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def result(self, status):
        """What it printed."""
        out, errors = self.read(self.out), self.read(self.errors)
        if status:
            raise Broken(f"status {status}: " + " ".join(errors.strip().split("\n")[-4:]))
        return out

    @staticmethod
    def read(file):
        with file:
            file.seek(0)
            return file.read()


def run(tasks, function, jobs):
    """Calls function(task) for each of a deque, so many at once, which the caller may change meanwhile. Yields (task, what
    it printed, or the Broken one)."""
    running = {}
    while tasks or running:
        while tasks and len(running) < jobs:
            task = tasks.popleft()
            child = Task(lambda task=task: function(task))
            running[child.pid] = task, child
        pid, status = os.wait()
        task, child = running.pop(pid)
        try:
            yield task, child.result(status)
        except Broken as broken:
            yield task, broken
