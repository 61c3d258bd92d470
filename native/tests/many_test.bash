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

# The memory is filled for so long that all of them begin meanwhile: the files are read for one of them only.
test_four_copies_from_one_reading() {
	own_run
	many 0 --gpus 2 --mib 192 --runs 1 --copies 1,4 --sides patched/REKINDLE_SIMCUDA_DELAY=cuMemcpyHtoDAsync=150ms
	expect_line out "^case=worker patched/.* copies=1 gpus=2 seconds=$number read=1\.0[0-2] runs=$number identical$"
	expect_line out "^case=worker patched/.* copies=4 gpus=2 seconds=$number times=$number .* read=1\.0[0-2] runs=$number identical$"
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
