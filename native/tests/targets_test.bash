#!/bin/bash
# SPDX-License-Identifier: MIT
# The target programs of benchmarks/targets, as far as they can be run without a GPU: forked workers, servers, ranks, an
# io_uring, many allocations, pid namespaces. And what their script says where something fails.
. "$(dirname "$0")/harness.bash"

# targets STATUS [OPTION...]: the lines in `out`
targets() {
	local wanted=$1 status=0
	shift
	"$REKINDLE_TEST_SOURCE/../benchmarks/targets/run" --simulated "$build" --work "$work/targets" --logs "$work/logs" \
		--seconds-each 600 "$@" >out 2>&1 </dev/null || status=$?
	sed 's/^/      /' out
	expect "the exit status" $status "$wanted"
}

# What CRIU learned of the kernel, which the script puts there, is not to be seen by the tests beside this one.
own_run() { mount -t tmpfs none /run; }

number='[0-9]+\.[0-9]+'
expect_cycle() { # TARGET SIDE GENERATION
	expect_line out "^target=$1 side=$2 generation=$3 dump=$number restore=$number contents=identical processes=[0-9]+"
}

test_targets() {
	local target
	own_run
	targets 0 --targets server,init,allocations,namespace --results results.json
	for target in server init allocations namespace; do
		expect_cycle $target patched 1
		expect_cycle $target patched 2
		expect_line out "^target=$target side=stock generation=1 "
	done
	expect_line out "^\| the same in a pid namespace of its own \| $number \| $number \| $number / $number \| $number / $number \|$"
	expect "the table from the results" "$(python3 "$REKINDLE_TEST_SOURCE/../benchmarks/targets/table.py" results.json)" \
		"$(grep '^|' out)"
}

# As with a real device, which forked workers inherit: stock CRIU refuses them.
test_forked_workers_with_a_device() {
	own_run
	mkdir nodes
	mount -t tmpfs none nodes
	mknod nodes/nvidia-simulated b 7 255 && : <nodes/nvidia-simulated 2>/dev/null ||
		{ echo "skipped: this machine has no loop devices"; exit 0; }
	REKINDLE_SIMCUDA_DEVICE_FILE=$work/nodes/nvidia-simulated targets 0 --targets training
	expect_cycle training patched 1
	expect_cycle training patched 2
	expect_line out "^target=training side=stock generation=1 FAILED criu dump says: handle_device_vma plugin failed"
}

test_what_fails_is_a_line_and_no_end() {
	own_run
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999 targets 1 --targets engine --generations 1
	expect_line out "^target=engine side=patched generation=1 dump=$number FAILED criu restore says: .*CUDA_ERROR_UNKNOWN"
	expect_line out "^target=engine side=stock generation=1 "
	test -s logs/engine-patched/restore-restore.log || fail "no log was kept"
	REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessRestore=60000ms targets 1 --targets engine --sides patched,stock \
		--seconds-each 6
	expect_line out "^target=engine side=patched FAILED not through within 6 s, at: "
	expect_line out "^target=engine side=stock "
	targets 2 --targets engine,engines
	expect_line out "no such target: engines; there are training, server,"
	[ -z "$(pool_pid)" ] || fail "a pool was left"
}

run_tests "$@"
