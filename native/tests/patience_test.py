#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long the crash matrix waits on a machine that stands still now and then."""
import unittest

from matrix.processes import Patience


class PatienceTest(unittest.TestCase):
    def setUp(self):
        self.now = 100
        self.patience = Patience(5, lambda: self.now)

    def look(self, later):
        self.now += later
        return self.patience.is_over()

    def test_time_in_which_it_looks_counts(self):
        self.assertEqual([self.look(0.5) for _ in range(11)], [False] * 10 + [True])
        self.assertEqual(self.patience.passed, 5.5)

    def test_time_in_which_nobody_could_look_does_not(self):
        self.assertFalse(self.look(0.5))
        self.assertFalse(self.look(30))
        self.assertEqual(self.patience.passed, 1.5)
        self.assertEqual([self.look(1) for _ in range(4)], [False] * 3 + [True])


if __name__ == "__main__":
    unittest.main()
