#!/bin/bash
# SPDX-License-Identifier: MIT
# The program of benchmarks/container, with runc and the simulated driver: a GPU process in a container, dumped and restored
# twice with Rekindle and with stock CRIU, beside the same process bare. And what it says where something fails.
. "$(dirname "$0")/harness.bash"

# containers STATUS [OPTION...]: the lines in `out`
containers() {
	local wanted=$1 status=0
	shift
	"$REKINDLE_TEST_SOURCE/../benchmarks/container/run" --simulated "$build" --work "$work/containers" --mib 24 --runs 1 \
		--second-runs 1 "$@" >out 2>&1 </dev/null || status=$?
	sed 's/^/      /' out
	expect "the exit status" $status "$wanted"
}

# What CRIU learned of the kernel, which the program puts there, is not to be seen by the tests beside this one.
own_run() { mount -t tmpfs none /run; }

number='-?[0-9]+\.[0-9]+'

test_containers() {
	local side generation
	own_run
	containers 0
	for side in patched stock; do
		for generation in 1 2; do
			expect_line out "^case=worker $side dump generation=$generation bare=$number container=$number more=$number "
			expect_line out "^case=worker $side restore generation=$generation bare=$number container=$number more=$number .* identical$"
		done
	done
	# The agent works in a container, too, and the pool of the host reads its image.
	expect_line out "^# worker patched container generation 2 dump $number offload .*copy_out="
	expect_line out "^# worker patched container generation 2 restore $number .* offload .*prefetch="
}

test_what_fails_in_a_container_leaves_the_bare_process() {
	own_run
	containers 1 --sides patched --runc-options=--no-such-option
	expect_line out "^case=worker patched container FAILED in start or dump: .*; runc: .*no-such-option"
	expect_line out "^case=worker patched restore generation=2 bare=$number bare-runs=$number identical$"
	containers 1 --runc /bin/false
	expect_line out "^case=container FAILED /bin/false does not start$"
}

run_tests "$@"
