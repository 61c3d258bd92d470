#!/bin/bash
# SPDX-License-Identifier: MIT
# Which process is meant, and in whose hands it is: a pool in another pid namespace, two runs at once, a tracer, another
# program that suspends or resumes the process. Nothing of it may touch another process or leave this one locked.
. "$(dirname "$0")/harness.bash"

suspender() { timeout -s KILL 15 "$simcuda/bin/cuda-checkpoint" "$@" --pid "$pid" 2>&1; }
state() { suspender --get-state; }

# inside COMMAND: in pid and mount namespaces of its own, with the functions and variables of this file
inside() {
	local script
	script=$(mktemp "$work/inside-XXXX")
	{
		echo "set -euo pipefail"
		declare -p build plugin simcuda preload worker control criu work
		declare -f
		printf 'cd %q\n%s\n' "$work" "$1"
	} >"$script"
	unshare --pid --mount --propagation private --fork --mount-proc --kill-child "$BASH" "$script"
}

listens() { [ -S "$REKINDLE_POOL_SOCKET" ]; }

test_a_pool_outside_serves_a_pid_namespace() {
	# Processes that have in the outer namespace the numbers of those in the inner one.
	local others=() number
	for number in {1..30}; do
		sleep 1000 &
		others+=($!)
	done
	"$build/bin/rekindled" --socket "$REKINDLE_POOL_SOCKET" 2>pool.log &
	wait_until 20 listens
	inside '
		start_worker worker agent --children 1
		ask worker.1 wait-ready
		before=$(ask worker checksum) child=$(ask worker.1 checksum)
		must_dump "$pid" image --leave-running
		check_worker worker "$before"
		must_dump "$pid" image
		expect "mode" "$(json image/stats-rekindle.json processes.0.mode)" offload
		# What people read speaks of the process as criu does.
		grep -Eq "^ *\"pid\": *$pid" image/stats-rekindle.json || { cat image/stats-rekindle.json; fail "no pid $pid in the statistics"; }
		must_restore image
		check_worker worker "$before"
		check_worker worker.1 "$child"
		must_dump "$pid" image2
		must_restore image2
		check_worker worker "$before"
	' || fail "it does not work inside"
	for number in "${others[@]}"; do
		is_running "$number" || fail "another process is gone"
	done
}

test_a_pool_that_does_not_see_the_process_refuses() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	inside 'exec "$build/bin/rekindled" --socket "$REKINDLE_POOL_SOCKET" 2>pool.log' &
	wait_until 20 listens
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*Process $pid is not visible in the pid namespace of this pool"
	expect "its state" "$(state)" running
	check_worker worker "$before"
	REKINDLE_POOL_SOCKET=$work/other.sock must_dump "$pid" image
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): .*is not visible in the pid namespace of this pool"
	wait_until 20 is_gone "$pid"
	REKINDLE_POOL_SOCKET=$work/other.sock must_restore image
	check_worker worker "$before"
}

test_two_dumps_at_once() {
	local round folder before named=0
	start_worker worker agent --busy --children 1
	before=$(ask worker checksum)
	for ((round = 0; round < ${REKINDLE_TEST_ROUNDS:-15}; round++)); do
		rm -rf a b
		for folder in a b; do
			(dump "$pid" $folder --leave-running && touch $folder/good || true) &
		done
		wait $(jobs -p) || true
		[ -e a/good ] || [ -e b/good ] || { show_log a/dump.log; show_log b/dump.log; fail "round $round: none succeeded"; }
		for folder in a b; do
			[ ! -e $folder/good ] || continue
			# Its criu may have ended by then, and the pool not yet.
			expect_line $folder/dump.log \
				"Error \(rekindle\): .*process $pid is in the hands of another run, (process [0-9]+ \(criu\)|whose criu has ended)"
			! grep -q "another run, process [0-9]* (criu)" $folder/dump.log || named=$((named + 1))
			expect "the code" "$(json $folder/stats-rekindle.json failure_code)" -16
		done
		check_worker worker "$before"
		ask worker.1 advance >/dev/null
	done
	[ $named -gt 0 ] || fail "no two dumps met while both had their criu in $round rounds, this test shows nothing"
}

test_a_traced_process_is_refused() {
	local before tracer
	start_worker worker agent
	before=$(ask worker checksum)
	python3 -c 'import ctypes, sys, time
ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None)
print(flush=True); time.sleep(1000)' "$pid" >traced &
	tracer=$!
	wait_until 30 test -s traced
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*process $pid is traced by process $tracer \(python3\)"
	[ ! -e image/rekindled.log ] || fail "a pool was started for it"
	kill -KILL $tracer
	wait $tracer 2>/dev/null || true
	check_worker worker "$before"
	must_dump "$pid" image
	must_restore image
	check_worker worker "$before"
}

test_unlocked_meanwhile() {
	local job before
	start_worker worker agent
	before=$(ask worker checksum)
	suspender --action lock
	REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessGetState=700ms dump "$pid" image --leave-running &
	job=$!
	sleep 1.1
	suspender --action unlock
	wait $job || true
	check_worker worker "$before"
	expect "its state" "$(state)" running
}

test_locked_meanwhile() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessLock=2000ms dump "$pid" image --leave-running &
	wait_until 20 grep -qs "locking CUDA" image/dump.log
	suspender --action lock
	wait $! && fail "the dump succeeded"
	# Whoever locked it finds it locked.
	expect "its state" "$(state)" locked
	suspender --action unlock
	check_worker worker "$before"
}

test_a_suspended_process_that_never_was_restored() {
	local kind before
	for kind in agent plain; do
		start_worker worker $kind
		before=$(ask worker checksum)
		suspender --action lock
		suspender --action checkpoint
		must_dump "$pid" image
		must_restore image
		check_worker worker "$before"
		kill -KILL "$pid"
		wait_until 20 is_gone "$pid"
		rm -rf image worker
	done
}

# Its memory was imported by the restore, and what the driver saved of it could not be restored again.
test_a_suspended_process_that_was_restored() {
	local before
	start_worker worker agent
	must_dump "$pid" image
	must_restore image
	ask worker change
	before=$(ask worker checksum)
	suspender --action lock
	suspender --action checkpoint
	must_not_dump "$pid" image2
	expect_line image2/dump.log "Error \(rekindle\): .*CUDA of process $pid, which was restored or shares device memory, was suspended by another program"
	expect "its state" "$(state)" checkpointed
}

test_a_locked_process_that_was_restored() {
	local before
	start_worker worker agent
	must_dump "$pid" image
	must_restore image
	ask worker change
	before=$(ask worker checksum)
	suspender --action lock
	must_dump "$pid" image2 --leave-running
	expect "its state" "$(state)" locked
	suspender --action unlock
	check_worker worker "$before"
	before=$(ask worker checksum)
	suspender --action lock
	must_dump "$pid" image2
	must_restore image2
	check_worker worker "$before"
}

run_tests "$@"
