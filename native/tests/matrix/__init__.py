# SPDX-License-Identifier: MIT
"""What crash_matrix.py, load_test.py and cycles_test.py share."""
