#!/bin/bash
# SPDX-License-Identifier: MIT
# What a tree holds is said before anything of it is stopped, and a dump refuses with all of it at once.
. "$(dirname "$0")/harness.bash"

export REKINDLE_CRIU=$criu
client=$build/bin/rekindle-api-client

# inspect PID [CRIU-ARGUMENT...]: what the API says is in ./out
inspect() { "$client" inspect "$@" >out 2>err || { cat out err; fail "the inspection failed"; }; }
# process_is PID CUDA AGENT, by the numbers in rekindle.h
process_is() { expect_line out "^process $1 parent=[0-9]+ cuda=$2 agent=$3 threads=[0-9]+ "; }
obstacles() { sed -n 's/^obstacle \([0-9]*\) .*/\1/p' out | sort -n | xargs; }

test_processes_with_their_cuda_and_agents() {
	local plain
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	inspect "$pid"
	expect "processes" "$(grep -c '^process ' out)" 2
	process_is "$pid" 2 3
	process_is "$(ask worker.1 pid)" 2 3
	expect "obstacles" "$(obstacles)" ""
	note "$(grep milliseconds out)"
	[ "$(pool_pid)" = "" ] || fail "a pool was started"
	"$simcuda/bin/cuda-checkpoint" --action lock --pid "$pid"
	inspect "$pid"
	process_is "$pid" 3 3
	"$simcuda/bin/cuda-checkpoint" --action unlock --pid "$pid"
	start_worker plain plain
	plain=$pid
	inspect "$plain"
	process_is "$plain" 2 0
	expect_line out "note=the process runs without librekindle-preload.so"
	start_worker none agent --no-cuda
	inspect "$pid"
	process_is "$pid" 0 2
	expect_line out "note=librekindle-preload.so is loaded, and the process has allocated no device memory yet"
	export REKINDLE_AGENT=0
	start_worker disabled agent
	unset REKINDLE_AGENT
	inspect "$pid"
	process_is "$pid" 2 1
	expect_line out "note=the process was started with REKINDLE_AGENT=0"
	# A dump says the same.
	must_dump "$pid" image --leave-running
	expect_line image/dump.log "native mode.*REKINDLE_AGENT=0"
	# A thread of the process would have to answer.
	stop "$pid"
	inspect "$pid"
	process_is "$pid" 7 1
	expect "obstacles" "$(obstacles)" 11
	# A dump does before criu is started.
	"$client" checkpoint "$pid" stopped >out && fail "a stopped process was dumped"
	expect_line out "^code=-10"
	expect_line out "^message=process $pid .* is stopped \(SIGSTOP\)"
	[ ! -e stopped/dump.log ] || fail "criu was started"
	kill -CONT "$pid"
}

# Other libraries that interpose the driver: what the agent is not asked for, or does not ask them for, is said.
test_libraries_beside_the_agent() {
	local agent=$preload before
	preload=$agent:$build/lib/libother_interposer_next.so
	start_worker after agent
	before=$(ask after checksum)
	inspect "$pid"
	process_is "$pid" 2 3
	expect_line out "^process $pid .* note=$"
	must_dump "$pid" image
	expect "the mode" "$(json image/stats-rekindle.json processes.0.mode)" offload
	must_restore image
	check_worker after "$before"
	preload=$agent:$build/lib/libother_interposer_plain.so
	start_worker unseen agent
	inspect "$pid"
	process_is "$pid" 2 3
	expect_line out "note=the CUDA calls that librekindle-preload.so takes do not reach .*plain.so: put it before"
	preload=$build/lib/libother_interposer_past.so:$agent
	start_worker past agent
	before=$(ask past checksum)
	inspect "$pid"
	process_is "$pid" 2 2
	expect_line out "note=librekindle-preload.so is loaded, and no CUDA call of the process has come to it"
	must_dump "$pid" image2
	expect_line image2/dump.log "native mode.*no CUDA call of the process has come to it"
	must_restore image2
	check_worker past "$before"
	preload=$agent
}

