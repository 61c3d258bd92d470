#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures restores on a real GPU, stock CRIU against Rekindle, interleaved in one run:
#   restore.sh FOLDER [--cases c8,c32,pytorch] [--runs 5] [--results FILE] ...
# FOLDER is what bundle.sh made. Prints one line a case: case=NAME stock=S ours=S ratio=R spread=P%
exec "$(dirname "${BASH_SOURCE[0]}")/with-bundle.sh" measure.py "$@"
