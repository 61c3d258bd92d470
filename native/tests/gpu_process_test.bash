#!/bin/bash
# SPDX-License-Identifier: MIT
# Dump and restore of processes that hold device memory, whatever they are at and whatever they lack.
. "$(dirname "$0")/harness.bash"

is_stopped() { [ "$(awk '/^State:/ {print $2}' "/proc/$1/status")" = T ]; }
copy_has_begun() { [ -n "$(find image -name 'rekindle-pages-*' -size +0)" ]; }

test_with_agent() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	must_dump "$pid" image
	expect_mode image offload
	expect_line image/dump.log "25165824 bytes of device memory are in the GPU image"
	# The contents are not in CRIU's images as well.
	[ "$(stat -c %s image/pages-1.img)" -lt 20000000 ] || fail "CRIU's images hold the device memory"
	[ "$(stat -c %s image/rekindle-pages-"$pid"-*.img)" -ge 25165824 ] || fail "the GPU image does not hold it"
	must_restore image
	check_worker worker "$before"
	expect_mode image offload
	expect "the pool" "$(json image/stats-rekindle.json pool_warm)" false
	ask worker change
	[ "$(ask worker checksum)" != "$before" ] || fail "the contents cannot be changed any more"
	# The private pools have ended with their runs.
	wait_until 60 no_pool
}

# A large image has a data file for each of those who write it; damage and loss are found in each.
test_several_data_files() {
	local before data
	start_worker worker agent --mib 256 --pieces 3
	before=$(ask worker checksum)
	CRIU_CUDA_STREAMS=3 must_dump "$pid" image
	expect_mode image offload
	expect "the number of data files" "$(find image -name 'rekindle-pages-*' | wc -l)" 3
	data=$(echo image/rekindle-pages-"$pid"-*-2.img)
	[ "$(stat -c %b "$data")" -ge $((64 << 11)) ] || fail "the third one has no third of the contents"
	cp -r image damaged
	printf 'damage' | dd of="damaged/$(basename "$data")" bs=1 seek=5000000 conv=notrunc 2>/dev/null
	must_not_restore damaged
	expect_line damaged/restore.log "$(basename "$data") is damaged: the checksum of allocation"
	rm "damaged/$(basename "$data")"
	must_not_restore damaged
	expect_line damaged/restore.log "$(basename "$data")"
	must_restore image
	check_worker worker "$before"
	# Once more, into one file again, and over the folder that has three.
	ask worker change
	before=$(ask worker checksum)
	CRIU_CUDA_STREAMS=1 REKINDLE_PARENT=none must_dump "$pid" image
	expect "the number of data files" "$(find image -name 'rekindle-pages-*' | wc -l)" 1
	must_restore image
	check_worker worker "$before"
}

# A busy program: one of its calls waits for the end of the dump, and goes on where it was.
test_while_a_call_waits() {
	start_worker worker agent --busy
	local before time met=0
	before=$(ask worker checksum)
	# It may be between two calls just then.
	for ((time = 0; time < 30 && (time < 3 || met == 0); time++)); do
		rm -rf running
		must_dump "$pid" running --leave-running
		expect_mode running offload
		check_worker worker "$before"
		if grep -q "CUDA calls wait for the end of the dump" running/rekindled.log; then met=1; fi
	done
	[ $met = 1 ] || fail "no call waited in $time dumps, this test shows nothing"
	for time in 1 2; do
		rm -rf image
		must_dump "$pid" image
		expect_mode image offload
		must_restore image
		check_worker worker "$before"
	done
}

# Two signals stop what works for the dump, whatever its signal mask.
# signal_during_dump SIGNAL: to a worker in the middle of its copy; sets $before, and $failed as the dump ends
signal_during_dump() {
	start_worker worker agent
	before=$(ask worker checksum) failed=0
	mkdir image
	REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=100ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		dump "$pid" image --leave-running &
	local dump_job=$!
	wait_until 60 copy_has_begun
	kill "-$1" "$pid"
	wait $dump_job || failed=1
}

