#!/bin/bash
# SPDX-License-Identifier: MIT
# The agent's sockets in a process that is dumped: one that the program has closed, and the one with a name.
. "$(dirname "$0")/harness.bash"

# start_program NAME: sets $pid
start_program() {
	mkdir "$work/$1"
	(
		unset REKINDLE_CUDA_DRIVER
		exec env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$simcuda" REKINDLE_SIMCUDA_CONTROL="$work/$1.rules" \
			setsid "$build/bin/sharing_program" "$work/$1" </dev/null >"$work/$1.log" 2>&1
	) &
	pid=$!
	disown
	wait_until 60 test -e "$work/$1/ready"
}

# tell NAME COMMAND...: its answer
tell() {
	local name=$1
	shift
	rm -f "$work/$name/answer"
	echo "$*" >"$work/$name/go.new"
	mv "$work/$name/go.new" "$work/$name/go"
	wait_until 90 test -e "$work/$name/answer"
	cat "$work/$name/answer"
}

# hold_name HANDLE: another process has the name of the exporter's socket; sets $holder
hold_name() {
	python3 - "${1:16:32}" <<'END' &
import signal, socket, sys
held = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
held.bind("\0rekindle-ipc-" + sys.argv[1])
held.listen()
open("held", "w").close()
signal.pause()
END
	holder=$!
	disown
	wait_until 60 test -e held
}

has_name() { grep -q "@rekindle-ipc-${1:16:32}$" /proc/net/unix; }

# ---- sockets that the program has closed ----

test_closed_sockets() {
	start_program program
	expect "closing" "$(tell program close)" good
	must_dump "$pid" image
	expect_line image/dump.log "native mode.*the program has closed the agent's sockets"
	must_restore image
	expect "the contents" "$(tell program check)" good
}

test_sockets_that_are_the_programs_by_now() {
	start_program program
	expect "replacing" "$(tell program replace)" good
	must_dump "$pid" image
	expect_line image/dump.log "native mode.*the program has closed the agent's sockets"
	must_restore image
	expect "the contents" "$(tell program check)" good
	expect "the program's own messages" "$(tell program queued)" good
	# With more memory the agent comes back, beside what is in the place of its sockets.
	expect "allocating" "$(tell program allocate)" good
	must_dump "$pid" second
	expect_line second/dump.log "bytes of device memory are in the GPU image"
	must_restore second
	expect "the contents" "$(tell program check)" good
	expect "the program's own messages" "$(tell program queued)" good
}

test_closed_sockets_of_a_restored_process() {
	start_program program
	must_dump "$pid" image
	must_restore image
	expect "closing" "$(tell program close)" good
	# The driver cannot save it, and the agent cannot be asked.
	must_not_dump "$pid" second
	expect_line second/dump.log "was restored, shares device memory, or has memory of the host that the driver made, and the driver cannot save.*has closed the agent's sockets"
	expect "the contents" "$(tell program check)" good
	expect "allocating" "$(tell program allocate)" good
	must_dump "$pid" third
	must_restore third
	expect "the contents" "$(tell program check)" good
}

# ---- the socket for other processes ----

test_an_exporter_is_restored_twice() {
	local handle again
	start_program peer
	start_program program
	handle=$(tell program share)
	expect "the peer's opening" "$(tell peer open "$handle")" good
	must_dump "$pid" image
	expect "the peer's opening of what has ended" "$(tell peer open "$handle")" "error 400"
	hold_name "$handle"
	must_restore image
	expect "the contents" "$(tell program check)" good
	again=$(tell program share)
	[ "$again" != "$handle" ] || fail "the handle names a socket of another process"
	expect "the peer's opening" "$(tell peer open "$again")" good
	expect_line program.log "another process has the name of this one's socket"
	# And once more, with nobody in the way: the handle of before the dump is good.
	: >program.log # CRIU asks for the size that it had
	kill -KILL "$pid" "$holder"
	wait_until 60 is_gone "$pid"
	! has_name "$handle" || wait_until 60 is_gone "$holder"
	must_restore image
	expect "the peer's opening" "$(tell peer open "$handle")" good
	expect "the handle" "$(tell program share)" "$handle"
}

test_an_exporter_goes_on() {
	local handle
	start_program peer
	start_program program
	handle=$(tell program share)
	must_dump "$pid" image --leave-running
	has_name "$handle" || fail "the socket has no name when the dump is over"
	expect "the peer's opening" "$(tell peer open "$handle")" good
	# A dump that fails, after the memory was released.
	inject program "cuMemUnmap=999@1"
	must_not_dump "$pid" failed
	inject program
	expect "the peer's opening" "$(tell peer open "$handle")" good
	expect "the contents" "$(tell program check)" good
	must_dump "$pid" second
	kill -KILL "$pid" 2>/dev/null || true
	must_restore second
	expect "the peer's opening" "$(tell peer open "$handle")" good
	expect "the contents" "$(tell program check)" good
}

test_an_exporter_that_cannot_hand_it_over() {
	local handle
	start_program peer
	start_program program
	handle=$(tell program share)
	inject program "cuMemExportToShareableHandle=999"
	must_not_dump "$pid" image
	expect_line image/dump.log "Error \(rekindle\): .*cuMemExportToShareableHandle failed"
	inject program
	expect "the contents" "$(tell program check)" good
	must_dump "$pid" image
	hold_name "$handle"
	must_restore image
	expect "the contents" "$(tell program check)" good
	expect "the peer's opening" "$(tell peer open "$(tell program share)")" good
}

# A peer that opens while the exporter has no socket waits for it.
test_a_peer_opens_during_a_dump() {
	local handle round peer
	start_program peer
	peer=$pid
	start_program program
	handle=$(tell program share)
	for round in {1..5}; do
		rm -f peer/answer
		dump "$pid" "image$round" --leave-running &
		wait_until 60 test -s "image$round/dump.log"
		echo "open $handle" >peer/go.new
		mv peer/go.new peer/go
		# Memory that somebody outside has open by then refuses it, and nothing else does.
		wait $! || expect_line "image$round/dump.log" \
			"Process $pid shares device memory with process $peer .*, which has it mapped and is not dumped with it"
		wait_until 90 test -e peer/answer
		expect "the peer's opening" "$(cat peer/answer)" good
		expect "the contents" "$(tell program check)" good
	done
}

run_tests "$@"
