#!/bin/bash
# SPDX-License-Identifier: MIT
# The pool is killed in the middle of its work: a dump fails and the process goes on, a restore fails and leaves nothing.
. "$(dirname "$0")/harness.bash"

copy_has_begun() { [ -n "$(find image -name 'rekindle-pages-*' -size +0)" ] && [ -n "$(pool_pid)" ]; }
is_in_state() { [ "$(awk '/^State:/ {print $2}' "/proc/$1/status")" = "$2" ]; }

kill_pool() { kill -KILL "$(pool_pid)"; }

# dump_and_kill CONDITION...: a slow dump whose pool is killed once the condition holds
dump_and_kill() {
	local criu_job
	mkdir -p image
	(
		export CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M
		must_not_dump "$pid" image
	) &
	criu_job=$!
	wait_until 30 "$@"
	kill_pool
	wait $criu_job || fail "the dump did not fail as it should"
	expect_line image/dump.log "Error \(rekindle\): .*the pool ended"
	expect_line image/dump.log "process $pid has its GPU back"
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "a failed dump left GPU images: $(ls image)"
}

test_killed_in_mid_copy_on_dump() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	export REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=200ms
	dump_and_kill copy_has_begun
	unset REKINDLE_SIMCUDA_DELAY
	check_worker worker "$checksum"
	wait_until 20 no_pool
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_killed_in_mid_copy_while_a_call_waits() {
	local checksum time
	start_worker worker agent --busy
	checksum=$(ask worker checksum)
	# It may be between two calls just then.
	for ((time = 0; time < 15; time++)); do
		rm -rf image
		export REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=200ms
		dump_and_kill copy_has_begun
		unset REKINDLE_SIMCUDA_DELAY
		check_worker worker "$checksum"
		if grep -q "CUDA calls wait for the end of the dump" image/rekindled.log; then break; fi
	done
	[ $time -lt 15 ] || fail "no call waited in $time dumps, this test shows nothing"
	for time in 1 2; do
		rm -rf image
		must_dump "$pid" image --leave-running
		check_worker worker "$checksum"
	done
}

# The image is complete and the memory released; the driver's checkpoint takes its time.
memory_is_released() { [ -n "$(find image -name 'rekindle-[0-9]*.img')" ] && [ -n "$(pool_pid)" ]; }

test_killed_after_the_memory_was_released() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	export REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessCheckpoint=3000ms
	dump_and_kill memory_is_released
	unset REKINDLE_SIMCUDA_DELAY
	check_worker worker "$checksum"
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

locking_has_begun() { grep -qs "locking CUDA" image/dump.log && [ -n "$(pool_pid)" ]; }

# The agent is left alone in the middle of its work, and finishes it before the process goes on. A call that waits is
# taken out of the driver's lock just then, and comes back when the agent is no longer in that lock.
test_killed_while_a_restored_process_replaces_its_memory() {
	local checksum time
	start_worker worker agent --busy
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
	# The memory is imported now, and is replaced before it can be exported: three mappings for each of six pieces, and
	# a piece is out of its place during the last of them.
	inject worker cuMemMap=100ms
	rm -rf image
	dump_and_kill locking_has_begun
	for time in {1..40}; do
		check_worker worker "$checksum"
	done
	inject worker
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

# CRIU runs this script between the GPU part and the end of the dump.
prepare_pool_killer() {
	cat >script <<-END
		#!/bin/sh
		[ "\$CRTOOLS_SCRIPT_ACTION" != post-dump ] || kill -KILL \$(cat $work/pool.pid)
	END
	chmod +x script
	export CRIU_CUDA_CONTEXT_POOL=1
	must_dump "$pid" warm-up --leave-running
	pool_pid >pool.pid
}

test_killed_while_criu_dumps() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	prepare_pool_killer
	must_dump "$pid" image --leave-running --action-script "$work/script"
	expect_line image/dump.log "process $pid has its GPU back"
	check_worker worker "$checksum"
	kill -KILL "$pid"
	wait_until 20 is_gone "$pid"
	must_restore image
	check_worker worker "$checksum"
}

