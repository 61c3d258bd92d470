#!/bin/bash
# SPDX-License-Identifier: MIT
# The command line as it is installed where its Java parts were not made: one sentence says so.
#
#   rekindle_test.bash REKINDLE
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work/output"; exit 1; }

mkdir "$work/bin"
install -m 755 "$1" "$work/bin/rekindle"
ln -s bin/rekindle "$work/link"
for program in "$work/bin/rekindle" "$work/link"; do
	status=0
	"$program" --version >"$work/output" 2>&1 || status=$?
	[ $status = 1 ] || fail "the exit status is $status"
	[ "$(wc -l <"$work/output")" = 1 ] || fail "it is not one line"
	grep -q '^rekindle: .*/lib/rekindle/java has no Java runtime: build the target rekindle-package-parts' "$work/output" ||
		fail "it does not say what to do"
done
