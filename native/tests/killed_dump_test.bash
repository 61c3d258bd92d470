#!/bin/bash
# SPDX-License-Identifier: MIT
# criu is killed in the middle of a dump. The kernel lets go of every thread at once, while the process is unlocked for its
# agent, and threads wait in CUDA calls: none of them may run before the pool has undone the dump, the driver's lock stays
# sound, and the contents are where they were.
. "$(dirname "$0")/harness.bash"

compile() { gcc -O1 -g -w -I"$REKINDLE_TEST_SOURCE" -o "$work/waiting_calls" "$REKINDLE_TEST_SOURCE/tests/waiting_calls.c" -L"$simcuda" -l:libcuda.so.1 -lpthread; }

is_in_state() { [ "$(awk '/^State:/ {print $2}' "/proc/$1/status")" = "$2" ]; }
# A thread of the program has been let run by nobody for a while: its count, twice.
count() { od -An -t u8 -N 8 "$work/steps"; }
has_more_than() { [ "$(count)" -gt "$1" ]; }
is_released() { [ -n "$(find image -name "rekindle-[0-9]*.img")" ]; }

# slow_dump RULE [ARGUMENT...]: in the background, sets $criu_pid. What the rule holds goes on when criu was killed, or with
# go_on.
slow_dump() {
	inject pool "$1"
	shift
	mkdir -p image
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M \
		"$criu" dump -t "$pid" -D image -L "$plugin" -v4 -o dump.log "$@" >/dev/null 2>&1 </dev/null &
	criu_pid=$!
}
# The third of twelve copies: something is written by then.
in_the_copy=cuMemcpyDtoHAsync=held@3
at_the_release=cuCheckpointProcessCheckpoint=held
go_on() { inject pool; }
kill_criu() {
	kill -KILL "$criu_pid" 2>/dev/null || true
	go_on
	wait "$criu_pid" 2>/dev/null || true
}
undone() {
	wait_until 180 no_pool
	expect_line image/rekindled.log "Process $pid was brought back: its dump did not end"
	[ -z "$(find image -name 'rekindle-*.img*')" ] || fail "a cancelled dump left GPU images: $(ls image)"
	is_in_state "$pid" T && fail "the process is left stopped"
	rm -rf image
}