# The pool that takes over finds both processes in the image only.
test_killed_while_criu_dumps_two_processes() {
	local parent child
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	parent=$(ask worker checksum) child=$(ask worker.1 checksum)
	prepare_pool_killer
	must_dump "$pid" image --leave-running --action-script "$work/script"
	check_worker worker "$parent"
	check_worker worker.1 "$child"
	# Likewise where the dump fails then.
	pool_pid >pool.pid
	if [ -z "$(cat pool.pid)" ]; then
		must_dump "$pid" warm-up --leave-running
		pool_pid >pool.pid
	fi
	sed -i '2s/$/ \&\& false/' script
	rm -rf image
	must_not_dump "$pid" image --leave-running --action-script "$work/script"
	check_worker worker "$parent"
	check_worker worker.1 "$child"
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "a failed dump left GPU images: $(ls image)"
	must_dump "$pid" image2
	must_restore image2
	check_worker worker "$parent"
	check_worker worker.1 "$child"
}

test_killed_in_mid_copy_on_restore() {
	local checksum criu_job
	start_worker worker agent
	checksum=$(ask worker checksum)
	REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image
	wait_until 20 is_gone "$pid"
	(
		export REKINDLE_SIMCUDA_DELAY=cuMemcpyHtoDAsync=200ms CRIU_CUDA_STREAMS=1
		must_not_restore image
	) &
	criu_job=$!
	wait_until 30 grep -qs "Run late stage hook" image/restore.log
	kill_pool
	wait $criu_job || fail "the restore did not fail as it should"
	expect_line image/restore.log "Error \(rekindle\): .*the pool ended"
	expect "succeeded in the statistics" "$(json image/stats-rekindle.json succeeded)" false
	wait_until 20 is_gone "$pid"
	must_restore image
	check_worker worker "$checksum"
}

test_a_pool_that_hangs_is_given_up() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	(
		export REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=20000ms CRIU_CUDA_STREAMS=1 REKINDLE_TIMEOUT=2
		must_not_dump "$pid" image
	)
	expect_line image/dump.log "Error \(rekindle\): .*REKINDLE_TIMEOUT"
	check_worker worker "$checksum"
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_criu_is_killed_during_a_dump() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	mkdir image
	REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=200ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		"$criu" dump -t "$pid" -D image -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 &
	wait_until 30 copy_has_begun
	kill -KILL $!
	# The pool takes the run for dead and brings the process back.
	check_worker worker "$checksum"
	wait_until 30 no_pool
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_criu_is_killed_during_a_restore() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image
	REKINDLE_SIMCUDA_DELAY=cuMemcpyHtoDAsync=200ms CRIU_CUDA_STREAMS=1 \
		"$criu" restore -d -D image -L "$plugin" -v4 -o restore.log >/dev/null 2>&1 &
	wait_until 30 grep -qs "Run late stage hook" image/restore.log
	kill -KILL $!
	wait_until 30 no_pool
	# CRIU takes what it traces with it, or leaves it; a second restore needs the ids.
	! is_running "$pid" || kill -KILL "$pid"
	wait_until 20 is_gone "$pid"
	must_restore image
	check_worker worker "$checksum"
}

test_the_process_is_killed_during_its_dump() {
	local criu_job other
	start_worker other agent
	other=$(ask other checksum)
	start_worker worker agent
	export CRIU_CUDA_CONTEXT_POOL=1 # it has to survive this
	(
		export REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=100ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M
		must_not_dump "$pid" image
	) &
	criu_job=$!
	mkdir -p image
	wait_until 30 copy_has_begun
	kill -KILL "$pid"
	wait $criu_job || fail "the dump did not fail as it should"
	wait_until 20 is_gone "$pid"
	pid=$(ask other pid)
	must_dump "$pid" image2
	must_restore image2
	check_worker other "$other"
}

run_tests "$@"
