#!/bin/bash
# SPDX-License-Identifier: MIT
# Whatever fails during a dump, the process goes on with its contents, the message says what happened, and the process
# can be dumped again.
. "$(dirname "$0")/harness.bash"

# Every driver function that the pool may call, from the one list that there is.
mapfile -t driver_functions < <(grep -oE 'FUNCTION\(cu[A-Za-z0-9]+' "$REKINDLE_TEST_SOURCE/driver/cuda_driver.h" | sed 's/.*(//')

# after_failure NAME CHECKSUM FOLDER: what must hold
after_failure() {
	expect_line "$3/dump.log" "Error \(rekindle\): cuda_plugin: ."
	if [ -e "$3/stats-rekindle.json" ]; then
		expect "succeeded in the statistics" "$(json "$3/stats-rekindle.json" succeeded)" false
		[ -n "$(json "$3/stats-rekindle.json" failure)" ] || fail "the statistics do not say why"
	fi
	[ -z "$(find "$3" -name 'rekindle-*.img*')" ] || fail "a failed dump left GPU images: $(ls "$3")"
	check_worker "$1" "$2"
}

# try_dump RULE: with that rule for the pool. Sets $failed.
try_dump() {
	rm -rf image
	failed=0
	REKINDLE_SIMCUDA_FAIL=$1 dump "$pid" image --leave-running || failed=1
	note "$1: $([ $failed = 1 ] && grep -m1 'Error (rekindle)' image/dump.log | sed 's/.*cuda_plugin: //' || echo "no harm, $(json image/stats-rekindle.json processes.0.mode)")"
}

dump_with_every_rule() { # NAME CHECKSUM SUFFIX FUNCTION...
	local name=$1 checksum=$2 suffix=$3 function
	shift 3
	failures=()
	for function in "$@"; do
		try_dump "$function=999$suffix"
		if [ $failed = 1 ]; then
			failures+=("$function")
			after_failure "$name" "$checksum" image
			grep "Error (rekindle)" image/dump.log | grep -Eq "$function|does not tell its version" ||
				fail "the message does not name $function"
			rm -rf image
			must_dump "$pid" image --leave-running
		fi
		check_worker "$name" "$checksum"
	done
}

must_have_failed() {
	local function
	for function in "$@"; do
		[[ " ${failures[*]} " = *" $function "* ]] || fail "a dump in which $function failed succeeded"
	done
}

test_each_driver_function_fails_at_its_first_call() {
	start_worker worker agent
	dump_with_every_rule worker "$(ask worker checksum)" @1 "${driver_functions[@]}"
	must_have_failed cuInit cuCheckpointProcessGetRestoreThreadId cuCheckpointProcessGetState cuCheckpointProcessLock \
		cuCheckpointProcessCheckpoint
}

test_driver_functions_fail_later() {
	start_worker worker agent
	local checksum number
	checksum=$(ask worker checksum)
	for number in 2 3; do
		dump_with_every_rule worker "$checksum" @$number cuCheckpointProcessGetState cuCheckpointProcessLock \
			cuCheckpointProcessUnlock cuCheckpointProcessRestore cuMemImportFromShareableHandle cuMemMap \
			cuMemSetAccess cuMemcpyDtoHAsync cuStreamCreate cuEventRecord
	done
}

test_the_driver_fails_without_an_agent() {
	start_worker worker plain
	dump_with_every_rule worker "$(ask worker checksum)" @1 "${driver_functions[@]}"
	must_have_failed cuCheckpointProcessLock cuCheckpointProcessCheckpoint
}

test_the_second_of_two_processes_fails() {
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	local parent child function
	parent=$(ask worker checksum) child=$(ask worker.1 checksum)
	for function in cuCheckpointProcessLock cuCheckpointProcessCheckpoint; do
		# The agent's way locks once more before the checkpoint.
		try_dump "$function=999@2"
		[ $failed = 1 ] || fail "the dump succeeded"
		after_failure worker "$parent" image
		check_worker worker.1 "$child"
	done
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$parent"
	check_worker worker.1 "$child"
}

