#!/bin/bash
# SPDX-License-Identifier: MIT
# Whatever fails on the GPU during a restore, CRIU fails too, nothing is left running, the message says what happened,
# and the image can be restored afterwards.
. "$(dirname "$0")/harness.bash"

mapfile -t driver_functions < <(grep -oE 'FUNCTION\(cu[A-Za-z0-9]+' "$REKINDLE_TEST_SOURCE/driver/cuda_driver.h" | sed 's/.*(//')

make_image() { # agent|plain [ARGUMENT...]
	start_worker worker "$@"
	checksum=$(ask worker checksum)
	must_dump "$pid" image
}

# Not even a zombie, whose id the next restore would want.
no_worker() { ! grep -qsx $'Name:\trekindle-worker' /proc/[0-9]*/status; }

# after_failure [LOG FOLDER]
after_failure() {
	local folder=${1:-image}
	expect_line "$folder/restore.log" "Error \(rekindle\): cuda_plugin: ."
	expect "succeeded in the statistics" "$(json "$folder/stats-rekindle.json" succeeded)" false
	[ -n "$(json "$folder/stats-rekindle.json" failure)" ] || fail "the statistics do not say why"
	wait_until 60 no_worker
}

end_worker() {
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
}

restore_with_every_rule() { # SUFFIX FUNCTION...
	local suffix=$1 function
	shift
	failures=()
	for function in "$@"; do
		if REKINDLE_SIMCUDA_FAIL=$function=999$suffix restore image; then
			note "$function=999$suffix: no harm"
			check_worker worker "$checksum"
			end_worker
			continue
		fi
		note "$function=999$suffix: $(grep -m1 'Error (rekindle)' image/restore.log | sed 's/.*cuda_plugin: //')"
		failures+=("$function")
		after_failure
		grep "Error (rekindle)" image/restore.log | grep -Eq "$function|does not tell its version" ||
			fail "the message does not name $function"
		must_restore image
		check_worker worker "$checksum"
		end_worker
	done
}

must_have_failed() {
	local function
	for function in "$@"; do
		[[ " ${failures[*]} " = *" $function "* ]] || fail "a restore in which $function failed succeeded"
	done
}

test_each_driver_function_fails() {
	make_image agent
	restore_with_every_rule "" "${driver_functions[@]}"
	must_have_failed cuInit cuDevicePrimaryCtxRetain cuMemCreate cuMemExportToShareableHandle \
		cuCheckpointProcessGetRestoreThreadId cuCheckpointProcessRestore cuCheckpointProcessUnlock
}

test_driver_functions_fail_later() {
	make_image agent
	restore_with_every_rule @2 cuMemCreate cuMemMap cuMemSetAccess cuMemExportToShareableHandle cuMemcpyHtoDAsync \
		cuCheckpointProcessGetState cuStreamCreate
	must_have_failed cuMemCreate cuMemExportToShareableHandle cuMemcpyHtoDAsync
}

test_the_driver_fails_on_a_native_image() {
	make_image plain
	restore_with_every_rule "" cuInit cuCheckpointProcessGetRestoreThreadId cuCheckpointProcessGetState \
		cuCheckpointProcessRestore cuCheckpointProcessUnlock
	must_have_failed cuInit cuCheckpointProcessRestore cuCheckpointProcessUnlock
}

test_the_agent_fails() {
	local function
	make_image agent
	failures=()
	for function in cuMemImportFromShareableHandle cuMemMap cuMemSetAccess cuMemRelease cuCtxSetCurrent; do
		inject worker "$function=999"
		if restore image; then
			inject worker
			note "$function: no harm"
			check_worker worker "$checksum"
			end_worker
			continue
		fi
		note "$function: $(grep -m1 'Error (rekindle)' image/restore.log | sed 's/.*cuda_plugin: //')"
		failures+=("$function")
		after_failure
		inject worker
	done
	must_have_failed cuMemImportFromShareableHandle cuMemMap cuMemSetAccess
	must_restore image
	check_worker worker "$checksum"
}

test_the_second_of_two_processes_fails() {
	local child
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	checksum=$(ask worker checksum) child=$(ask worker.1 checksum)
	must_dump "$pid" image
	wait_until 60 no_worker
	(
		export REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999@2
		must_not_restore image
	)
	after_failure
	must_restore image
	check_worker worker "$checksum"
	check_worker worker.1 "$child"
}

