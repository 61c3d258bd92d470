#!/bin/bash
# SPDX-License-Identifier: MIT
# A tree of several GPU processes is one piece of work: all of them are saved and brought back side by side.
. "$(dirname "$0")/harness.bash"

members=(worker worker.1 worker.2)

# of_ranks COUNT: the trees of this test have so many processes
of_ranks() {
	local number
	members=(worker)
	for ((number = 1; number < $1; number++)); do members+=(worker.$number); done
}

checksums() { local name; for name in "${members[@]}"; do ask "$name" checksum; done; }

start_tree() { # agent|plain [ARGUMENT...]; sets $before
	start_worker worker "$@" --children $((${#members[@]} - 1))
	local name
	for name in "${members[@]}"; do ask "$name" wait-ready >/dev/null; done
	before=$(checksums)
}

# Each works, and has its contents.
check_tree() {
	local name
	for name in "${members[@]}"; do ask "$name" advance >/dev/null; done
	expect "the checksums of the tree" "$(checksums)" "$before"
}

# hold COUNT CALL COMMAND...: until so many of these calls of its pool are held at one moment. Sets $run
hold() {
	local count=$1 call=$2
	shift 2
	inject pool "$call=held"
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules "$@" &
	run=$!
	wait_until 120 are_held pool "$count"
}
# Likewise, and then it goes on to its end.
all_at_once() {
	local run
	hold "$@"
	inject pool
	wait $run
}

# most_at_once FOLDER PHASE: how many processes of the run were in that phase at one moment, as its record says
most_at_once() { python3 - "$1/stats-rekindle.json" "$2" <<'END'
import json, sys

times = []
for process in json.load(open(sys.argv[1]))["processes"]:
    times += [(phase["start"], phase["start"] + phase["duration"])
              for phase in process["phases"] if phase["phase"] == sys.argv[2]]
assert len(times) == 3, times
print(max(sum(begin <= moment < end for begin, end in times) for moment, _ in times))
END
}

# Ranks whose GPU work waits for each other, at each step: one that is locked alone keeps the others from ending theirs.
test_ranks_that_wait_for_each_other() {
	local generation
	start_tree agent --meet
	for generation in 1 2 3; do
		rm -rf image
		must_dump "$pid" image
		must_restore image
		check_tree
	done
	must_dump "$pid" image --leave-running
	check_tree
}

# As many ranks as a machine has GPUs.
test_four_and_eight_ranks() {
	local count generation
	for count in 4 8; do
		of_ranks $count
		start_tree agent --meet --mib 16
		for generation in 1 2; do
			must_dump "$pid" image-$count-$generation
			expect "the last rank" "$(json image-$count-$generation/stats-rekindle.json processes.$((count - 1)).mode)" offload
			must_restore image-$count-$generation
			check_tree
		done
		must_dump "$pid" image-$count-3
	done
}

# From then on it does not end, until the next inject.
hold_the_gpu_work() {
	inject worker cuLaunchHostFunc=held
	wait_until 60 is_held worker
}

# What locks and unlocks them runs in their own threads, whatever a filter of theirs forbids those.
test_ranks_with_a_filter() {
	start_tree agent --meet --seccomp kill-all
	must_dump "$pid" image
	must_restore image
	check_tree
	hold_the_gpu_work
	must_not_dump "$pid" image --leave-running --timeout 4
	inject worker
	check_tree
}

# GPU work that does not end in time: that is said, and all go on.
test_ranks_that_do_not_come_to_rest() {
	start_tree agent --meet
	hold_the_gpu_work
	must_not_dump "$pid" image --leave-running --timeout 4
	expect_line image/dump.log "Error \(rekindle\): .*The GPU work of 3 processes did not come to rest together within"
	inject worker
	check_tree
	must_dump "$pid" image
	must_restore image
	check_tree
}

test_driver_restores_go_side_by_side() {
	local generation
	start_tree agent
	for generation in 1 2; do
		rm -rf image
		must_dump "$pid" image
		all_at_once 3 cuCheckpointProcessRestore must_restore image
		expect "driver restores at once" "$(most_at_once image driver_restore)" 3
		check_tree
		expect "succeeded" "$(json image/stats-rekindle.json succeeded)" true
		expect_line image/restore.log "process $pid has its GPU back: offload mode, 25165824 bytes"
		expect "the processes that are back" "$(grep -c "has its GPU back: offload mode" image/restore.log)" 3
	done
}

test_without_the_agent_as_well() {
	start_tree plain
	must_dump "$pid" image
	all_at_once 3 cuCheckpointProcessRestore must_restore image
	expect "driver restores at once" "$(most_at_once image driver_restore)" 3
	check_tree
}

test_as_many_at_once_as_was_set() {
	start_tree agent
	must_dump "$pid" image
	REKINDLE_SIDE_BY_SIDE=1 REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessRestore=200ms must_restore image
	expect "driver restores at once" "$(most_at_once image driver_restore)" 1
	check_tree
}

# Of three, one fails at once, and the others are still at it.
test_one_that_fails_ends_the_tree_when_the_others_are_through() {
	local names=()
	start_tree agent
	must_dump "$pid" image
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999@2 all_at_once 3 cuCheckpointProcessRestore must_not_restore image
	expect_line image/restore.log "cuCheckpointProcessRestore of process [0-9]+ failed: CUDA_ERROR_UNKNOWN"
	expect_line image/restore.log "ending every process of the tree; its images were only read"
	expect "the processes that came back first" "$(grep -c "has its GPU back: offload mode" image/restore.log)" 2
	expect "succeeded" "$(json image/stats-rekindle.json succeeded)" false
	expect "where it failed" "$(json image/stats-rekindle.json failure_phase)" 8
	wait_until 60 is_gone "$pid"
	mapfile -t names < <(processes_named rekindle-worker)
	expect "processes of the tree" "${#names[@]}" 0
	must_restore image
	check_tree
}

# The pool is killed in the middle of three restores.
test_a_pool_that_is_lost_ends_the_tree() {
	local names=() run
	start_tree agent
	must_dump "$pid" image
	hold 3 cuCheckpointProcessRestore restore image
	expect_line image/restore.log "being restored side by side"
	kill -KILL "$(pool_pid)"
	inject pool
	! wait $run || fail "the restore succeeded"
	expect_line image/restore.log "the pool ended while it worked for this run"
	mapfile -t names < <(processes_named rekindle-worker)
	expect "processes of the tree" "${#names[@]}" 0
	must_restore image
	check_tree
}

test_saving_goes_side_by_side() {
	start_tree agent
	all_at_once 3 cuCheckpointProcessCheckpoint must_dump "$pid" image --leave-running
	expect "driver checkpoints at once" "$(most_at_once image driver_checkpoint)" 3
	expect_line image/dump.log "3 processes are being saved side by side"
	check_tree
	# And so does bringing back what lives on.
	rm -rf image
	all_at_once 3 cuCheckpointProcessRestore must_dump "$pid" image --leave-running
	expect "driver restores at once" "$(most_at_once image driver_restore)" 3
	check_tree
	rm -rf image
	REKINDLE_SIDE_BY_SIDE=1 must_dump "$pid" image
	expect "driver checkpoints at once" "$(most_at_once image driver_checkpoint)" 1
	must_restore image
	check_tree
}

# Of three, one fails, and the dump with it: each goes on as it was.
test_a_dump_that_fails_for_one_leaves_all_as_they_were() {
	start_tree agent
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessCheckpoint=999@2 \
		all_at_once 3 cuCheckpointProcessCheckpoint must_not_dump "$pid" image
	expect_line image/dump.log "cuCheckpointProcessCheckpoint of process [0-9]+ failed: CUDA_ERROR_UNKNOWN"
	expect "where it failed" "$(json image/stats-rekindle.json failure_phase)" 5
	check_tree
	[ -z "$(find image -name 'rekindle-*.img')" ] || fail "the dump left GPU images"
	must_dump "$pid" image
	must_restore image
	check_tree
}

# The pool is killed while all three are saved; a fresh one brings each of them back.
test_a_pool_that_is_lost_in_a_dump() {
	local run
	start_tree agent
	hold 3 cuCheckpointProcessCheckpoint dump "$pid" image
	expect_line image/dump.log "being saved side by side"
	kill -KILL "$(pool_pid)"
	inject pool
	! wait $run || fail "the dump succeeded"
	check_tree
	must_dump "$pid" image
	must_restore image
	check_tree
}

# Criu is killed while all three are saved.
test_a_criu_that_is_lost_in_a_dump() {
	local run
	start_tree agent
	hold 3 cuCheckpointProcessCheckpoint dump "$pid" image
	kill -KILL $(processes_named criu)
	! wait $run || fail "the dump succeeded"
	inject pool
	wait_until 90 no_pool
	check_tree
	must_dump "$pid" image
	must_restore image
	check_tree
}

# warmed_at_once LOG: the pool began to warm the second of two GPUs before the first one was warm
warmed_at_once() { python3 - "$1" <<'END'
import datetime, re, sys

pattern = re.compile(r"^(\S+)Z rekindled: SIMULATED GPU \d .* is warm: .* in ([\d.]+) s", re.M)
times = []
for end, seconds in pattern.findall(open(sys.argv[1]).read()):
    ended = datetime.datetime.fromisoformat(end).timestamp()
    times.append((ended - float(seconds), ended))
assert len(times) == 2, times
sys.exit(max(begin for begin, _ in times) >= min(end for _, end in times))
END
}

test_devices_warm_side_by_side() {
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent --gpus 0,1
	local before
	before=$(ask worker checksum)
	all_at_once 2 cuDevicePrimaryCtxRetain must_dump "$pid" image
	warmed_at_once image/rekindled.log || fail "the dump has warmed one device after the other"
	rm image/rekindled.log
	all_at_once 2 cuDevicePrimaryCtxRetain must_restore image
	warmed_at_once image/rekindled.log || fail "the restore has warmed one device after the other"
	check_worker worker "$before"
}

run_tests "$@"
