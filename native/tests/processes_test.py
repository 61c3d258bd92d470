#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How the crash matrix sees in /proc who is there."""
import subprocess
import sys
import unittest

from matrix.processes import all_processes, status_of, wait_until

FIRST_THREAD_ENDS = """
import ctypes, threading, sys
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""


class ProcessesTest(unittest.TestCase):
    def test_one_is_there_until_its_last_thread_has_ended(self):
        process = subprocess.Popen([sys.executable, "-c", FIRST_THREAD_ENDS], stdin=subprocess.PIPE)
        try:
            wait_until("the end of the first thread", lambda: status_of(process.pid)["State"] == "Z", 60)
            self.assertIn(process.pid, all_processes())
        finally:
            process.kill()
        wait_until("the end of all threads", lambda: process.pid not in all_processes(), 60)
        self.assertIsNotNone(status_of(process.pid))  # nobody has collected it
        process.communicate()


if __name__ == "__main__":
    unittest.main()