# Threads that wait in CUDA calls, and one that makes new ones all the time: what they find is the lock as it was.
test_threads_that_wait_in_cuda_calls() {
	local round
	compile
	(unset REKINDLE_CUDA_DRIVER; exec env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$simcuda" setsid "$work/waiting_calls" "$work/steps" 6 </dev/null >"$work/waiting_calls.log" 2>&1) &
	pid=$!
	disown
	wait_until 60 test -s steps
	for round in 1 2 3; do
		slow_dump $in_the_copy
		wait_until 90 is_held pool
		kill_criu
		undone
		dump "$pid" image --leave-running || { show_log image/dump.log; fail "the dump after it failed"; }
		rm -rf image
		ask_for_steps
	done
}
ask_for_steps() {
	local before
	before=$(count)
	wait_until 60 has_more_than $((before + 10))
	is_running "$pid" || { cat waiting_calls.log; fail "the program has ended"; }
}

# From then on CRIU runs code of its own in the process, which a CRIU that is killed leaves broken, with CUDA or without.
gpu_part_is_over() { [ "$(grep -cs "bytes of device memory are in the GPU image" image/dump.log)" = "$1" ]; }

# Two processes; sets the variables of at_any_moment.
begin_busy() {
	start_worker "$1" agent --busy --children 1
	ask "$1.1" wait-ready
	checksum=$(ask "$1" checksum) child=$(ask "$1.1" checksum)
}

# One dump, struck at this step. Uses the variables of at_any_moment.
strike() {
	local step=$1
	# With these delays alone the GPU part takes 1080 ms.
	slow_dump cuMemcpyDtoHAsync=40ms,cuCheckpointProcessCheckpoint=60ms --leave-running
	[ "$step" = before ] || wait_until 90 grep -qs "locking CUDA" image/dump.log
	[ "$step" = before ] || sleep "$((step / 1000)).$(printf '%03d' $((step % 1000)))"
	if gpu_part_is_over 2; then
		late=$((late + 1))
		wait "$criu_pid" || { show_log image/dump.log; fail "the dump that was not killed failed"; }
	else
		"$kill"
		wait_until 180 "$quiet"
		if gpu_part_is_over 2; then
			late=$((late + 1)) name=worker$late
			kill -KILL "$pid" || true # broken, maybe, and busy beside all that follows
			begin_busy $name
		else
			killed=$((killed + 1))
		fi
	fi
	check_worker $name "$checksum"
	check_worker $name.1 "$child"
	rm -rf image
}

# at_any_moment KILL QUIET: two processes that are busy, and KILL strikes at every moment from before the first request to
# the end of the GPU part, in milliseconds from the lock. When QUIET holds, both go on as they were. Where a busy machine is
# late, the early moments are tried again.
at_any_moment() {
	local kill=$1 quiet=$2 name=worker checksum child step killed=0 late=0
	begin_busy $name
	for step in before $(seq 0 "${REKINDLE_TEST_STEP:-120}" 1080); do
		[ $late -gt 0 ] || strike $step
	done
	for step in before 0 120 before 0 120; do
		[ $killed -ge 5 ] || strike $step
	done
	note "$killed kills, $late too late"
	[ $killed -ge 5 ] || fail "the GPU part was over after $killed kills, this test shows little"
}

test_at_any_moment() { at_any_moment kill_criu no_pool; }

# The memory is released, and its threads must find it mapped.
test_after_the_release() {
	local checksum
	start_worker worker agent --busy
	checksum=$(ask worker checksum)
	slow_dump $at_the_release
	wait_until 90 is_held pool
	is_released || fail "its image is not there yet"
	kill_criu
	undone
	check_worker worker "$checksum"
}

# Somebody else stops the process just then, and lets it go on.
test_a_sigcont_from_outside() {
	local checksum
	start_worker worker agent --busy
	checksum=$(ask worker checksum)
	slow_dump $in_the_copy --leave-running
	wait_until 90 is_held pool
	kill -CONT "$pid"
	go_on
	wait "$criu_pid" || { show_log image/dump.log; fail "the dump failed"; }
	check_worker worker "$checksum"
}

# ---- criu and the pool die together ----

guardian() { processes_named rekindle-guard; }
nobody_left() { [ -z "$(pool_pid)" ] && [ -z "$(guardian)" ]; }
kill_both() {
	kill -KILL $(pool_pid) "$criu_pid" 2>/dev/null || true
	go_on
	wait "$criu_pid" 2>/dev/null || true
}

test_both_at_any_moment() { at_any_moment kill_both nobody_left; }

# Whoever keeps out of the kernel's way when memory is short is not a program that is dumped.
test_the_guardian() {
	local checksum guard scores may_set=true
	(echo -1000 >"/proc/$BASHPID/oom_score_adj") 2>/dev/null || may_set=false
	start_worker worker agent
	checksum=$(ask worker checksum)
	slow_dump $at_the_release
	wait_until 90 is_held pool
	guard=$(guardian)
	scores=$(cat "/proc/$pid/oom_score_adj" "/proc/$(pool_pid)/oom_score_adj" "/proc/$guard/oom_score_adj" | xargs)
	go_on
	if $may_set; then
		expect "the scores of program, pool and guardian" "$scores" "0 -1000 -1000"
	else
		note "nobody may set a score here"
		expect "the program's score" "${scores%% *}" 0
	fi
	wait "$criu_pid" || fail "the dump failed"
	wait_until 60 nobody_left
	must_restore image
	check_worker worker "$checksum"
}

# What somebody else had locked is not locked by the run, and is left as it was: also where it had to be unlocked for its
# agent, by a pool that is gone.
test_what_somebody_else_has_locked_stays_so() { # rounds: agent or none, who is killed, when
	local kind who moment checksum
	while read -r kind who moment; do
		start_worker worker $kind
		checksum=$(ask worker checksum)
		"$simcuda/bin/cuda-checkpoint" --action lock --pid "$pid"
		slow_dump ${!moment}
		wait_until 90 is_held pool
		case $who in
		criu) kill_criu ;;
		both) kill_both ;;
		pool)
			kill -KILL $(pool_pid)
			go_on
			! wait "$criu_pid" || fail "the dump did not fail"
			;;
		esac
		wait_until 180 nobody_left
		expect "the state of one with $kind, $who killed while $moment" \
			"$("$simcuda/bin/cuda-checkpoint" --get-state --pid "$pid")" locked
		"$simcuda/bin/cuda-checkpoint" --action unlock --pid "$pid"
		check_worker worker "$checksum"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
		rm -rf image worker
	done <<-END
		agent criu in_the_copy
		agent both in_the_copy
		agent pool in_the_copy
		agent criu at_the_release
		agent both at_the_release
		agent pool at_the_release
		plain criu at_the_release
		plain both at_the_release
	END
}

