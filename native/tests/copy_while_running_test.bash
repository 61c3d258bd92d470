#!/bin/bash
# SPDX-License-Identifier: MIT
# Device memory is copied while the process runs (REKINDLE_COPY_WHILE_RUNNING), and what has changed when it stands. The
# contents after the restore are those of the moment at which it was stopped; and whatever fails before that moment, the
# process was never stopped.
. "$(dirname "$0")/harness.bash"

export REKINDLE_COPY_WHILE_RUNNING=1

# phase_bytes FOLDER PHASE [PROCESS]: 0 where there was none
phase_bytes() { python3 -c 'import json,sys; process=json.load(open(sys.argv[1]+"/stats-rekindle.json"))["processes"][int(sys.argv[3])]
print(sum(phase["bytes"] for phase in process["phases"] if phase["phase"] == sys.argv[2]))' "$1" "$2" "${3:-0}"; }

# ---- a program that writes all the time, and ends where a piece is not what it has written ----

start_changing() {
	gcc -O1 -g -w -I"$REKINDLE_TEST_SOURCE" -o "$work/changing_memory" "$REKINDLE_TEST_SOURCE/tests/changing_memory.c" \
		-L"$simcuda" -l:libcuda.so.1
	(unset REKINDLE_CUDA_DRIVER; exec env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$simcuda" setsid "$work/changing_memory" "$work/steps" "$1" </dev/null >"$work/changing_memory.log" 2>&1) &
	pid=$!
	disown
	wait_until 360 has_changed_more_than 10
}
changes() { [ -s "$work/steps" ] && od -An -t u8 -N 8 "$work/steps" || echo 0; }
has_changed_more_than() { [ "$(changes)" -gt "$1" ]; }
# So many that each piece was looked at and changed, most likely many times.
goes_on() {
	local before
	before=$(changes)
	wait_until 360 has_changed_more_than $((before + $1)) || true
	is_running "$pid" || { cat changing_memory.log; fail "the program has ended"; }
	has_changed_more_than $((before + $1)) || { show_threads; fail "the program does not go on"; }
}

# It must have changed memory that was copied already, or this shows nothing.
test_a_program_that_writes_allocates_and_frees_all_the_time() {
	local round compared=0 copied=0 ahead=0
	start_changing 12
	for round in 1 2 3 4; do
		rm -rf image
		if [ $((round % 2)) = 1 ]; then
			REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image --leave-running
			expect_mode image offload
			goes_on 150
			kill -KILL "$pid"
			wait_until 60 is_gone "$pid"
		else
			REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image
			expect_mode image offload
		fi
		ahead=$((ahead + $(phase_bytes image copy_ahead)))
		compared=$((compared + $(phase_bytes image compare)))
		copied=$((copied + $(phase_bytes image copy_out)))
		must_restore image
		goes_on 200
	done
	note "$((ahead >> 20)) MiB copied ahead, $((compared >> 20)) compared, $((copied >> 20)) copied when it stood"
	[ $ahead -gt $((96 << 20)) ] || fail "hardly anything was copied while it ran"
	[ $compared -gt 0 ] || fail "nothing was compared"
}

test_it_is_changed_while_it_is_copied() {
	start_changing 16
	slow_dump
	goes_on 100
	inject pool
	wait "$criu_pid" || { show_log image/dump.log; fail "the dump failed"; }
	wait_until 60 is_gone "$pid"
	expect_mode image offload
	[ "$(phase_bytes image copy_ahead)" -gt 0 ] || fail "nothing was copied while it ran"
	[ "$(phase_bytes image copy_out)" -gt 0 ] || fail "nothing has changed meanwhile, this test shows nothing"
	must_restore image
	goes_on 300
}

# ---- what stays the same is not copied again ----

test_unchanged_memory_is_not_copied_again() {
	start_worker worker agent --mib 64 --zero-percent 20
	local before bytes=$((64 << 20))
	before=$(ask worker checksum)
	must_dump "$pid" running --leave-running
	expect_mode running offload
	expect_line running/dump.log "bytes of device memory are copied, and it runs on"
	expect "what was copied while it ran" "$(phase_bytes running copy_ahead)" $bytes
	expect "what was compared" "$(phase_bytes running compare)" $bytes
	expect "what was copied when it stood" "$(phase_bytes running copy_out)" 0
	check_worker worker "$before"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore running
	check_worker worker "$before"
}

# Nor of a process that was restored, or got its memory back: what it has is imported memory by then.
test_later_generations_gain_as_the_first() {
	start_worker worker agent --mib 64 --zero-percent 20
	local before generation bytes=$((64 << 20))
	before=$(ask worker checksum)
	for generation in 1 2 3 4 5; do
		rm -rf image
		if [ $((generation % 2)) = 0 ]; then
			must_dump "$pid" image --leave-running
		else
			must_dump "$pid" image
		fi
		expect_mode image offload
		expect "what was copied while it ran" "$(phase_bytes image copy_ahead)" $bytes
		expect "what was compared" "$(phase_bytes image compare)" $bytes
		expect "what was copied when it stood" "$(phase_bytes image copy_out)" 0
		[ $((generation % 2)) = 0 ] || must_restore image
		check_worker worker "$before"
	done
}

# Of as much as it may keep descriptors of; the rest is copied when it stands.
test_later_generations_of_few_descriptors() {
	local before
	# shellcheck disable=SC2329 # exported, for the worker
	start_worker worker agent --mib 256 --pieces 128
	before=$(ask worker checksum)
	prlimit --pid "$pid" --nofile=400:400
	must_dump "$pid" image
	must_restore image
	check_worker worker "$before"
	rm -rf image
	must_dump "$pid" image
	expect_mode image offload
	expect_line image/rekindled.log "MiB of its memory are copied when it stands: it may open too few descriptors"
	[ "$(phase_bytes image copy_ahead)" -gt $((100 << 20)) ] || fail "hardly anything was copied while it ran"
	[ "$(phase_bytes image copy_ahead)" -lt $((256 << 20)) ] || fail "all of it was copied while it ran"
	[ "$(phase_bytes image copy_out)" -gt 0 ] || fail "nothing was copied when it stood"
	must_restore image
	check_worker worker "$before"
}

test_every_process_of_a_tree() {
	local before child
	start_worker worker agent --children 1 --busy
	ask worker.1 wait-ready
	before=$(ask worker checksum) child=$(ask worker.1 checksum)
	must_dump "$pid" image
	for process in 0 1; do
		expect "what was copied while process $process ran" "$(phase_bytes image copy_ahead $process)" 25165824
		expect "what was copied when it stood" "$(phase_bytes image copy_out $process)" 0
	done
	must_restore image
	check_worker worker "$before"
	check_worker worker.1 "$child"
}

# The filter forbids what the agent does, in a process that runs as well.
test_seccomp_filters() {
	local kind before
	for kind in errno kill errno-all kill-all; do
		start_worker $kind agent --seccomp $kind
		before=$(ask $kind checksum)
		must_dump "$pid" image-$kind
		expect_mode image-$kind offload
		expect "what was copied while it ran" "$(phase_bytes image-$kind copy_ahead)" 25165824
		must_restore image-$kind
		check_worker $kind "$before"
	done
}

test_without_an_agent() {
	start_worker worker plain
	cycle worker image
	expect_mode image native
}

# ---- without the kernel all is as it was ----

test_a_gpu_without_the_kernel() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_FAIL=cuModuleLoadData=801 must_dump "$pid" image
	expect_mode image offload
	expect_line image/rekindled.log "nothing is copied while it runs: .*cuModuleLoadData: CUDA_ERROR_NOT_SUPPORTED"
	expect "what was copied when it stood" "$(phase_bytes image copy_out)" 25165824
	must_restore image
	check_worker worker "$before"
}

test_a_kernel_that_fails_when_it_counts() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_FAIL=cuLaunchKernel=999 must_dump "$pid" image
	expect_mode image offload
	expect_line image/rekindled.log "all of its memory on GPU 0 is copied again: .*cuLaunchKernel"
	expect "what was copied when it stood" "$(phase_bytes image copy_out)" 25165824
	must_restore image
	check_worker worker "$before"
}