test_the_agent_fails() {
	local checksum function number harm
	start_worker worker agent
	checksum=$(ask worker checksum)
	for function in cuMemExportToShareableHandle cuMemUnmap cuMemRelease cuMemAddressReserve cuMemCreate \
		cuMemImportFromShareableHandle cuMemMap cuMemSetAccess cuCtxSetCurrent cuCtxSynchronize cuMemAddressFree; do
		for number in 1 2; do
			rm -rf image
			# The worker's own steps call none of these, so the agent meets the rule.
			inject worker "$function=999@$number"
			failed=0
			dump "$pid" image --leave-running || failed=1
			inject worker
			harm=$(grep -m1 -E 'Error \(rekindle|Warn .*native mode' image/dump.log | sed 's/.*cuda_plugin: //' || true)
			note "$function@$number: ${harm:-no harm}"
			# A second export is tried again.
			[ -n "$harm" ] || [ $number = 2 ] || [[ " cuMemExportToShareableHandle cuMemUnmap " != *" $function "* ]] ||
				fail "a dump in which the agent's $function failed shows nothing of it"
			[ $failed = 0 ] || after_failure worker "$checksum" image
			check_worker worker "$checksum"
		done
	done
}

test_the_agent_cannot_export() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	inject worker cuMemExportToShareableHandle=999
	must_dump "$pid" image
	expect "the mode" "$(json image/stats-rekindle.json processes.0.mode)" native
	inject worker
	must_restore image
	check_worker worker "$checksum"
}

test_a_process_without_gpu_after_the_dump_is_told() {
	start_worker worker agent
	local checksum
	checksum=$(ask worker checksum)
	# The dump itself succeeds; then nothing can bring the process back.
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999 dump "$pid" image --leave-running || true
	expect_line image/dump.log "Error \(rekindle\): .*could not get its GPU back"
	[[ $(json image/stats-rekindle.json note) = *cuCheckpointProcessRestore* ]] || fail "the statistics have no note of it"
	# The pool has tried it once more by then, and says what can be done.
	wait_until 60 no_pool
	expect_line image/rekindled.log "could not be brought back.* rekindled --revive $pid --images $work/image"
	# What it is now makes no image.
	must_not_dump "$pid" image2
	expect_line image2/dump.log "Error \(rekindle\): .*not in place since an earlier run failed"
	[[ $(json image2/stats-rekindle.json failure) = *"not in place since an earlier run failed"* ]] ||
		fail "the statistics do not say why"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$checksum"
}