test_criu_itself_fails() {
	make_image agent
	# A process of that id is in CRIU's way.
	(
		set -- $(ls image/core-*.img | sed 's/[^0-9]/ /g')
		mv "image/core-$1.img" kept
		must_not_restore image
		mv kept "image/core-$1.img"
	)
	wait_until 60 no_worker
	wait_until 60 no_pool
	must_restore image
	check_worker worker "$checksum"
}

test_without_pool_or_driver() {
	make_image agent
	(
		export REKINDLE_POOL_PROGRAM=/nonexistent/rekindled
		must_not_restore image
	)
	expect_line image/restore.log "Error \(rekindle\): .*REKINDLE_POOL_PROGRAM"
	after_failure
	(
		export REKINDLE_CUDA_DRIVER=/nonexistent/libcuda.so.1
		must_not_restore image
	)
	expect_line image/restore.log "Error \(rekindle\): .*/nonexistent/libcuda.so.1"
	after_failure
	must_restore image
	check_worker worker "$checksum"
}

test_bad_settings() {
	make_image agent
	(
		export CRIU_CUDA_STREAMS=1000
		must_not_restore image
	)
	expect_line image/restore.log "Error \(rekindle\): .*CRIU_CUDA_STREAMS=1000"
	after_failure
	must_restore image
	check_worker worker "$checksum"
}

# ---- damaged GPU images ----

# damaged WHAT PATTERN: the damage is done; restoring must fail with that message
damaged() {
	must_not_restore image
	note "$1: $(grep -m1 'Error (rekindle)' image/restore.log | sed 's/.*cuda_plugin: //')"
	after_failure
	expect_line image/restore.log "Error \(rekindle\): .*($2)"
}

flip_a_bit() { # FILE OFFSET
	python3 -c 'import sys
f=open(sys.argv[1],"r+b"); f.seek(int(sys.argv[2])); b=f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b^16]))' "$1" "$2"
}

test_damaged_contents() {
	local data offset size
	make_image agent
	data=$(echo image/rekindle-pages-*.img)
	size=$(stat -c %s "$data")
	cp "$data" kept
	for offset in 0 4194305 $((size / 2)) $((size - 1)); do
		flip_a_bit "$data" "$offset"
		damaged "bit flipped at $offset" "$(basename "$data").*chunk|chunk.*$(basename "$data")"
		flip_a_bit "$data" "$offset"
	done
	truncate -s $((size - 1)) "$data"
	damaged "one byte short" "$(basename "$data")"
	truncate -s 0 "$data"
	damaged "empty" "$(basename "$data")"
	rm "$data"
	damaged "missing" "$(basename "$data")"
	cp kept "$data"
	must_restore image
	check_worker worker "$checksum"
}

test_damaged_manifest() {
	local manifest offset size
	make_image agent
	manifest=$(echo image/rekindle-[0-9]*.img)
	size=$(stat -c %s "$manifest")
	cp "$manifest" kept
	for offset in 0 $((size / 3)) $((size / 2)) $((size - 1)); do
		flip_a_bit "$manifest" "$offset"
		damaged "bit flipped at $offset" "rekindle-"
		cp kept "$manifest"
	done
	truncate -s $((size / 2)) "$manifest"
	damaged "half" "$(basename "$manifest")"
	truncate -s 0 "$manifest"
	damaged "empty" "$(basename "$manifest")"
	rm "$manifest"
	damaged "missing" "rekindle-"
	cp kept "$manifest"
	must_restore image
	check_worker worker "$checksum"
}

test_a_lasting_pool_outlives_failures() {
	local data first
	export CRIU_CUDA_CONTEXT_POOL=1
	make_image agent
	first=$(pool_pid)
	data=$(echo image/rekindle-pages-*.img)
	flip_a_bit "$data" 4096
	damaged "bit flipped" "chunk"
	flip_a_bit "$data" 4096
	inject worker cuMemMap=999
	must_not_restore image
	after_failure
	inject worker
	must_restore image
	check_worker worker "$checksum"
	must_dump "$pid" image2
	must_restore image2
	check_worker worker "$checksum"
	expect "the pool" "$(pool_pid)" "$first"
}

