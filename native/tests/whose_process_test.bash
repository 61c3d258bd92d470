#!/bin/bash
# SPDX-License-Identifier: MIT
# Which process is meant, and in whose hands it is: a pool in another pid namespace, two runs at once, a tracer, another
# program that suspends or resumes the process. Nothing of it may touch another process or leave this one locked.
. "$(dirname "$0")/harness.bash"

suspender() { timeout -s KILL 120 "$simcuda/bin/cuda-checkpoint" "$@" --pid "$pid" 2>&1; }
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
	wait_until 60 listens
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
	wait_until 60 listens
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*Process $pid is not visible in the pid namespace of this pool"
	expect "its state" "$(state)" running
	check_worker worker "$before"
	REKINDLE_POOL_SOCKET=$work/other.sock must_dump "$pid" image
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): .*is not visible in the pid namespace of this pool"
	wait_until 60 is_gone "$pid"
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
	wait_until 90 test -s traced
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

# By somebody who had locked it before: before the run has asked for its state, and between that and the run's own lock.
test_unlocked_meanwhile() {
	local moment before
	start_worker worker agent
	before=$(ask worker checksum)
	for moment in 1 2; do
		suspender --action lock
		inject pool cuCheckpointProcessGetState=held@$moment
		REKINDLE_SIMCUDA_CONTROL=$work/pool.rules dump "$pid" image --leave-running &
		wait_until 180 is_held pool
		suspender --action unlock
		inject pool
		wait $! || true
		check_worker worker "$before"
		expect "its state" "$(state)" running
	done
}

test_locked_meanwhile() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	# The first one: later ones are when the process was unlocked for its agent.
	inject pool cuCheckpointProcessLock=held@1
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules dump "$pid" image --leave-running &
	wait_until 60 is_held pool
	suspender --action lock
	inject pool
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
		wait_until 60 is_gone "$pid"
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

# A pool was killed while the agent worked for it, which then met the lock that somebody else had taken: among the threads
# that wait there it is the one that must not.
test_an_agent_at_the_lock() {
	local before job
	start_worker worker agent --busy
	before=$(ask worker checksum)
	inject worker cuMemExportToShareableHandle=held@1
	REKINDLE_COPY_WHILE_RUNNING=1 dump "$pid" image &
	job=$!
	wait_until 180 is_held worker
	kill -KILL "$(pool_pid)"
	suspender --action lock
	inject worker
	wait $job && fail "the dump succeeded"
	wait_until 180 agent_is_in 202 # futex: at the lock
	# At its end the agent is asked once more, which cannot answer before the process is unlocked.
	REKINDLE_TIMEOUT=3 must_dump "$pid" again
	expect_mode again native
	expect_line again/rekindled.log "A thread of process $pid waits in the CUDA driver in an unknown way"
	must_restore again
	check_worker worker "$before"
}
# locked_while_the_agent_works RULE: another program locks the process while the agent is in that call, which then waits for
# it. Nobody waits for the agent.
locked_while_the_agent_works() {
	inject worker "$1"
	REKINDLE_TIMEOUT=60 dump "$pid" image --leave-running &
	wait_until 180 is_held worker
	suspender --action lock
	inject worker
	wait $! && fail "the dump succeeded"
	expect_line image/dump.log \
		"Error \(rekindle\): .*Another program has locked CUDA of process $pid while its agent worked for this run"
}

test_locked_while_it_was_unlocked_for_its_agent() {
	local before
	start_worker worker agent --busy
	before=$(ask worker checksum)
	locked_while_the_agent_works cuMemExportToShareableHandle=held@2
	# Whoever locked it finds it locked.
	expect "its state" "$(state)" locked
	suspender --action unlock
	check_worker worker "$before"
	# Some of its memory is given up already: that has to come back.
	locked_while_the_agent_works cuMemRelease=held@2
	check_worker worker "$before"
	expect_line image/rekindled.log "Process $pid, which another program has locked, is unlocked: it gets its memory back"
	cycle worker image
}

agent_is_in() { # SYSTEM CALL
	local thread
	for thread in "/proc/$pid/task/"*; do
		[ "$(cat "$thread/comm")" != rekindle-agent ] || ! grep -q "^$1 " "$thread/syscall" || return 0
	done
	return 1
}

run_tests "$@"
