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

! "$demo" demo --mib lots >"$work/out" 2>"$work/err" || fail "a wrong size was taken"
[ "$(wc -l <"$work/err")" = 1 ] || fail "the failure is not one sentence"
! "$demo" demo --mib 100000000 --simulated >"$work/out" 2>"$work/err" || fail "an impossible size was taken"
tail -n1 "$work/err" | grep -q "make room or use --mib" || fail "the failure is not clear"
