#!/bin/bash
# SPDX-License-Identifier: MIT
# Device memory stays in a pool that lasts, and is written into no file (REKINDLE_PARK=ephemeral): the next restore takes it,
# and one that finds it gone says so. Until the dump has succeeded nothing is lost, whoever dies.
. "$(dirname "$0")/harness.bash"
. "$(dirname "$0")/parked.bash"

export REKINDLE_PARK=ephemeral CRIU_CUDA_CONTEXT_POOL=1

# Is there device memory in its files?
has_contents() { compgen -G "$1/rekindle-pages-*" >/dev/null; }
gone="is in no file \\(REKINDLE_PARK=ephemeral\\): only the pool that its dump left it in can restore it"

test_ephemeral() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	expect_mode image offload
	expect "what stays" "$(resident image)" $bytes
	! has_contents image || fail "it was written"
	! client verify image >client.out || fail "it cannot be verified"
	expect_line client.out "in no file"
	wait_until 60 is_parked image
	must_restore image
	expect "what was there" "$(resident image)" $bytes
	expect "what was copied" "$(pool_says bytes_to_device)" 0
	check_worker worker "$before"
	# It has been taken.
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_not_restore image
	expect_line image/restore.log "Error .*$gone"
}

# The other one stays where it is: what needs the room does not get it, and says so.
test_ephemeral_memory_makes_room_for_nobody() {
	local before
	export REKINDLE_SIMCUDA_USED=65486M
	start_worker two agent --seed 7 --mib 48
	REKINDLE_PARK=file must_dump "$pid" two.images
	start_worker one agent
	before=$(ask one checksum)
	must_dump "$pid" one.images
	must_not_restore two.images
	expect_line two.images/restore.log "Error .*has no room for the image"
	is_parked one.images || fail "it was dropped"
	must_restore one.images
	check_worker one "$before"
}

test_ephemeral_memory_is_lost_with_its_pool() {
	start_worker worker agent
	must_dump "$pid" image
	wait_until 60 is_parked image
	kill -KILL "$(pool_pid)"
	wait_until 60 no_pool
	must_not_restore image
	expect_line image/restore.log "Error .*$gone"
}

test_a_tree() {
	local before child
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	before=$(ask worker checksum) child=$(ask worker.1 checksum)
	must_dump "$pid" image
	! has_contents image || fail "it was written"
	must_restore image
	expect "what was there" "$(resident image)" $((2 * bytes))
	check_worker worker "$before"
	check_worker worker.1 "$child"
}

test_what_is_shared_is_written() {
	local before
	start_worker worker agent --children 1 --share
	ask worker.1 wait-ready
	before=$(ask worker checksum)
	must_dump "$pid" image
	has_contents image || fail "it was not written"
	expect_line image/dump.log "Warn .*no device memory is parked: process [0-9]+ shares device memory with others"
	must_restore image
	check_worker worker "$before"
}

# Its processes live on, so it would be theirs.
test_what_goes_on_running_is_written() {
	local before
	start_worker worker agent
	must_dump "$pid" image --leave-running
	before=$(ask worker checksum)
	has_contents image || fail "it was not written"
	expect_line image/dump.log "Warn .*device memory is written into files: REKINDLE_PARK=ephemeral is for a tree that ends"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$before"
}

test_without_a_pool_that_lasts_it_is_written() {
	start_worker worker agent
	CRIU_CUDA_CONTEXT_POOL=0 must_dump "$pid" image
	has_contents image || fail "it was not written"
	expect_line image/dump.log "Warn .*no device memory is parked: the pool of this dump ends with it: start rekindled"
	must_restore image
}

# begin: a worker with an older checkpoint, whose dump stands still when it has given its memory up. Sets $before and $criu_pid.
begin() {
	start_worker worker agent
	REKINDLE_PARK=file must_dump "$pid" image --leave-running
	older=$(ask worker checksum)
	ask worker advance >/dev/null
	before=$(ask worker checksum)
	kill -TERM "$(pool_pid)"
	wait_until 60 no_pool
	inject pool cuCheckpointProcessCheckpoint=held
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules "$criu" dump -t "$pid" -D image -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 </dev/null &
	criu_pid=$!
	wait_until 90 is_held pool
}
# Nothing was lost: the process goes on, and the older checkpoint restores.
nothing_is_lost() {
	wait_until 180 no_guardian
	expect "the checksum of worker" "$(ask worker checksum)" "$before"
	ask worker advance >/dev/null
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$older"
}
no_guardian() { [ -z "$(processes_named rekindle-guard)" ]; }

test_its_pool_is_killed() {
	local older before criu_pid
	begin
	kill -KILL "$(pool_pid)"
	! wait "$criu_pid" || fail "the dump succeeded"
	nothing_is_lost
}

test_criu_is_killed() {
	local older before criu_pid
	begin
	kill -KILL "$criu_pid"
	inject pool
	wait "$criu_pid" 2>/dev/null || true
	nothing_is_lost
}

test_both_are_killed() {
	local older before criu_pid
	begin
	kill -KILL "$criu_pid" "$(pool_pid)"
	wait "$criu_pid" 2>/dev/null || true
	nothing_is_lost
}

# A script of the user's refuses the checkpoint when it is whole: the process goes on with its memory, and CRIU fails.
test_a_script_refuses_it() {
	local older before
	start_worker worker agent
	REKINDLE_PARK=file must_dump "$pid" image --leave-running
	older=$(ask worker checksum)
	ask worker advance >/dev/null
	before=$(ask worker checksum)
	printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ]\n' >refuse
	chmod +x refuse
	must_not_dump "$pid" image --action-script "$PWD/refuse"
	expect_line image/dump.log "Error .*in no file \(REKINDLE_PARK=ephemeral\), and its processes go on: the dump is undone"
	nothing_is_lost
}

# The last moment: CRIU ends the processes whatever the plugin says, and the older checkpoint stays.
test_its_pool_is_killed_when_all_is_saved() {
	local older
	start_worker worker agent
	REKINDLE_PARK=file must_dump "$pid" image --leave-running
	older=$(ask worker checksum)
	ask worker advance >/dev/null
	printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ] || kill -KILL %s\n' "$(pool_pid)" >strike
	chmod +x strike
	dump "$pid" image --action-script "$PWD/strike" || true
	expect_line image/dump.log "Error .*in no file \(REKINDLE_PARK=ephemeral\), and its pool is gone: the dump is undone"
	wait_until 60 is_gone "$pid"
	wait_until 180 no_guardian
	must_restore image
	check_worker worker "$older"
}

# A restore that fails leaves it for the next one.
test_a_restore_that_fails() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	wait_until 60 is_parked image
	inject worker cuMemMap=999
	must_not_restore image
	inject worker
	wait_until 60 is_gone "$pid"
	printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ]\n' >refuse
	chmod +x refuse
	must_not_restore image --action-script "$PWD/refuse"
	wait_until 60 is_gone "$pid"
	must_restore image
	expect "what was there" "$(resident image)" $bytes
	check_worker worker "$before"
}

run_tests "$@"