# start_tree: a worker, and beside it a program with one of everything; sets $pid to their parent, and $worker_pid
start_tree() {
	cat >everything.py <<-'END'
		import ctypes, mmap, os, socket, sys, time
		libc = ctypes.CDLL(None, use_errno=True)
		ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))
		ghost = open("ghost", "w+b")
		ghost.write(bytes(3 << 20))
		ghost.flush()
		os.unlink("ghost")
		linked = open("linked", "w+b")
		os.link("linked", "other")
		os.unlink("linked")
		listener = socket.create_server(("127.0.0.1", 0))
		connection = socket.create_connection(listener.getsockname()), listener.accept()
		open("made", "w").write("io_uring" if ring >= 0 else "")
		time.sleep(1000)
	END
	ip link set lo up 2>/dev/null || true
	setsid bash -c 'python3 everything.py & env LD_PRELOAD="$1" LD_LIBRARY_PATH="$2" REKINDLE_CUDA_DRIVER= \
		"$3" --state worker --mib 24 --pieces 6 & wait' bash "$preload" "$simcuda" "$worker" </dev/null >tree.log 2>&1 &
	pid=$!
	disown
	wait_until 60 test -e made
	wait_until 60 test -s worker
	ask worker wait-ready
}

test_a_dump_refuses_with_all_obstacles_at_once() {
	local all="1 3 4 5" before
	start_tree
	[ -s made ] || { note "this kernel forbids io_uring"; all="3 4 5"; }
	before=$(ask worker checksum)
	inspect "$pid"
	expect "obstacles" "$(obstacles)" "$all"
	expect_line out "^obstacle 3 pid=[0-9]+ process [0-9]+ \(python3\) has a deleted file of [0-9]+ bytes .*: dump it with --ghost-limit 4M"
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*has an io_uring, which CRIU cannot dump: start it with"
	expect_line image/dump.log "Error \(rekindle\): .*established TCP connections: dump it with --tcp-established"
	expect_line image/dump.log "Error \(rekindle\): .*deleted file"
	expect_line image/dump.log "Error \(rekindle\): .*whose name is gone"
	expect "the code" "$(json image/stats-rekindle.json failure_code)" -95
	[ ! -e image/rekindled.log ] || fail "a pool was started for it"
	check_worker worker "$before"
	# From C and Java before criu is started.
	"$client" checkpoint "$pid" image2 >out && fail "the dump succeeded"
	expect_line out "^code=-10"
	expect_line out "^message=process [0-9]+ \(python3\) has .*; process [0-9]+ \(python3\) has .*; "
	[ ! -e image2/dump.log ] || fail "criu was started"
	# What an option allows is none.
	inspect "$pid" --tcp-established --ghost-limit 8M --link-remap
	expect "obstacles" "$(obstacles)" "$([ -s made ] && echo 1)"
	must_not_dump "$pid" image3 --tcp-established --ghost-limit 8M --link-remap
	! grep "Error (rekindle)" image3/dump.log | grep -q "TCP connections\|deleted file\|name is gone" || fail "an obstacle that is none was named"
	check_worker worker "$before"
}

# What the agent forbids a program: an io_uring, as libraries make it, and nothing that a dump needs.
test_io_uring_is_off_where_that_is_set() {
	local before
	export REKINDLE_AGENT_IO_URING=0
	start_worker worker agent
	unset REKINDLE_AGENT_IO_URING
	grep -q '^Seccomp:.2' "/proc/$pid/status" || fail "the worker has no filter"
	inspect "$pid"
	process_is "$pid" 2 3
	before=$(ask worker checksum)
	for folder in first second; do
		must_dump "$pid" $folder
		expect "the mode" "$(json $folder/stats-rekindle.json processes.0.mode)" offload
		must_restore $folder
		check_worker worker "$before"
		grep -q '^Seccomp:.2' "/proc/$pid/status" || fail "the restored worker has no filter"
		inspect "$pid"
		process_is "$pid" 2 3
	done
}

run_tests "$@"
