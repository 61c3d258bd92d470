#!/bin/bash
# SPDX-License-Identifier: MIT
# The C API with real CRIU, plugin, pool, agent and the worker on the simulated driver.
. "$REKINDLE_TEST_SOURCE/tests/harness.bash"

export REKINDLE_CRIU=$criu
client=$build/bin/rekindle-api-client
bytes=25165824

# api WANTED [ARGUMENT...]: calls the API, wants that code; what it printed is in ./out
api() {
	local wanted=$1 status=0
	shift
	"$client" "$@" >out 2>err || status=$?
	if [ "$status" != $((-wanted)) ]; then
		sed 's/^/      /' out err
		fail "$* gave -$status, wanted $wanted"
	fi
}
value() { sed -n "s/^$1=//p" out | head -n1; }

test_checkpoint_and_restore() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	api 0 check
	api 0 checkpoint "$pid" image
	is_gone "$pid" || fail "the worker still runs"
	expect "device bytes" "$(value device_bytes)" $bytes
	expect "mode" "$(value mode)" 1
	expect "simulated" "$(value simulated)" 1
	expect_line out "^progress=$bytes of $bytes"
	expect_line out "^phases=.*3 4"
	[ "$(value host_bytes)" -gt 0 ] && [ "$(value frozen_time)" -gt 0 ] || fail "CRIU's figures are missing"
	[ ! -e image/rekindle.progress ] || fail "the progress file stayed"
	api 0 image image
	expect "processes" "$(value processes)/$(value gpu_processes)" 1/1
	expect "root" "$(value root_pid)" "$pid"
	expect "plugin" "$(value uses_cuda_plugin)" 1
	expect_line out "^process $pid parent=[0-9]+ mode=1 threads=[0-9]+ allocations=6 name=rekindle-worker device_bytes=$bytes"
	expect_line out "^driver=CUDA [0-9.]+ \(SIMULATED\)"
	expect_line out "^gpu_uuid=GPU-[0-9a-f]{8}-"
	api 0 verify image
	[ "$(value verified)" -gt 0 ] || fail "nothing was verified"
	api 0 --work work restore image
	expect "pid" "$(value pid)" "$pid"
	expect_line out "^phases=.*8 9"
	expect_line out "^phases=.*7"
	[ "$(value restore_time)" -gt 0 ] || fail "CRIU's figures are missing"
	check_worker worker "$before"
	[ -e work/restore.log ] && [ ! -e image/restore.log ] || fail "the log is not in the work folder"
	[ -z "$(find work -name '*.pid')" ] || fail "the pid file stayed"
	api 0 statistics work restore
	expect "device bytes" "$(value device_bytes)" $bytes
	api 0 statistics image checkpoint
	expect "mode" "$(value mode)" 1
}

test_native_and_no_cuda() {
	start_worker native plain
	local before
	before=$(ask native checksum)
	api 0 checkpoint "$pid" image
	expect "mode" "$(value mode)" 2
	[ -n "$(value reason)" ] || fail "no reason for native mode"
	api 0 restore image
	check_worker native "$before"
	start_worker host plain --no-cuda
	before=$(ask host checksum)
	api 0 checkpoint "$pid" image2
	expect "GPU processes" "$(value processes)" 0
	api 0 restore image2
	check_worker host "$before"
	api 0 image image2
	expect "GPU processes" "$(value gpu_processes)" 0
}

test_leave_running() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	api 0 --flags 1 checkpoint "$pid" image
	check_worker worker "$before"
	# Its id is taken: a restore fails, says so, and the worker is not disturbed.
	api -19 restore image
	expect_line out "^message=.*needs the process id $pid, which is in use by process $pid .rekindle-worker., which runs"
	check_worker worker "$before"
}

test_cancelled_in_the_copy_of_a_dump() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=500ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		api -15 --cancel-phase 3 --cancel-bytes 4194304 checkpoint "$pid" image
	# When the call returns the process is back.
	expect "the driver's state" "$("$simcuda/bin/cuda-checkpoint" --pid "$pid" --get-state)" running
	check_worker worker "$before"
	[ -z "$(find image -name 'rekindle-*.img')" ] || fail "a cancelled dump left a GPU image"
	wait_until 60 no_pool
	api 0 checkpoint "$pid" image
	api 0 restore image
	check_worker worker "$before"
}

# Threads of the program wait in CUDA calls, and go on when it does: each time, and the next dump works.
test_cancelled_while_calls_wait() {
	local before i
	start_worker worker agent --busy
	before=$(ask worker checksum)
	for i in 1 2 3; do
		REKINDLE_SIMCUDA_DELAY=cuMemcpyDtoHAsync=500ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
			api -15 --cancel-phase 3 --cancel-bytes 2097152 checkpoint "$pid" image
		expect_line out "^message=The checkpoint of process $pid was cancelled; the process runs as before"
		# At once: whoever gave it up may try it again.
		api 0 --flags 1 checkpoint "$pid" image
		check_worker worker "$before"
	done
	api 0 checkpoint "$pid" image
	api 0 restore image
	check_worker worker "$before"
}

# CRIU's own part: cancelled at once, wherever it is by then. The process must live, or the dump have succeeded.
test_cancelled_at_any_moment_of_a_dump() {
	local before i status
	start_worker worker agent
	before=$(ask worker checksum)
	for i in 1 2 3 4 5 6; do
		rm -rf image
		status=0
		"$client" --flags 1 --cancel-phase 6 --cancel-bytes 0 checkpoint "$pid" image >out || status=$?
		[ $status = 15 ] || [ $status = 0 ] || { cat out; fail "code -$status"; }
		check_worker worker "$before"
	done
}

