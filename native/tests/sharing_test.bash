#!/bin/bash
# SPDX-License-Identifier: MIT
# Processes that map each other's device memory.
. "$(dirname "$0")/sharing_ranks.bash"

test_what_is_shared_is_not_parked() {
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	start_pair pair
	remember pair
	must_dump "$pid" image
	expect "what stays" "$(json image/stats-rekindle.json resident_bytes)" 0
	expect_line image/dump.log "Warn .*no device memory is parked: process [0-9]+ shares device memory with others"
	must_restore image
	is_as_remembered pair
	check_pair pair
}

test_three_generations() {
	local generation
	start_pair pair
	check_pair pair
	for generation in 1 2 3; do
		rm -rf image
		remember pair
		must_dump "$pid" image
		expect "the modes" "$(json image/stats-rekindle.json processes.0.mode) $(json image/stats-rekindle.json processes.1.mode)" \
			"offload offload"
		must_restore image
		is_as_remembered pair
		check_pair pair
		# What was shared is shared anew, and so is new memory.
		must_tell pair/1 drop theirs
		hand_over pair/0 mine pair/1 theirs
		must_tell pair/1 drop opened
		hand_over_handle pair/0 plain pair/1 opened
		must_tell pair/0 make "new$generation" "$generation"
		hand_over pair/0 "new$generation" pair/1 "new$generation"
		check_pair pair
	done
	for generation in 1 2 3; do reads $generation pair/1 "new$generation"; done
}

# What nobody had when it was restored, or got back, is shared afterwards, and dumped as any other that is.
test_restored_memory_is_shared() {
	local generation
	start_ranks pair 2
	must_tell pair/0 make mine 11
	must_tell pair/1 make mine 22
	must_tell pair/0 allocate plain 33
	must_tell pair/1 host ours 44
	must_tell pair/0 host alone 55
	must_dump "$pid" image
	must_restore image
	hand_over pair/0 mine pair/1 theirs
	hand_over pair/1 mine pair/0 theirs
	hand_over pair/1 ours pair/0 hosts
	hand_over_handle pair/0 plain pair/1 opened
	check_pair pair
	for generation in 1 2 3; do
		rm -rf image
		must_tell pair/0 make "late$generation" "$generation"
		must_tell pair/1 allocate "late$generation" "$generation"
		remember pair
		if [ $generation = 2 ]; then
			must_dump "$pid" image --leave-running
		else
			must_dump "$pid" image
			must_restore image
		fi
		is_as_remembered pair
		check_pair pair
		hand_over pair/0 "late$generation" pair/1 "of$generation"
		hand_over_handle pair/1 "late$generation" pair/0 "of$generation"
		reads $generation pair/1 "of$generation"
		reads $generation pair/0 "of$generation"
	done
	for generation in 1 2 3; do
		must_tell pair/0 write "late$generation" $((100 + generation))
		reads $((100 + generation)) pair/1 "of$generation"
	done
}

