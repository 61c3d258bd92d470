# SPDX-License-Identifier: MIT
"""The worker program of native/worker, spoken with through the file that it maps (protocol/worker_protocol.h)."""
import mmap
import os
import struct
import time

from matrix.processes import Failure, Patience, status_of

READY, FAILED, STEPS, REQUEST, KIND, RESPONSE, RESULT, CHECKSUM, ERROR = 16, 20, 24, 32, 36, 48, 52, 56, 144
ASK_CHECKSUM, ASK_CHANGE = 1, 2


class Worker:
    def __init__(self, path, pid):
        self.path, self.pid = path, pid
        with open(path, "r+b") as file:
            self.state = mmap.mmap(file.fileno(), 4096)

    def get(self, offset, kind="<I"):
        return struct.unpack_from(kind, self.state, offset)[0]

    def put(self, offset, value):
        struct.pack_into("<I", self.state, offset, value)

    def wait(self, what, condition, seconds):
        patience = Patience(seconds)
        while not condition():
            if self.get(FAILED):
                raise Failure(f"{self.path.name} failed: {bytes(self.state[ERROR:ERROR + 256]).split(bytes(1))[0].decode()}")
            if patience.is_over():
                raise Failure(f"{self.path.name} (process {self.pid}) does not {what} within {seconds:g} s: {self.how_it_stands()}")
            time.sleep(0.001)

    def how_it_stands(self):
        status = status_of(self.pid)
        return f"state {status['State']}, traced by {status['TracerPid']}" if status else "it is gone"

    def wait_ready(self, seconds):
        self.wait("get ready", lambda: self.get(READY), seconds)

    def ask(self, kind, seconds):
        number = (self.get(REQUEST) + 1) & 0xFFFFFFFF
        self.put(KIND, kind)
        self.put(REQUEST, number)
        self.wait("answer", lambda: self.get(RESPONSE) == number, seconds)
        if self.get(RESULT):
            raise Failure(f"{self.path.name} failed: {bytes(self.state[ERROR:ERROR + 256]).split(bytes(1))[0].decode()}")

    def change(self):
        self.ask(ASK_CHANGE, 30)

    def contents(self, seconds=10):
        """Goes on working, and has these contents."""
        wanted = self.get(STEPS, "<Q") + 3
        self.wait("go on", lambda: self.get(STEPS, "<Q") >= wanted, seconds)
        self.ask(ASK_CHECKSUM, seconds)
        return self.get(CHECKSUM, "<Q")

    def is_there(self):
        status = status_of(self.pid)
        return status is not None and status["State"] not in "ZX"

    def is_gone(self):
        """Not even a zombie, which would keep its id from the restored process."""
        return not os.path.exists(f"/proc/{self.pid}")
