#!/bin/bash
# SPDX-License-Identifier: MIT
# Processes that map each other's device memory, and what goes wrong: others that are not part of the tree, calls that fail,
# and the deaths of criu and of the pool.
. "$(dirname "$0")/sharing_ranks.bash"

test_an_importer_outside_of_the_tree() {
	start_pair pair
	local tree=$pid
	start_ranks other 1
	hand_over pair/0 mine other/0 theirs
	must_not_dump "$tree" image --leave-running
	expect_line image/dump.log "Process $tree shares device memory with process $pid \(shared_memory_p\), which has it mapped and is not dumped with it"
	check_pair pair
	reads "$(tell pair/0 read mine)" other/0 theirs
	must_tell other/0 drop theirs
	rm -rf image
	must_dump "$tree" image
	must_restore image
	check_pair pair
}

test_an_owner_outside_of_the_tree() {
	start_ranks other 1
	local owner=$pid
	must_tell other/0 make mine 5
	start_pair pair
	hand_over other/0 mine pair/1 foreign
	must_not_dump "$pid" image --leave-running
	expect_line image/dump.log "Process [0-9]+ has imported device memory of process $owner \(shared_memory_p\), which is not dumped with it"
	check_pair pair
	reads 5 pair/1 foreign
	must_tell pair/1 drop foreign
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

# Nobody can find out who else has it.
test_an_owner_without_an_agent() {
	start_ranks other 1 plain
	must_tell other/0 make mine 5
	start_pair pair
	hand_over other/0 mine pair/1 foreign
	must_not_dump "$pid" image --leave-running
	expect_line image/dump.log "has imported device memory of another process"
	check_pair pair
	must_tell pair/1 drop foreign
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

# What a process shares is shared afterwards, too, where its agent could not hand it over: the driver, which would have to
# save it, would give it memory of its own.
test_an_owner_whose_export_fails() {
	REKINDLE_SIMCUDA_CONTROL=$work/pair.rules start_ranks pair 2
	must_tell pair/0 make mine 11
	hand_over pair/0 mine pair/1 theirs
	inject pair cuDeviceGetUuid_v2=999 # of its own only
	must_not_dump "$pid" image --leave-running
	inject pair
	must_tell pair/0 write mine 12
	reads 12 pair/1 theirs
	rm -rf image
	must_dump "$pid" image
	must_restore image
	must_tell pair/0 write mine 13
	reads 13 pair/1 theirs
}

# A restore that fails leaves an image that restores.
test_a_restore_that_fails() {
	start_pair pair
	remember pair
	must_dump "$pid" image
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999@2 must_not_restore image
	must_restore image
	is_as_remembered pair
	check_pair pair
}

# The pool that is held in a call. A guardian has the pool's name for a moment when it starts.
held_up_pool() {
	local process
	for process in $(processes_named rekindled); do
		! grep -qs "^230 " "/proc/$process/task/"*/syscall || { echo "$process" && return; }
	done
	return 1
}

signal_criu() { # SIGNAL: a child of it may end meanwhile
	local process
	for process in $(processes_named criu); do kill "-$1" "$process" 2>/dev/null || true; done
}

# The pool is killed at one moment after the other, alone, with its criu, or with a criu that can start no other one.
kill_pool_at() { # CALL [also|at-once]: of the simulated driver in the pool
	local dumped pool
	rm -rf image
	remember pair
	inject pool "$1=held"
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules dump "$pid" image --leave-running &
	dumped=$!
	wait_until 180 is_held pool
	pool=$(wait_until 180 held_up_pool)
	[ "${2:-}" != at-once ] || signal_criu STOP
	kill -KILL "$pool"
	[ -z "${2:-}" ] || signal_criu KILL
	inject pool
	wait $dumped || true
	wait_until 360 no_pool
	is_as_remembered pair
	check_pair pair
}

test_the_pool_is_lost() {
	start_pair pair
	kill_pool_at cuMemImportFromShareableHandle
	kill_pool_at cuCheckpointProcessCheckpoint
	kill_pool_at cuCheckpointProcessRestore
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

test_criu_and_the_pool_are_lost() {
	start_pair pair
	kill_pool_at cuCheckpointProcessCheckpoint also
	kill_pool_at cuCheckpointProcessCheckpoint at-once
	kill_pool_at cuMemcpyDtoHAsync also
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

# As CRIU dumps, it is lost, and its pool can bring back only what these calls of the simulated driver let it. Sets $left, the
# commands that bring back the others.
lose_criu() { # CALL=ERROR@N,... COUNT
	local dumped
	inject pool cuCheckpointProcessCheckpoint=held
	REKINDLE_SIMCUDA_FAIL=$1 REKINDLE_SIMCUDA_CONTROL=$work/pool.rules dump "$pid" image &
	dumped=$!
	wait_until 180 is_held pool
	signal_criu KILL
	inject pool
	wait $dumped || true
	wait_until 180 no_pool
	left=$(grep -ao "rekindled --revive .*" image/rekindled.log) || fail "no process was left behind"
	expect "processes that are left behind" "$(wc -l <<<"$left")" "$2"
}

bring_back() { # COMMAND
	# shellcheck disable=SC2086 # words of a command
	"$build/bin/"$1 2>revive.log || { cat revive.log; fail "it was not brought back"; }
}

# They share, are dumped and restored as ever.
goes_on() { # NAME
	check_pair "$1"
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair "$1"
}

no_images() { [ -z "$(find image -name "rekindle-*.img*")" ] || fail "GPU images are left: $(ls image)"; }

# CRIU is lost, and its pool can bring back only one of them; later, by hand, the other one comes back too, and shares again
# with the first, which has gone on.
test_one_is_brought_back_by_hand() {
	start_pair pair
	remember pair
	lose_criu "$(printf 'cuCheckpointProcessRestore=999@%s,' {2..9})" 1
	bring_back "$left"
	no_images
	is_as_remembered pair
	goes_on pair
}

# All of them are left behind, and brought back by hand one after the other, in one order and in the other.
test_all_are_brought_back_by_hand() {
	local order command
	for order in cat tac; do
		start_pair "$order"
		remember "$order"
		lose_criu "$(printf 'cuCheckpointProcessRestore=999@%s,' {1..9})" 2
		while read -r command; do bring_back "$command"; done <<<"$($order <<<"$left")"
		no_images
		is_as_remembered "$order"
		goes_on "$order"
		kill -KILL -- "-$pid"
		rm -rf image
	done
}

# Who imports is left behind; its owner, which is whole, ends before that is brought back by hand.
test_an_owner_ends_that_was_brought_back() {
	local process
	start_ranks pair 2
	must_tell pair/1 make mine 11
	hand_over pair/1 mine pair/0 theirs
	lose_criu cuCheckpointProcessRestore=999@1 1
	for process in $(processes_named shared_memory_p); do
		[[ $left == *" $process "* ]] || kill -KILL "$process"
	done
	bring_back "$left"
	no_images
	reads 11 pair/0 theirs
	must_tell pair/0 check
}

run_tests "$@"
