#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kills criu or the pool at random moments of dumps and restores on a real GPU, and compares contents each time:
#   kill-soak.sh FOLDER [--programs pytorch,busy] [--layers 32] [--cycles 30] [--seconds 330] [--results FILE] ...
# FOLDER is what bundle.sh made. Prints a line a cycle, and at the end one a program: kill-soak=NAME cycles=N ... identical
exec "$(dirname "${BASH_SOURCE[0]}")/with-bundle.sh" kill_soak.py "$@"
