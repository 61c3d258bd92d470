# SPDX-License-Identifier: MIT
# What the tests of parked memory share, beside harness.bash.

client() { "$build/bin/rekindle-api-client" "$@"; }
# resident FOLDER: how much of it the last run there left in device memory, or found there
resident() { json "$1/stats-rekindle.json" resident_bytes; }
pool_says() { client pool | sed -n "s/^$1=//p"; }
is_parked() { pool_says images | grep -q "/$1 state=2 taken=0 parked=1 tier=1 bytes=$bytes$"; }
holds_nothing() { [ "$(pool_says held)" = 0 ]; }
is_not_parked() { ! pool_says images | grep -q "/$1 .*parked=1"; }

# Of the worker's 24 MiB; what a dump without REKINDLE_PARK leaves and finds is 0.
bytes=$((24 << 20))
