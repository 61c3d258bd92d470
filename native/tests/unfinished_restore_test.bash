#!/bin/bash
# SPDX-License-Identifier: MIT
# A restore that does not come to its end leaves nothing that runs, and one that does leaves everything: whenever criu
# dies, no process goes on with device memory that is not all there, and the image can be restored.
. "$(dirname "$0")/harness.bash"

make_image() { # agent|plain [ARGUMENT...]
	start_worker worker "$@"
	checksum=$(ask worker checksum)
	REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image
}

no_worker() { ! grep -qsx $'Name:\trekindle-worker' /proc/[0-9]*/status; }

# start_slow_restore [ARGUMENT...]: in the background, sets $criu_pid; the filling is held at one of twelve copies
start_slow_restore() {
	rm -f image/restore.log
	inject pool cuMemcpyHtoDAsync=held@6
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules CRIU_CUDA_STREAMS=1 "$criu" restore -D image -L "$plugin" -v4 -o restore.log "$@" >/dev/null 2>&1 </dev/null &
	criu_pid=$!
	disown
}

# And CRIU has done its own part.
is_filling() { is_held pool && grep -qs "Run late stage hook" image/restore.log; }

kill_criu_while_it_fills() { # [ARGUMENT...]
	start_slow_restore "$@"
	wait_until 90 is_filling
	sleep 0.5
	kill -KILL "$criu_pid"
	wait_until 60 no_worker
	inject pool
}

test_criu_killed_while_it_fills() {
	local arguments
	make_image agent
	for arguments in -d "" --leave-stopped "-d --restore-sibling"; do
		note "criu restore $arguments"
		kill_criu_while_it_fills $arguments
	done
	must_restore image
	check_worker worker "$checksum"
}

test_criu_killed_with_a_lasting_pool() {
	local first
	export CRIU_CUDA_CONTEXT_POOL=1 CRIU_CUDA_STREAMS=1 REKINDLE_SIMCUDA_CONTROL=$work/pool.rules
	make_image agent
	first=$(pool_pid)
	kill_criu_while_it_fills -d
	kill_criu_while_it_fills -d
	must_restore image
	check_worker worker "$checksum"
	expect "the pool" "$(pool_pid)" "$first"
}

# The second one is shown to the plugin only when the first one is whole; a third one has no CUDA at all.
test_criu_killed_in_a_tree() {
	local child tree=$work/tree.bash
	cat >"$tree" <<-'END'
		"$@" &
		sleep 1000000 &
		wait
	END
	(
		unset REKINDLE_CUDA_DRIVER
		exec env "LD_PRELOAD=$preload" LD_LIBRARY_PATH="$simcuda" setsid bash "$tree" "$worker" \
			--state "$work/worker" --mib 24 --pieces 6 --children 1 </dev/null >"$work/worker.log" 2>&1
	) &
	pid=$!
	disown
	wait_until 60 test -s "$work/worker"
	wait_until 60 test -s "$work/worker.1"
	ask worker wait-ready
	ask worker.1 wait-ready
	checksum=$(ask worker checksum) child=$(ask worker.1 checksum)
	REKINDLE_CHUNK_SIZE=2M must_dump "$pid" image
	wait_until 60 no_worker
	kill_criu_while_it_fills -d
	wait_until 60 is_gone "$pid"
	[ -z "$(processes_named sleep)" ] || fail "the process without CUDA lives on"
	must_restore image
	check_worker worker "$checksum"
	check_worker worker.1 "$child"
	[ -n "$(processes_named sleep)" ] || fail "the process without CUDA is gone"
}

test_pool_killed_while_it_fills() {
	make_image agent
	start_slow_restore -d
	wait_until 90 is_filling
	kill -KILL "$(pool_pid)"
	wait_until 60 is_gone "$criu_pid"
	wait_until 60 no_worker
	must_restore image
	check_worker worker "$checksum"
}

# restore_and_wait: criu waits for the end of what it has restored; sets $criu_pid
restore_and_wait() {
	rm -f image/restore.log
	"$criu" restore -D image -L "$plugin" -v4 -o restore.log >/dev/null 2>&1 </dev/null &
	criu_pid=$!
	disown
	wait_until 90 grep -qs "Restore finished successfully" image/restore.log
}

# From the moment at which criu is done, nothing that happens to it or to the pool concerns what it has restored, and
# what is restored is no run's any more.
test_what_is_restored_lives_on() {
	make_image agent --children 1
	restore_and_wait
	must_dump "$pid" image2
	wait_until 60 is_gone "$criu_pid"
	wait_until 60 no_worker
	restore_and_wait
	kill -KILL "$criu_pid"
	wait_until 60 no_pool
	check_worker worker "$checksum"
	must_dump "$pid" image2
	wait_until 60 no_worker
	must_restore image2 --leave-stopped
	wait_until 60 no_pool
	sleep 0.2
	expect "the state of the restored process" "$(awk '/^State:/ {print $2}' "/proc/$pid/status")" T
	kill -CONT "$pid"
	check_worker worker "$checksum"
}

# ---- device memory that nobody takes ----

# Makes the agent's page one that nobody knows.
spoil_agent_page() { python3 - "$@" <<'END'
import sys

found = 0
for name in sys.argv[1:]:
    with open(name, "r+b") as file:
        data = file.read()
        for at in range(0, len(data), 4096):
            if data[at:at + 8] == b"REKINDLE":
                file.seek(at)
                file.write(b"SPOILED!")
                found += 1
assert found == 1, f"{found} pages of agents in the image"
END
}

test_released_memory_without_an_agent_page() {
	make_image agent
	cp -a image kept
	spoil_agent_page image/pages-*.img
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): .*No restored process has taken .* process $pid"
	expect "succeeded in the statistics" "$(json image/stats-rekindle.json succeeded)" false
	wait_until 60 no_worker
	must_restore kept
	check_worker worker "$checksum"
}

test_released_memory_of_the_first_of_two() {
	make_image agent --children 1
	# Without the checkpoint's manifest nobody misses the file before the process does.
	rm image/rekindle-checkpoint.img image/rekindle-"$pid"-*.img
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): .*Process $pid needs its GPU image"
	wait_until 60 no_worker
}

run_tests "$@"
