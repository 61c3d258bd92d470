#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures dumps, restores and swaps with device memory that stays in a pool, and without, on a real GPU:
#   parks.sh FOLDER [--cases c8,pytorch] [--rounds 2] [--results FILE]
# FOLDER is what bundle.sh made. Prints a line a run: what=swap park=device seconds=S resident_gib=G
exec "$(dirname "${BASH_SOURCE[0]}")/with-bundle.sh" parks.py "$@"
