# SPDX-License-Identifier: MIT
"""What a target program tells the outside, through a small file that both map, so that it goes on across dump and restore:

  u64 steps      rounds of real work on the GPU so far (0: not ready yet)
  u64 checks     checks of everything that it holds, each of which gave the same digest as the first
  u64 digest     of the first check
  u64 failed     1: something was not as it had been, and the text says what
  u64 requested  the outside counts this up to ask for a check
  u64 answered   the request that was there when the last check began
  text           from byte 64 on
"""
import mmap
import os
import struct
import sys

SIZE = 4096
STEPS, CHECKS, DIGEST, FAILED, REQUESTED, ANSWERED, TEXT = 0, 8, 16, 24, 32, 40, 64


class Report:
    """create: of the program itself; else of who looks at it."""

    def __init__(self, path, create=False):
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0), 0o600)
        if create:
            os.ftruncate(descriptor, SIZE)
        self.map = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)

    def get(self, offset):
        return struct.unpack_from("<Q", self.map, offset)[0]

    def put(self, offset, value):
        struct.pack_into("<Q", self.map, offset, value)

    # ---- the program ----

    def step(self):
        self.put(STEPS, self.get(STEPS) + 1)

    def wanted(self):
        """Taken before a check begins."""
        return self.get(REQUESTED)

    def is_asked(self):
        return self.get(REQUESTED) != self.get(ANSWERED)

    def check(self, digest, wanted):
        if self.get(CHECKS) == 0:
            self.put(DIGEST, digest)
        elif digest != self.get(DIGEST):
            self.fail(f"the contents' digest is {digest:016x}, it was {self.get(DIGEST):016x}")
        self.put(CHECKS, self.get(CHECKS) + 1)
        self.put(ANSWERED, wanted)

    def say(self, text):
        raw = text.encode()[:SIZE - TEXT - 1]
        self.map[TEXT:TEXT + len(raw) + 1] = raw + b"\0"

    def fail(self, text):
        self.say(text)
        self.put(FAILED, 1)
        sys.exit(text)

    # ---- the outside ----

    def ask(self):
        self.put(REQUESTED, self.get(REQUESTED) + 1)

    def is_answered(self):
        return self.get(REQUESTED) == self.get(ANSWERED)

    def text(self):
        return bytes(self.map[TEXT:]).partition(b"\0")[0].decode(errors="replace")
