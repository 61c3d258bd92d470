#!/bin/bash
# SPDX-License-Identifier: MIT
# Processes that map each other's device memory: exported and imported descriptors, and legacy handles.
. "$(dirname "$0")/harness.bash"

program=$build/bin/shared_memory_program

# start_ranks NAME COUNT [agent|plain]: sets $pid; the ranks' folders are NAME/0, NAME/1, ...
start_ranks() {
	local name=$1 count=$2 rank preloaded=("LD_PRELOAD=$preload")
	[ "${3:-agent}" = agent ] || preloaded=()
	mkdir "$name"
	(
		unset REKINDLE_CUDA_DRIVER
		exec env "${preloaded[@]}" LD_LIBRARY_PATH="$simcuda" setsid "$program" "$work/$name" "$count" \
			</dev/null >"$work/$name.log" 2>&1
	) &
	pid=$!
	disown
	for ((rank = 0; rank < count; rank++)); do wait_until 60 test -e "$name/$rank/ready"; done
}

# tell RANK COMMAND...: prints the answer
tell() {
	local folder=$1
	shift
	rm -f "$folder/answer"
	echo "$*" >"$folder/next"
	mv "$folder/next" "$folder/go"
	wait_until 120 test -e "$folder/answer"
	cat "$folder/answer"
}
must_tell() { local got; got=$(tell "$@"); [ "$got" = good ] || fail "rank $1 says to $2 $3: '$got'"; }
# reads VALUE RANK AREA
reads() { expect "$3 of rank $2" "$(tell "$2" read "$3")" "$1"; }

# hand_over FROM AREA TO AREA: by a descriptor
hand_over() {
	local got
	got=$(tell "$1" export "$2")
	[[ $got =~ ^[0-9]+\ [0-9]+$ ]] || fail "rank $1 exports $2: '$got'"
	# shellcheck disable=SC2086 # two words
	must_tell "$3" import "$4" $got
	must_tell "$1" close "${got#* }"
}