# ---- whatever happens before it is stopped, it was never stopped ----

# slow_dump [ARGUMENT...]: in the background, sets $criu_pid; until its copy has begun, which goes on at the next inject pool
slow_dump() {
	mkdir -p image
	inject pool cuMemcpyDtoHAsync=held@3
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		"$criu" dump -t "$pid" -D image -L "$plugin" -v4 -o dump.log "$@" >/dev/null 2>&1 </dev/null &
	criu_pid=$!
	wait_until 180 is_held pool
}
# It ran on all the while: CRIU has not got to it, nor the driver's lock.
was_never_stopped() {
	grep -q "locking CUDA\|Seized task" image/dump.log && fail "the process was locked or stopped: $1"
	goes_on 100
	[ "$(awk '/^State:/ {print $2}' "/proc/$pid/status")" != T ] || fail "the process is left stopped: $1"
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "GPU images are left: $(ls image)"
}
dump_works() {
	rm -rf image
	must_dump "$pid" image
	expect_mode image offload
	must_restore image
	goes_on 200
}

test_criu_is_killed_while_it_is_copied() {
	start_changing 16
	slow_dump
	goes_on 20
	kill -KILL "$criu_pid"
	inject pool
	wait "$criu_pid" 2>/dev/null || true
	wait_until 180 no_pool
	was_never_stopped "criu was killed"
	dump_works
}

