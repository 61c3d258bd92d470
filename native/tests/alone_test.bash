#!/bin/bash
# SPDX-License-Identifier: MIT
# What alone.bash promises to the tests that source it.
set -euo pipefail

. "${REKINDLE_TEST_SOURCE:?is not set: run this through ctest}/tests/alone.bash"

fail() {
	echo "$*"
	exit 1
}

# The clock goes by the number of looks.
looks=0
sleep() {
	looks=$((looks + 1))
	SECONDS=$looks
}

SECONDS=0
said=$(trap 'echo "looked $looks times"' EXIT && wait_until 30 false) && fail "what never comes was waited for in vain"
[ "$said" = "waited in vain for: false
looked 30 times" ] || fail "a wait of 30 s: $said"
came() { [ $looks = 7 ]; }
wait_until 30 came
[ $looks = 7 ] || fail "what had come was waited for"