# As by one kill of a cgroup: what the dump has written so far is worth nothing, and the older checkpoint is in its place.
all_killed() { # WHAT: what is left of images
	wait_until 90 is_held pool
	kill -KILL $(pool_pid) "$criu_pid" "$pid"
	go_on
	wait "$criu_pid" 2>/dev/null || true
	wait_until 180 nobody_left
	expect "what was left" "$(cd image && find . -name '*.img*' -type f -printf '%P %i\n' -o -name '.rekindle-*' | sort)" "$1"
}
test_the_process_is_killed_with_them() {
	local checksum older
	start_worker worker agent
	slow_dump $at_the_release
	all_killed ""
	rm -rf image worker
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	checksum=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	older=$(cd image && find . -name '*.img*' -type f -printf '%P %i\n' | sort)
	kill -KILL "$pid" # and its child with it
	wait_until 60 is_gone "$pid"
	must_restore image
	slow_dump $at_the_release
	all_killed "$older"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$checksum"
}

test_the_command_when_the_guardian_died_too() {
	local kind checksum
	for kind in agent plain; do
		start_worker worker $kind
		checksum=$(ask worker checksum)
		slow_dump cuCheckpointProcessRestore=100ms,cuCheckpointProcessUnlock=1ms --action-script "$(script)"
		wait_until 90 test -e paused
		kill -KILL $(guardian)
		kill_both
		wait_until 60 nobody_left
		expect "its state" "$("$simcuda/bin/cuda-checkpoint" --get-state --pid "$pid")" checkpointed
		if [ $kind = agent ]; then
			must_not_dump "$pid" other
			expect_line other/dump.log "Error \(rekindle\): .*\"rekindled --revive $pid --images\""
			rm -rf other
			"$build/bin/rekindled" --revive "$pid" 2>revive.log && fail "without its image it was brought back"
			expect_line revive.log "name its folder with --images"
		fi
		# The very command that the log of the killed dump names.
		# shellcheck disable=SC2046 # words of a command
		"$build/bin/"$(grep -ao "rekindled --revive .*" image/dump.log) 2>revive.log || { cat revive.log; fail "it was not brought back"; }
		check_worker worker "$checksum"
		rm -rf image paused
		must_dump "$pid" image
		must_restore image
		check_worker worker "$checksum"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
		rm -rf image worker
	done
}