# start_lasting_pool: by hand; sets $pool, obeys the rules of "pool"
start_lasting_pool() {
	inject pool
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules "$build/bin/rekindled" --log "$work/pool.log" </dev/null >/dev/null 2>&1 &
	pool=$!
	wait_until 60 test -S "$REKINDLE_POOL_SOCKET"
}

# pool_gives_way: it lost its GPU, says so, and ends as a failed one, which whoever keeps it running starts anew
pool_gives_way() {
	local status=0
	wait "$pool" || status=$?
	expect "the exit status of the pool" "$status" 1
	expect_line "$work/pool.log" "error: GPU 0 .* is lost to this pool process since CUDA_ERROR_$1"
	[ ! -e "$REKINDLE_POOL_SOCKET" ] || fail "the socket of the pool is still there"
}

test_a_pool_that_lost_its_gpu_makes_way_for_another() {
	make_image agent
	# While a restore fills memory.
	start_lasting_pool
	inject pool 'cuMemcpyHtoDAsync=700!@3'
	must_not_restore image
	after_failure
	expect_line image/restore.log "Error \(rekindle\): .*CUDA_ERROR_ILLEGAL_ADDRESS"
	pool_gives_way ILLEGAL_ADDRESS
	must_restore image
	check_worker worker "$checksum"

	# While a dump copies: the driver saves the process by itself.
	start_lasting_pool
	inject pool 'cuMemcpyDtoHAsync=719!@2'
	must_dump "$pid" image2
	expect "the mode" "$(json image2/stats-rekindle.json processes.0.mode)" native
	pool_gives_way LAUNCH_FAILED
	must_restore image2
	check_worker worker "$checksum"

	# An error that passes is none to end for.
	start_lasting_pool
	inject pool 'cuMemcpyHtoDAsync=700@3'
	end_worker
	must_not_restore image
	inject pool
	must_restore image
	check_worker worker "$checksum"
	kill "$pool"
	wait "$pool"
}

test_image_of_another_dump() {
	local first
	start_worker worker agent
	first=$(ask worker checksum)
	must_dump "$pid" image1 --leave-running
	ask worker change
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	mkdir kept
	mv image/rekindle-{[0-9],pages}* kept/
	cp image1/rekindle-{[0-9],pages}* image/
	damaged "GPU image of another dump" "rekindle-"
	cp kept/* image/
	must_restore image
	check_worker worker "$checksum"
}

test_only_checksums_turned_off_lets_damage_pass() {
	local data
	make_image agent
	data=$(echo image/rekindle-pages-*.img)
	flip_a_bit "$data" 4096
	REKINDLE_CHECKSUMS=0 must_restore image
	ask worker advance >/dev/null
	[ "$(ask worker checksum)" != "$checksum" ] || fail "the damage was not restored"
}

# The processes have the agent mapped, so they come back with the very file that they were dumped with.
test_the_agent_is_another_build() {
	local agent=$preload before client=$build/bin/rekindle-api-client
	export REKINDLE_CRIU=$criu
	mkdir agents
	preload=$work/agents/${agent##*/}
	cp "$agent" "$preload"
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	mv "$preload" kept
	! "$client" restore image >out || fail "it was restored without the agent's file"
	expect_line out "^code=-10"
	expect_line out "^message=criu restore of .*${preload#/}.*with that very file of the agent only: put it there again"
	python3 - kept "$preload" <<-'END'
		import re, subprocess, sys
		notes = subprocess.run(["readelf", "-n", sys.argv[1]], capture_output=True, text=True, check=True).stdout
		build = bytes.fromhex(re.search("Build ID: ([0-9a-f]+)", notes)[1])
		data = open(sys.argv[1], "rb").read()
		open(sys.argv[2], "wb").write(data.replace(build, build[::-1]))
	END
	! "$client" restore image >out || fail "it was restored with the agent of another build"
	expect_line out "^code=-10"
	expect_line out "^message=criu restore of .*${preload#/}.*with that very file of the agent only: put it there again"
	mv kept "$preload"
	must_restore image
	check_worker worker "$before"
	preload=$agent
}

run_tests "$@"