# What fails while CRIU holds the process succeeds when it has let it go.
test_the_gpu_comes_back_at_the_third_try() {
	local kind checksum
	for kind in agent plain; do
		start_worker worker $kind
		checksum=$(ask worker checksum)
		mkdir -p image/inventory.img # CRIU writes its images after the GPU part is done
		REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999@1,cuCheckpointProcessRestore=999@2 must_not_dump "$pid" image
		expect_line image/dump.log "Error \(rekindle\): .*process $pid could not get its GPU back yet"
		[[ $(json image/stats-rekindle.json failure) = *cuCheckpointProcessRestore* ]] ||
			fail "the statistics do not say why"
		check_worker worker "$checksum"
		wait_until 60 no_pool
		[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "a failed dump left GPU images: $(ls image)"
		rmdir image/inventory.img
		must_dump "$pid" image
		must_restore image
		check_worker worker "$checksum"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
		rm -rf image worker
	done
}

test_criu_itself_fails() {
	start_worker worker agent
	local checksum
	checksum=$(ask worker checksum)
	# CRIU writes its images after the GPU part is done; here it finds a folder in the place of one.
	mkdir -p image/inventory.img
	must_not_dump "$pid" image
	expect_line image/dump.log "bytes of device memory are in the GPU image"
	expect_line image/dump.log "process $pid has its GPU back"
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "a failed dump left GPU images"
	check_worker worker "$checksum"
	rmdir image/inventory.img
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_a_stopped_process_is_refused() {
	start_worker worker agent
	local checksum failed=0
	checksum=$(ask worker checksum)
	stop "$pid"
	dump "$pid" image --leave-running || failed=1
	kill -CONT "$pid"
	expect "the dump of a stopped process fails" $failed 1
	after_failure worker "$checksum" image
	expect_line image/dump.log "is stopped .SIGSTOP."
	rm -rf image
	must_dump "$pid" image --leave-running
	check_worker worker "$checksum"
}

# hide_agent PID NUMBER: lets the agent's page name that descriptor as its control socket, prints the former number
hide_agent() {
	python3 - "$@" <<-'END'
		import struct, sys
		pid, number = sys.argv[1], int(sys.argv[2])
		start = next(int(line.split("-")[0], 16) for line in open(f"/proc/{pid}/maps") if "/memfd:rekindle-agent " in line)
		with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
		    memory.seek(start + 24)
		    former, = struct.unpack("<i", memory.read(4))
		    memory.seek(start + 24)
		    memory.write(struct.pack("<i", number))
		print(former)
	END
}

# The driver could not restore what the agent imported, so its own checkpoint is no way out.
test_a_restored_process_needs_its_agent() {
	start_worker worker agent
	local checksum former
	checksum=$(ask worker checksum)
	must_dump "$pid" first
	must_restore first
	check_worker worker "$checksum"
	former=$(hide_agent "$pid" 0)
	must_not_dump "$pid" image --leave-running
	expect_line image/dump.log "was restored, shares device memory, or has memory of the host that the driver made, and the driver cannot save that without the agent"
	after_failure worker "$checksum" image
	hide_agent "$pid" "$former" >/dev/null
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_the_folder_is_full() {
	local checksum
	mkdir small
	mount -t tmpfs -o size=12m tmpfs small
	start_worker worker agent
	checksum=$(ask worker checksum)
	must_not_dump "$pid" small/image
	expect_line small/image/dump.log "Error \(rekindle\): .*disk is full"
	check_worker worker "$checksum"
	wait_until 60 no_pool
	umount small
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}

test_the_folder_is_read_only() {
	local checksum
	mkdir folder logs
	start_worker worker agent
	checksum=$(ask worker checksum)
	mount --bind folder folder
	mount -o remount,bind,ro folder
	! "$criu" dump -t "$pid" -D "$work/folder" -W "$work/logs" -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 ||
		fail "the dump succeeded"
	expect_line logs/dump.log "Error \(rekindle\): .*[Rr]ead-only"
	check_worker worker "$checksum"
	umount folder
}

test_the_pool_program_is_missing() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	(
		export REKINDLE_POOL_PROGRAM=/nonexistent/rekindled
		must_not_dump "$pid" image
	)
	expect_line image/dump.log "Error \(rekindle\): .*REKINDLE_POOL_PROGRAM=/nonexistent/rekindled"
	check_worker worker "$checksum"
}

# refused_at_once SENTENCE: a dump over what make_older has left in image.
make_older() {
	start_worker worker agent
	older=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	find image -name '*.img' -printf '%P %s %i\n' | sort >before
}
refused_at_once() {
	! "$criu" dump -t "$pid" -D image -W "$work" -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 || fail "the dump succeeded"
	expect_line dump.log "Error \(rekindle\): .*$1"
	check_worker worker "$older"
	diff before <(find image -name '*.img' -printf '%P %s %i\n' | sort) || fail "the older checkpoint is not as it was"
}
older_restores() {
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$older"
}

test_the_seal_program_is_missing() {
	make_older
	mkdir -p installed/bin installed/lib/criu
	cp "$build/bin/rekindled" installed/bin/
	cp "$build/lib/criu/cuda_plugin.so" installed/lib/criu/
	(
		plugin=$work/installed/lib/criu
		refused_at_once "the program rekindle-seal is neither"
	)
	older_restores
}

test_there_is_no_inode_for_the_hidden_folder() {
	local count=0
	mkdir image
	mount -t tmpfs -o size=400m,nr_inodes=200 tmpfs image
	make_older
	while mkdir "image/fill-$((++count))" 2>/dev/null; do :; done
	refused_at_once "disk is full: could not make .rekindle-new"
	rmdir image/fill-*
	older_restores
}

test_there_is_no_driver() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	(
		export REKINDLE_CUDA_DRIVER=/nonexistent/libcuda.so.1
		must_not_dump "$pid" image
	)
	expect_line image/dump.log "Error \(rekindle\): .*/nonexistent/libcuda.so.1"
	check_worker worker "$checksum"
}

run_tests "$@"