test_cancelled_restore() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	api 0 checkpoint "$pid" image
	REKINDLE_SIMCUDA_DELAY=cuMemcpyHtoDAsync=500ms CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		api -15 --cancel-phase 7 --cancel-bytes 2097152 restore image
	expect "workers" "$(processes_named rekindle-worker)" ""
	wait_until 60 no_pool
	expect "criu" "$(processes_named criu)" ""
	api 0 restore image
	check_worker worker "$before"
}

test_a_damaged_gpu_image() {
	start_worker worker agent
	api 0 checkpoint "$pid" image
	printf 'damage' | dd of="$(echo image/rekindle-pages-*.img)" bs=1 seek=5000000 conv=notrunc 2>/dev/null
	api -9 verify image
	expect_line out "^message=.*rekindle-pages-.*img"
	api -9 restore image
	expect_line out "^message=.*rekindle-pages-.*img"
	expect_line out "^log=.*Error"
	expect "workers" "$(processes_named rekindle-worker)" ""
	truncate -s 100 image/rekindle-pages-*.img
	api -9 verify image
	api -9 restore image
	expect "workers" "$(processes_named rekindle-worker)" ""
}

test_a_damaged_file_of_criu() {
	local pages file
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	api 0 checkpoint "$pid" image
	api 0 verify image
	expect "verified" "$(value verified)" $((bytes + $(cat $(find image -name '*.img' ! -name 'rekindle-pages-*' ! -name rekindle-checkpoint.img) | wc -c)))
	cp -a image kept
	pages=$(find image -name 'pages-*.img' -size +1M)
	printf 'damage' | dd of="$pages" bs=1 seek=500000 conv=notrunc 2>/dev/null
	api -9 verify image
	expect_line out "^message=$(basename "$pages") is damaged"
	for file in "$pages" image/mm-*.img image/files.img image/core-"$pid".img; do
		rm "$file"
		api -9 verify image
		expect_line out "^message=$(basename "$file") is missing"
		api -9 restore image
		expect_line out "^message=.*$(basename "$file") is missing"
		[ ! -e image/restore.log ] || fail "criu was started"
		cp -a "kept/$(basename "$file")" image/
	done
	expect "workers" "$(processes_named rekindle-worker)" ""
	api 0 restore image
	check_worker worker "$before"
}

test_a_folder_in_use() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	mkdir image
	echo "somebody's" >image/dump.log
	exec 9<image
	flock 9
	api -18 checkpoint "$pid" image
	expect_line out "^message=.*is at work in this folder of images"
	expect "the log of the other run" "$(cat image/dump.log)" "somebody's"
	exec 9<&-
	check_worker worker "$before"
	api 0 checkpoint "$pid" image
}

test_a_failing_driver() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessLock=999 api -7 checkpoint "$pid" image
	check_worker worker "$before"
	api 0 checkpoint "$pid" image
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999 api -7 restore image
	expect "pid" "$(value pid)" 0
	expect "workers" "$(processes_named rekindle-worker)" ""
	api 0 restore image
	check_worker worker "$before"
}

test_a_missing_driver() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	REKINDLE_CUDA_DRIVER=libnot-there.so.1 api -6 checkpoint "$pid" image
	expect_line out "^message=.*libnot-there"
	check_worker worker "$before"
}

test_a_pool_of_this_process() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	api 0 checkpoint "$pid" image
	api 0 hosted-restore image
	expect "pool" "$(value pool_warm)" 1
	expect "restores" "$(value restores)" 1
	check_worker worker "$before"
	[ ! -S "$REKINDLE_POOL_SOCKET" ] || fail "the socket stayed"
	api 0 checkpoint "$pid" image2
	api 0 hosted-restore image2 prefetch
	[ "$(value held)" -ge $bytes ] || fail "nothing was prefetched"
	check_worker worker "$before"
}

test_a_choice_of_gpus() {
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent
	local before first=GPU-53494d55-4c41-5445-442d-4750552d3030 second=GPU-53494d55-4c41-5445-442d-4750552d3031
	before=$(ask worker checksum)
	api 0 checkpoint "$pid" image
	api -1 --device-map 0=5 restore image
	expect_line out "^message=The device map asks for GPU 5, and this machine has: 0 \\($first\\), 1 \\($second\\)"
	api -1 --device-map 0= restore image
	REKINDLE_SIMCUDA_NAMES="SIMULATED GPU,OTHER GPU" api -10 --device-map 1 restore image
	REKINDLE_SIMCUDA_USED=0,64G api -13 --device-map 1 restore image
	expect_line out "^message=GPU 1 .* has 0 MiB free, and 2[0-9] MiB are needed \\(0 of them"
	expect "workers" "$(processes_named rekindle-worker)" ""
	api 0 --device-map 0=1 restore image
	expect "the GPU" "$(ask worker gpus)" "$second"
	check_worker worker "$before"
	# What was filled ahead lies on the GPU of the dump, and is not for this restore.
	api 0 checkpoint "$pid" image2
	api 0 --device-map "$second=$first" hosted-restore image2 prefetch
	expect "the GPU" "$(ask worker gpus)" "$first"
	check_worker worker "$before"
}

test_the_example_of_the_readme() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	"$build/bin/restore-example" "$pid" image >out || fail "$(cat out)"
	expect_line out "^dumped $bytes bytes of device memory"
	expect_line out "^process $pid restored in 0\.[0-9]+ s"
	check_worker worker "$before"
	"$build/bin/restore-example" 999999 image 2>err && fail "a process that does not exist was dumped"
	expect_line err "there is no such process"
}

run_tests "$@"
