#!/bin/bash
# SPDX-License-Identifier: MIT
# The demonstration prints what it promises, and fails with one sentence.
set -euo pipefail
demo=${REKINDLE_TEST_SOURCE:?is not set: run this through ctest}/../java/bin/rekindle
[ "$(id -u)" = 0 ] || { echo "skipped: dump and restore need root"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work/out" "$work/err"; exit 1; }

"$demo" demo --mib 48 --simulated >"$work/out" 2>"$work/err" || fail "exit status $?"
head -n1 "$work/out" | grep -q "SIMULATED GPU" || fail "the first line does not say SIMULATED GPU"
number='[0-9]+\.[0-9]+'
tail -n1 "$work/out" | grep -Eqx "contents identical; restore stock=$number rekindle=$number ratio=$number" ||
	fail "the last line is not the result"
grep -q "^  contents to the device  *- " "$work/out" || fail "the table has no phases"

status=0
"$demo" demo --bogus >"$work/out" 2>"$work/err" || status=$?
[ $status = 2 ] || fail "the exit status of wrong arguments is $status"
! "$demo" demo --mib lots >"$work/out" 2>"$work/err" || fail "a wrong size was taken"
[ "$(wc -l <"$work/err")" = 1 ] || fail "the failure is not one sentence"
! "$demo" demo --mib 100000000 --simulated >"$work/out" 2>"$work/err" || fail "an impossible size was taken"
tail -n1 "$work/err" | grep -q "make room or use --mib" || fail "the failure is not clear"

# What it says of a CRIU that failed: the lines that explain it, and not the first one, which does no harm.
says_of() { # LINE OF restore.log...
	printf '%s\n' "$@" >"$work/restore.log"
	(cd "${REKINDLE_TEST_SOURCE:?}/../benchmarks/h200" && /usr/bin/python3 -B -c 'import pathlib, sys, types
from bench import RunFailed
print("; ".join(RunFailed(types.SimpleNamespace(name="stock"), "restore", 1, pathlib.Path(sys.argv[1])).causes))' "$work")
}
limit="(00.01) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted"
pid="(00.02) Error (criu/cr-restore.c:1506): Can't fork for 42: File exists"
ours="(00.03) Error (rekindle): cuda_plugin: the GPU is full"
got=$(says_of "$limit" "$pid")
[ "$got" = "Can't fork for 42: File exists" ] || fail "of CRIU's own failure it says: $got"
got=$(says_of "$limit" "$pid" "$ours")
[ "$got" = "cuda_plugin: the GPU is full" ] || fail "of the plugin's failure it says: $got"