test_a_stop_signal_waits_for_the_end_of_the_dump() {
	local before failed
	signal_during_dump STOP
	[ $failed = 0 ] || { show_log image/dump.log; fail "the dump did not survive the signal"; }
	expect_mode image offload
	wait_until 60 is_stopped "$pid"
	kill -CONT "$pid"
	check_worker worker "$before"
}

test_a_continue_signal_does_not_stop_the_dump_for_ever() {
	local before failed
	signal_during_dump CONT # CRIU itself does not expect it, and may fail
	expect_line image/dump.log "bytes of device memory are in the GPU image"
	check_worker worker "$before"
}

test_without_agent() {
	start_worker worker plain
	cycle worker image
	expect_mode image native
	expect_line image/dump.log "Warn .*native mode.*librekindle-preload.so"
}

test_leave_running() {
	local kind
	for kind in agent plain; do
		start_worker $kind $kind
		local before
		before=$(ask $kind checksum)
		must_dump "$pid" image-$kind --leave-running
		check_worker $kind "$before"
		ask $kind change
		ask $kind advance >/dev/null
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
		must_restore image-$kind
		check_worker $kind "$before"
	done
}

# CRIU's way of being told that the process is to live, of a dump that has succeeded: the folder has the new checkpoint, and
# all of it.
test_post_dump_script_that_keeps_the_tree_running() {
	start_worker worker agent
	local before
	must_dump "$pid" image --leave-running
	ask worker change
	before=$(ask worker checksum)
	printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ] || exit 7\n' >script
	chmod +x script
	must_not_dump "$pid" image --action-script "$work/script"
	check_worker worker "$before"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$before"
}

test_dump_again_after_a_restore_with_the_pool_alive() {
	export CRIU_CUDA_CONTEXT_POOL=1
	start_worker worker agent
	cycle worker image1
	ask worker change
	cycle worker image2
	ask worker allocate 8
	ask worker free 1
	cycle worker image3
	expect_mode image3 offload
}

test_dump_again_after_a_restore_with_the_pool_gone() {
	start_worker worker agent
	cycle worker image1
	wait_until 60 no_pool
	ask worker change
	cycle worker image2
	wait_until 60 no_pool
	ask worker allocate 8
	ask worker free 1
	cycle worker image3
	expect_mode image3 offload
	# An earlier image is still good.
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image1
	ask worker advance >/dev/null
}

test_two_cuda_processes_in_a_tree() {
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	local parent child child_pid
	parent=$(ask worker checksum) child=$(ask worker.1 checksum) child_pid=$(ask worker.1 pid)
	must_dump "$pid" image
	wait_until 60 is_gone "$child_pid"
	expect "modes" "$(json image/stats-rekindle.json processes.0.mode)$(json image/stats-rekindle.json processes.1.mode)" \
		offloadoffload
	must_restore image
	check_worker worker "$parent"
	check_worker worker.1 "$child"
	must_dump "$pid" image2 --leave-running
	check_worker worker "$parent"
	check_worker worker.1 "$child"
}

test_without_overlap_and_with_reading_ahead() {
	start_worker worker agent
	CRIU_CUDA_PARALLEL_RESTORE=0 cycle worker image1
	expect "workers" "$(json image1/stats-rekindle.json workers)" 1
	expect "overlap" "$(json image1/stats-rekindle.json overlap)" 0
	REKINDLE_READ_AHEAD=1 cycle worker image2
	REKINDLE_CHECKSUMS=0 CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M REKINDLE_RING_SIZE=8M cycle worker image3
	expect_mode image3 offload
}

test_without_overlap_two_processes() {
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	local parent child
	parent=$(ask worker checksum) child=$(ask worker.1 checksum)
	must_dump "$pid" image
	CRIU_CUDA_PARALLEL_RESTORE=0 must_restore image
	check_worker worker "$parent"
	check_worker worker.1 "$child"
}

test_long_gpu_work_within_the_timeout() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	# Each of the worker's kernels takes this long from now on; the lock waits for the one under way.
	inject worker cuMemsetD8Async=3000ms
	must_dump "$pid" image
	inject worker
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$before"
}