# What is shared is copied while the processes run as everything else is.
test_copied_while_they_run() {
	local generation bytes
	start_pair pair
	for generation in 1 2 3; do
		rm -rf image
		remember pair
		REKINDLE_COPY_WHILE_RUNNING=1 must_dump "$pid" image
		# 6 MiB of its own each, three shared pieces of 4 MiB; two of the host's, which are copied when they stand.
		bytes=$(python3 -c 'import json
print(*(sum(phase["bytes"] for process in json.load(open("image/stats-rekindle.json"))["processes"] for phase in process["phases"] if phase["phase"] == name) for name in ("copy_ahead", "compare", "copy_out")))')
		expect "what was copied while they ran, compared, and copied when they stood" "$bytes" "$((24 << 20)) $((24 << 20)) $((8 << 20))"
		must_restore image
		is_as_remembered pair
		check_pair pair
	done
}

# Each piece is copied once, by its owner.
test_a_piece_is_copied_once() {
	start_pair pair
	must_dump "$pid" image
	# 6 MiB of its own each, three shared pieces of 4 MiB, and two of the host's.
	expect "bytes" "$(($(json image/stats-rekindle.json processes.0.device_bytes) + $(json image/stats-rekindle.json processes.1.device_bytes)))" \
		$((32 << 20))
	must_restore image
	check_pair pair
}

test_leave_running() {
	local time
	start_pair pair
	for time in 1 2; do
		rm -rf image
		remember pair
		must_dump "$pid" image --leave-running
		is_as_remembered pair
		check_pair pair
	done
	remember pair
	rm -rf image
	must_dump "$pid" image
	must_restore image
	is_as_remembered pair
	check_pair pair
}

# Memory of the host that nobody shares, which the driver does not bring back by itself.
start_alone() { # NAME
	start_ranks "$1" 1
	must_tell "$1/0" host mine 66
}
check_alone() { # NAME
	must_tell "$1/0" check
	reads 66 "$1/0" mine
	must_tell "$1/0" write mine 67
	reads 67 "$1/0" mine
	must_tell "$1/0" write mine 66
}

test_memory_of_the_host_is_parked() {
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	start_alone rank
	must_dump "$pid" image
	expect "what stays" "$(json image/stats-rekindle.json resident_bytes)" $((10 << 20))
	must_restore image
	expect "what was there" "$(json image/stats-rekindle.json resident_bytes)" $((10 << 20))
	check_alone rank
	rm -rf again
	must_dump "$pid" again
	must_restore again
	check_alone rank
}

test_a_machine_with_fewer_nodes() {
	REKINDLE_SIMCUDA_NODES=3 start_alone rank
	REKINDLE_SIMCUDA_NODES=3 must_dump "$pid" image
	expect_mode image offload
	REKINDLE_SIMCUDA_NODES=1 must_restore image
	expect_line image/rekindled.log "Memory of the host \(allocation [0-9]+, 4 MiB\) was on NUMA node 2, where the driver makes none here: it is on node 0 now"
	check_alone rank
	REKINDLE_SIMCUDA_NODES=1 must_dump "$pid" again
	REKINDLE_SIMCUDA_NODES=3 must_restore again
	! grep -q "was on NUMA node" again/rekindled.log || fail "the node is there again"
	check_alone rank
}

# What has not changed since an older checkpoint is linked from there, of the host's as of a device's.
test_memory_of_the_host_as_a_difference() {
	start_alone rank
	must_dump "$pid" first
	must_restore first
	check_alone rank
	REKINDLE_PARENT=$work/first must_dump "$pid" second
	expect "what was linked" "$(json second/stats-rekindle.json linked_bytes)" $((10 << 20))
	must_restore second
	check_alone rank
	must_tell rank/0 write mine 68
	REKINDLE_PARENT=$work/second must_dump "$pid" third
	must_restore third
	reads 68 rank/0 mine
}

# Neither by the agent, which has lost its sockets, nor by the driver.
test_memory_of_the_host_needs_the_agent() {
	start_alone rank
	must_tell rank/0 lose agent
	must_not_dump "$pid" image --leave-running
	expect_line image/dump.log "has memory of the host that the driver made, and the driver cannot save that without the agent"
	check_alone rank
}

test_eight_ranks() {
	local rank other generation
	start_ranks ranks 8
	for rank in 0 1 2 3 4 5 6; do must_tell ranks/$rank make mine $((rank + 100)); done
	must_tell ranks/7 host mine 107
	for rank in 0 1 2 3 4 5 6 7; do
		for other in 1 2 4; do hand_over ranks/$rank mine ranks/$(((rank + other) % 8)) "of$rank"; done
	done
	for generation in 1 2; do
		rm -rf image
		REKINDLE_SIDE_BY_SIDE=3 must_dump "$pid" image
		must_restore image
		for rank in 0 1 2 3 4 5 6 7; do
			must_tell ranks/$rank write mine $((rank + 10 * generation))
			for other in 1 2 4; do reads $((rank + 10 * generation)) ranks/$(((rank + other) % 8)) "of$rank"; done
		done
	done
}

run_tests "$@"