test_the_pool_is_killed_while_it_is_copied() {
	local failed=0
	start_changing 16
	slow_dump
	kill -KILL "$(pool_pid)"
	inject pool
	wait "$criu_pid" || failed=1
	expect "whether the dump failed" $failed 1
	wait_until 180 no_pool
	was_never_stopped "the pool was killed"
	dump_works
}

# The agent goes on with it, in the middle of a CUDA call when the next dump comes to lock the process.
test_the_pool_is_killed_while_the_agent_answers() {
	local before
	start_worker worker agent --busy
	before=$(ask worker checksum)
	inject worker cuMemExportToShareableHandle=held@1
	dump "$pid" image &
	criu_pid=$!
	wait_until 180 is_held worker
	kill -KILL "$(pool_pid)"
	wait "$criu_pid" && fail "the dump succeeded"
	(wait_until 180 grep -qs "is at work for another run, which is waited for" again/dump.log && inject worker) &
	REKINDLE_COPY_WHILE_RUNNING=0 must_dump "$pid" again
	expect_mode again offload
	expect_line again/dump.log "the agent of process $pid was at work for another run until now"
	must_restore again
	check_worker worker "$before"
}

test_both_are_killed_while_it_is_copied() {
	start_changing 16
	slow_dump
	kill -KILL "$(pool_pid)" "$criu_pid"
	inject pool
	wait "$criu_pid" 2>/dev/null || true
	wait_until 180 no_pool
	was_never_stopped "both were killed"
	dump_works
}

test_the_disk_is_full_while_it_is_copied() {
	start_changing 16
	mkdir image
	mount -t tmpfs -o size=20m tmpfs image
	"$criu" dump -t "$pid" -D image -W "$work" -L "$plugin" -v4 -o "$work/dump.log" >/dev/null 2>&1 && fail "the dump succeeded"
	wait_until 180 no_pool
	expect_line dump.log "Error .*The disk is full"
	cp dump.log image/dump.log
	was_never_stopped "the disk was full"
	umount image
	dump_works
}

test_the_process_ends_while_it_is_copied() {
	local failed=0
	start_changing 16
	slow_dump
	kill -KILL "$pid"
	inject pool
	wait "$criu_pid" || failed=1
	expect "whether the dump failed" $failed 1
	wait_until 180 no_pool
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "GPU images are left: $(ls image)"
}

run_tests "$@"