# hand_over_handle FROM AREA TO AREA: by a legacy handle
hand_over_handle() {
	local handle
	handle=$(tell "$1" share "$2")
	[ ${#handle} = 128 ] || fail "rank $1 shares $2: '$handle'"
	must_tell "$3" open "$4" "$handle"
}

# Both ways, by descriptors and by handles.
start_pair() { # NAME
	start_ranks "$1" 2
	must_tell "$1/0" make mine 11
	must_tell "$1/1" make mine 22
	must_tell "$1/0" allocate plain 33
	hand_over "$1/0" mine "$1/1" theirs
	hand_over "$1/1" mine "$1/0" theirs
	hand_over_handle "$1/0" plain "$1/1" opened
}

# What one writes the other reads, both ways.
check_pair() { # NAME
	local value
	must_tell "$1/0" check
	must_tell "$1/1" check
	reads "$(tell "$1/0" read mine)" "$1/1" theirs
	reads "$(tell "$1/1" read mine)" "$1/0" theirs
	reads "$(tell "$1/0" read plain)" "$1/1" opened
	value=$((RANDOM % 200 + 1))
	must_tell "$1/0" write mine "$value"
	reads "$value" "$1/1" theirs
	must_tell "$1/1" write theirs $((value + 1))
	reads $((value + 1)) "$1/0" mine
	must_tell "$1/0" write theirs $((value + 2))
	reads $((value + 2)) "$1/1" mine
	must_tell "$1/1" write opened $((value + 3))
	reads $((value + 3)) "$1/0" plain
}

remember() { contents="$(tell "$1/0" read mine) $(tell "$1/1" read mine) $(tell "$1/0" read plain)"; }
is_as_remembered() {
	expect "the contents" "$(tell "$1/0" read mine) $(tell "$1/1" read mine) $(tell "$1/0" read plain)" "$contents"
}

test_what_is_shared_is_not_parked() {
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	start_pair pair
	remember pair
	must_dump "$pid" image
	expect "what stays" "$(json image/stats-rekindle.json resident_bytes)" 0
	expect_line image/dump.log "Warn .*no device memory is parked: process [0-9]+ shares device memory with others"
	must_restore image
	is_as_remembered pair
	check_pair pair
}

test_three_generations() {
	local generation
	start_pair pair
	check_pair pair
	for generation in 1 2 3; do
		rm -rf image
		remember pair
		must_dump "$pid" image
		expect "the modes" "$(json image/stats-rekindle.json processes.0.mode) $(json image/stats-rekindle.json processes.1.mode)" \
			"offload offload"
		must_restore image
		is_as_remembered pair
		check_pair pair
		# What was shared is shared anew, and so is new memory.
		must_tell pair/1 drop theirs
		hand_over pair/0 mine pair/1 theirs
		must_tell pair/1 drop opened
		hand_over_handle pair/0 plain pair/1 opened
		must_tell pair/0 make "new$generation" "$generation"
		hand_over pair/0 "new$generation" pair/1 "new$generation"
		check_pair pair
	done
	for generation in 1 2 3; do reads $generation pair/1 "new$generation"; done
}

# What nobody had when it was restored, or got back, is shared afterwards, and dumped as any other that is.
test_restored_memory_is_shared() {
	local generation
	start_ranks pair 2
	must_tell pair/0 make mine 11
	must_tell pair/1 make mine 22
	must_tell pair/0 allocate plain 33
	must_dump "$pid" image
	must_restore image
	hand_over pair/0 mine pair/1 theirs
	hand_over pair/1 mine pair/0 theirs
	hand_over_handle pair/0 plain pair/1 opened
	check_pair pair
	for generation in 1 2 3; do
		rm -rf image
		must_tell pair/0 make "late$generation" "$generation"
		must_tell pair/1 allocate "late$generation" "$generation"
		remember pair
		if [ $generation = 2 ]; then
			must_dump "$pid" image --leave-running
		else
			must_dump "$pid" image
			must_restore image
		fi
		is_as_remembered pair
		check_pair pair
		hand_over pair/0 "late$generation" pair/1 "of$generation"
		hand_over_handle pair/1 "late$generation" pair/0 "of$generation"
		reads $generation pair/1 "of$generation"
		reads $generation pair/0 "of$generation"
	done
	for generation in 1 2 3; do
		must_tell pair/0 write "late$generation" $((100 + generation))
		reads $((100 + generation)) pair/1 "of$generation"
	done
}

# What is shared is copied while the processes run as everything else is.
test_copied_while_they_run() {
	local generation bytes
	start_pair pair
	for generation in 1 2 3; do
		rm -rf image
		remember pair
		REKINDLE_COPY_WHILE_RUNNING=1 must_dump "$pid" image
		# 6 MiB of its own each, three shared pieces of 4 MiB.
		bytes=$(python3 -c 'import json
print(*(sum(phase["bytes"] for process in json.load(open("image/stats-rekindle.json"))["processes"] for phase in process["phases"] if phase["phase"] == name) for name in ("copy_ahead", "compare", "copy_out")))')
		expect "what was copied while they ran, compared, and copied when they stood" "$bytes" "$((24 << 20)) $((24 << 20)) 0"
		must_restore image
		is_as_remembered pair
		check_pair pair
	done
}

# Each piece is copied once, by its owner.
test_a_piece_is_copied_once() {
	start_pair pair
	must_dump "$pid" image
	# 6 MiB of its own each, three shared pieces of 4 MiB.
	expect "bytes" "$(($(json image/stats-rekindle.json processes.0.device_bytes) + $(json image/stats-rekindle.json processes.1.device_bytes)))" \
		$((24 << 20))
	must_restore image
	check_pair pair
}

test_leave_running() {
	local time
	start_pair pair
	for time in 1 2; do
		rm -rf image
		remember pair
		must_dump "$pid" image --leave-running
		is_as_remembered pair
		check_pair pair
	done
	remember pair
	rm -rf image
	must_dump "$pid" image
	must_restore image
	is_as_remembered pair
	check_pair pair
}

test_eight_ranks() {
	local rank other generation
	start_ranks ranks 8
	for rank in 0 1 2 3 4 5 6 7; do must_tell ranks/$rank make mine $((rank + 100)); done
	for rank in 0 1 2 3 4 5 6 7; do
		for other in 1 2 4; do hand_over ranks/$rank mine ranks/$(((rank + other) % 8)) "of$rank"; done
	done
	for generation in 1 2; do
		rm -rf image
		REKINDLE_SIDE_BY_SIDE=3 must_dump "$pid" image
		must_restore image
		for rank in 0 1 2 3 4 5 6 7; do
			must_tell ranks/$rank write mine $((rank + 10 * generation))
			for other in 1 2 4; do reads $((rank + 10 * generation)) ranks/$(((rank + other) % 8)) "of$rank"; done
		done
	done
}

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

# The pool that a delay keeps. A guardian has the pool's name for a moment when it starts.
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
kill_pool_at() { # CALL=DELAY [also|at-once]: of the simulated driver in the pool
	local dumped pool
	rm -rf image
	remember pair
	REKINDLE_SIMCUDA_DELAY=$1 dump "$pid" image --leave-running &
	dumped=$!
	pool=$(wait_until 60 held_up_pool)
	[ "${2:-}" != at-once ] || signal_criu STOP
	kill -KILL "$pool"
	[ -z "${2:-}" ] || signal_criu KILL
	wait $dumped || true
	wait_until 120 no_pool
	is_as_remembered pair
	check_pair pair
}

test_the_pool_is_lost() {
	start_pair pair
	kill_pool_at cuMemImportFromShareableHandle=2000ms
	kill_pool_at cuCheckpointProcessCheckpoint=2000ms
	kill_pool_at cuCheckpointProcessRestore=2000ms
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

test_criu_and_the_pool_are_lost() {
	start_pair pair
	kill_pool_at cuCheckpointProcessCheckpoint=2000ms also
	kill_pool_at cuCheckpointProcessCheckpoint=2000ms at-once
	kill_pool_at cuMemcpyDtoHAsync=500ms also
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

# CRIU is lost, and its pool can bring back only one of them; later, by hand, the other one comes back too, and shares again
# with the first, which has gone on.
test_one_is_brought_back_by_hand() {
	local dumped left
	start_pair pair
	remember pair
	REKINDLE_SIMCUDA_FAIL=$(printf 'cuCheckpointProcessRestore=999@%s,' {2..9}) \
	REKINDLE_SIMCUDA_DELAY=cuCheckpointProcessCheckpoint=1000ms dump "$pid" image &
	dumped=$!
	wait_until 60 held_up_pool >held_up
	signal_criu KILL
	wait $dumped || true
	wait_until 60 no_pool
	left=$(grep -ao "rekindled --revive .*" image/rekindled.log) || fail "no process was left behind"
	expect "processes that are left behind" "$(wc -l <<<"$left")" 1
	# shellcheck disable=SC2086 # words of a command
	"$build/bin/"$left 2>revive.log || { cat revive.log; fail "it was not brought back"; }
	is_as_remembered pair
	check_pair pair
	rm -rf image
	must_dump "$pid" image
	must_restore image
	check_pair pair
}

run_tests "$@"
