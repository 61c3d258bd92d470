#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Dumps and restores busy processes on a real GPU again and again, and compares their contents each time:
#   dump-soak.sh FOLDER [--programs busy,pytorch] [--sides warm,patched,private] [--dumps 40] ...
# FOLDER is what bundle.sh made. Prints one line a program and side: soak=NAME dumps=N waiting=K restores=R identical
exec "$(dirname "${BASH_SOURCE[0]}")/with-bundle.sh" dump_soak.py "$@"