test_gpu_work_longer_than_the_timeout() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	inject worker cuMemsetD8Async=held
	wait_until 60 is_held worker
	must_not_dump "$pid" image --timeout 2
	expect_line image/dump.log "Error \(rekindle\): .*The GPU work of process $pid did not end within [0-9]+ ms"
	inject worker
	check_worker worker "$before"
	must_dump "$pid" image
	must_restore image
	check_worker worker "$before"
}

test_a_long_copy_is_no_freeze_timeout() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=150ms CRIU_CUDA_STREAMS=1 must_dump "$pid" image --timeout 2
	must_restore image
	check_worker worker "$before"
}

# Each allocation is a descriptor in the pool while a dump lasts.
test_more_allocations_than_descriptors() {
	local checksum hard
	hard=$(ulimit -Hn)
	[ "$hard" = unlimited ] || [ "$hard" -ge 8192 ] || { echo "skipped: only $hard descriptors may be open"; return 0; }
	ulimit -Sn 8192 # the simulated driver needs one for each allocation too
	start_worker worker agent --mib 2200 --pieces 1100
	ulimit -Sn 1024
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	expect "allocations in the image" "$(json image/stats-rekindle.json processes.0.allocations)" 1100
	must_restore image
	check_worker worker "$checksum"
}

# What a program forbids itself is not forbidden to what dumps it, and comes back with it.
test_seccomp_filters() {
	local kind checksum filters
	for kind in errno kill errno-all kill-all; do
		start_worker "$kind" agent --seccomp "$kind"
		checksum=$(ask "$kind" checksum)
		filters=$(grep -h ^Seccomp: /proc/"$pid"/task/*/status | sort | uniq -c)
		must_dump "$pid" "$kind.1" --leave-running
		expect "the mode" "$(json "$kind.1/stats-rekindle.json" processes.0.mode)" offload
		check_worker "$kind" "$checksum"
		expect "the filters of the threads" "$(grep -h ^Seccomp: /proc/"$pid"/task/*/status | sort | uniq -c)" "$filters"
		must_dump "$pid" "$kind.2"
		must_restore "$kind.2"
		check_worker "$kind" "$checksum"
		expect "the filters of the threads" "$(grep -h ^Seccomp: /proc/"$pid"/task/*/status | sort | uniq -c)" "$filters"
		# Bringing back is the pool's own work, without CRIU.
		kill_criu_in_the_middle "$kind.3"
		check_worker "$kind" "$checksum"
		note "$kind"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
	done
}

# kill_criu_in_the_middle FOLDER: of a dump, when the process's memory is released
kill_criu_in_the_middle() {
	local criu_pid
	mkdir "$1"
	inject pool cuCheckpointProcessCheckpoint=held
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules "$criu" dump -t "$pid" -D "$1" -L "$plugin" -v4 -o dump.log \
		>/dev/null 2>&1 </dev/null &
	criu_pid=$!
	disown
	wait_until 60 is_held pool
	compgen -G "$1/rekindle-$pid-*.img" >/dev/null || fail "its image is not there yet"
	kill -KILL $criu_pid
	inject pool
	wait_until 60 no_pool
}

# few_descriptors COUNT: the worker may open so many more than it has open
few_descriptors() {
	local -a open=("/proc/$pid/fd/"*)
	prlimit --pid "$pid" --nofile=$((${#open[@]} + $1))
}

# What a dump takes out must be possible to put back: in small steps, or it stays with the driver.
test_few_descriptors() {
	local checksum left leave mode name
	for left in 0 1 2 3 4 9 40; do
		for leave in "" --leave-running; do
			name=worker$left$leave
			start_worker "$name" agent --pieces 40 --mib 80
			checksum=$(ask "$name" checksum)
			few_descriptors $left
			must_dump "$pid" "image$left$leave" $leave
			mode=$(json "image$left$leave/stats-rekindle.json" processes.0.mode)
			note "$left more descriptors: $mode mode $leave"
			[ -n "$leave" ] || must_restore "image$left"
			check_worker "$name" "$checksum"
			[ $left -lt 3 ] || expect "the mode" "$mode" offload
			[ $left -gt 0 ] || expect "the mode" "$mode" native
			kill -KILL "$pid"
			wait_until 60 is_gone "$pid"
		done
	done
}

run_tests "$@"
