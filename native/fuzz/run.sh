#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh PROGRAM RUNS CORPUS FOLDER: RUNS inputs to a fuzz target, the same ones each time. What it finds on its way, and
# the input that it fails with, are in FOLDER.
set -eu
rm -rf "$4"
mkdir -p "$4/found"
exec "$1" -runs="$2" -seed=1 -max_len=1024 -timeout=20 -artifact_prefix="$4/failed-" "$4/found" "$3"
