#!/bin/bash
# SPDX-License-Identifier: MIT
# benchmarks/many: restores of one image at the same time, each in a pid namespace of its own, on two GPUs.
. "$(dirname "$0")/harness.bash"

# many STATUS [OPTION...]: the lines in `out`
many() {
	local wanted=$1 status=0
	shift
	REKINDLE_SIMCUDA_DEVICES=2 "$REKINDLE_TEST_SOURCE/../benchmarks/many/run" --simulated "$build" --work "$work/many" \
		--results results.json "$@" >out 2>&1 </dev/null || status=$?
	sed 's/^/      /' out
	expect "the exit status" $status "$wanted"
}

# What CRIU learned of the kernel, which the script puts there, is not to be seen by the tests beside this one.
own_run() { mount -t tmpfs none /run; }

number='[0-9]+\.[0-9]+'

# Each of them has asked the pool for its memory, and waits for that.
all_four_have_begun() {
	local copy
	for copy in 0 1 2 3; do
		grep -qs "Run late stage hook" many/*/copy-$copy/work/restore.log || return 1
	done
}

test_one_and_four_copies() {
	own_run
	many 0 --gpus 2 --mib 64 --runs 1 --copies 1,4
	expect_line out "^case=worker patched copies=1 gpus=2 seconds=$number read=1\.0[0-2] runs=$number identical$"
	expect_line out "^case=worker patched copies=4 gpus=2 seconds=$number times=$number .* read=$number runs=$number identical$"
}

# The first filling gets on slowly (who gets nothing done is not waited for) until all of them have begun, and then fast, but
# not so that the others cannot follow: the files are read for one of them only.
test_four_copies_from_one_reading() {
	local many
	own_run
	inject pool cuMemcpyHtoDAsync=300ms
	CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M many 0 --gpus 2 --mib 64 --runs 1 --copies 4 \
		--sides "patched/REKINDLE_SIMCUDA_CONTROL=$work/pool.rules" &
	many=$!
	wait_until 360 all_four_have_begun
	inject pool cuMemcpyHtoDAsync=20ms
	wait $many
	expect_line out "^case=worker patched/.* copies=4 gpus=2 seconds=$number read=1\.0[0-4] runs=$number identical$"
	python3 - <<'END'
import json

four = [run for run in json.load(open("results.json"))["runs"] if run["copies"] == 4]
assert len(four) == 1 and len(four[0]["each"]) == 4 and four[0]["identical"], four
# What else a pool reads are manifests and processes' pages.
assert four[0]["bytes_read"] < four[0]["image_bytes"] + (2 << 20), four
END
}

test_a_copy_that_fails_is_named() {
	own_run
	many 1 --gpus 2 --mib 16 --runs 1 --copies 2 --sides patched/REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999
	expect_line out "^case=worker patched/.* FAILED .*criu restore ended with 1 \(copy [01]\)"
}

run_tests "$@"