# The process was restored before: its agent is still copying what was imported when everybody else is gone.
is_traced() { ! grep -qs "^TracerPid:[[:space:]]*0$" "/proc/$pid/status"; }
test_the_command_while_the_agent_is_at_work() {
	local checksum command
	local -a open
	start_worker worker agent
	# So few that its agent keeps none of those by which a restore brings memory: a dump has to replace that.
	open=("/proc/$pid/fd/"*)
	prlimit --pid "$pid" --nofile=$((${#open[@]} + 12))
	must_dump "$pid" image
	must_restore image
	rm -rf image
	checksum=$(ask worker checksum)
	inject worker cuMemCreate=held # until everybody is gone, and one was told that it takes long
	slow_dump ""
	wait_until 90 is_held worker
	kill -KILL $(guardian)
	kill_both
	wait_until 60 nobody_left
	REKINDLE_TIMEOUT=1 "$build/bin/rekindled" --revive "$pid" --images image 2>revive.log && fail "nobody waited for the agent"
	expect_line revive.log "Process $pid goes on, but what allocates or frees device memory in it may wait for its agent"
	"$build/bin/"$(grep -ao "rekindled --revive .*" image/dump.log) 2>revive.log &
	command=$!
	# What the simulated driver starts for the agent from now on runs; the command holds what is there already.
	wait_until 60 is_traced
	inject worker
	wait "$command" || { cat revive.log; fail "it was not brought back"; }
	check_worker worker "$checksum"
	ask worker allocate 8
	ask worker free 1
	rm -rf image
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	must_restore image
	check_worker worker "$checksum"
}
# CRIU waits there when the GPU part is done.
script() {
	cat >script <<-END
		#!/bin/sh
		[ "\$CRTOOLS_SCRIPT_ACTION" != post-dump ] || { touch $work/paused; sleep 100; }
	END
	chmod +x script
	echo "$work/script"
}

# Threads wait in the driver's lock, are not counted there, and cannot be held: they are counted again before they run.
test_the_command_that_cannot_hold_the_threads() {
	compile
	(unset REKINDLE_CUDA_DRIVER; exec env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$simcuda" setsid "$work/waiting_calls" "$work/steps" 6 </dev/null >"$work/waiting_calls.log" 2>&1) &
	pid=$!
	disown
	wait_until 60 test -s steps
	slow_dump $in_the_copy
	wait_until 90 is_held pool
	expect_line image/rekindled.log "CUDA calls wait for the end of the dump"
	kill -KILL "$criu_pid" $(processes_named rekindled) $(processes_named rekindle-guard)
	go_on
	wait "$criu_pid" 2>/dev/null || true
	wait_until 60 no_pool
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessGetRestoreThreadId=999@1 "$build/bin/rekindled" --revive "$pid" --images image \
		2>revive.log || { cat revive.log; fail "it was not brought back"; }
	expect_line revive.log "cuCheckpointProcessGetRestoreThreadId of process $pid failed"
	ask_for_steps
	rm -rf image
	dump "$pid" image --leave-running || { show_log image/dump.log; fail "the dump after it failed"; }
	ask_for_steps
}

# What a dump could not bring back has its memory in the folder only: a dump of another process into it leaves that there.
test_the_command_after_another_dump_into_the_folder() {
	local checksum left
	start_worker worker agent
	checksum=$(ask worker checksum)
	left=$pid
	export REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999
	slow_dump $at_the_release
	wait_until 90 is_held pool
	kill_criu
	unset REKINDLE_SIMCUDA_FAIL
	wait_until 180 nobody_left
	expect_line image/rekindled.log "Process $left could not be brought back; its GPU image stays in the folder"
	start_worker other agent --seed 5
	must_dump "$pid" image
	# shellcheck disable=SC2046 # words of a command
	"$build/bin/"$(grep -ao "rekindled --revive $left .*" image/rekindled.log | tail -n1) 2>revive.log || { cat revive.log; fail "it was not brought back"; }
	check_worker worker "$checksum"
	[ -z "$(find image -name "rekindle-*$left-*")" ] || fail "its image was left: $(ls image)"
	must_restore image
}

# Likewise where that dump succeeded: what it has written is a checkpoint then, which a dump into the folder would replace.
test_the_only_memory_is_in_the_older_checkpoint() {
	local checksum other left
	start_worker worker agent
	checksum=$(ask worker checksum)
	left=$pid
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999 dump "$pid" image --leave-running || true
	expect_line image/dump.log "Error \(rekindle\): .*could not get its GPU back"
	wait_until 60 nobody_left
	start_worker other agent --seed 5
	other=$(ask other checksum)
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*process $left has its device memory in the older checkpoint of this folder only"
	[ ! -e image/.rekindle-new ] || fail "something was left: $(ls -A image)"
	check_worker other "$other"
	"$build/bin/rekindled" --revive "$left" --images image 2>revive.log || { cat revive.log; fail "it was not brought back"; }
	check_worker worker "$checksum"
	must_dump "$pid" image
	must_restore image
	check_worker other "$other"
}

test_revive_refuses_what_is_in_other_hands() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	slow_dump $in_the_copy --leave-running
	wait_until 90 is_held pool
	"$build/bin/rekindled" --revive "$pid" --images image 2>revive.log && fail "it was taken out of criu's hands"
	expect_line revive.log "process $pid is in the hands of another run, process $criu_pid \(criu\)"
	go_on
	wait "$criu_pid" || fail "the dump failed"
	check_worker worker "$checksum"
	"$build/bin/rekindled" --revive 4194304 2>revive.log && fail "a process that there is not was brought back"
	expect_line revive.log "No such process"
	# One that nothing has been taken from does not notice.
	"$build/bin/rekindled" --revive "$pid" 2>revive.log || { cat revive.log; fail "--revive of a whole process"; }
	check_worker worker "$checksum"
}

run_tests "$@"
