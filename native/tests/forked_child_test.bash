#!/bin/bash
# SPDX-License-Identifier: MIT
# A child that was forked from a process with CUDA has its devices open and mapped, and cannot use them: it comes back with
# its own memory. The simulated driver has a device that CRIU can dump as little as a real one's.
. "$(dirname "$0")/harness.bash"

# A block device without anything behind it, under a name of the driver's: it can be opened and mapped.
make_device() {
	mkdir nodes
	mount -t tmpfs none nodes
	mknod nodes/nvidia-simulated b 7 255 && : <nodes/nvidia-simulated 2>/dev/null ||
		{ echo "skipped: this machine has no loop devices"; exit 0; }
	export REKINDLE_SIMCUDA_DEVICE_FILE=$work/nodes/nvidia-simulated
}

has_device() { grep -q nvidia-simulated "/proc/$1/maps" && readlink "/proc/$1"/fd/* 2>/dev/null | grep -q nvidia-simulated; }
has_no_device() { ! grep -q nvidia-simulated "/proc/$1/maps" && ! readlink "/proc/$1"/fd/* 2>/dev/null | grep -q nvidia-simulated; }

# fork_child NAME NUMBER: sets $child
fork_child() {
	ask "$1" fork "$2"
	wait_until 60 test -s "$work/$1.$2"
	ask "$1.$2" wait-ready
	child=$(ask "$1.$2" pid)
	has_device "$child" || fail "the child has not inherited the device"
}

test_children_forked_before_and_after_a_restore() {
	local kind before first second mode
	make_device
	for kind in agent plain; do
		mode=$([ $kind = agent ] && echo offload || echo native)
		start_worker $kind $kind
		before=$(ask $kind checksum)
		has_device "$pid" || fail "the worker has no device"
		fork_child $kind 1
		first=$(ask $kind.1 checksum)
		must_dump "$pid" $kind.image1
		expect_line $kind.image1/dump.log "process $child has the NVIDIA devices of the process that forked it"
		expect "the mode" "$(json $kind.image1/stats-rekindle.json processes.0.mode)" $mode
		must_restore $kind.image1
		check_worker $kind "$before"
		check_worker $kind.1 "$first"
		has_device "$pid" || fail "the restored worker has no device"
		has_no_device "$child" || fail "the restored child has a device"
		# The second generation: one child from before, and one that was forked since.
		fork_child $kind 2
		second=$(ask $kind.2 checksum)
		must_dump "$pid" $kind.image2 --leave-running
		check_worker $kind "$before"
		check_worker $kind.2 "$second"
		must_dump "$pid" $kind.image3
		must_restore $kind.image3
		check_worker $kind "$before"
		check_worker $kind.1 "$first"
		check_worker $kind.2 "$second"
		# They end as programs do.
		ask $kind.2 exit
		wait_until 60 ended_well "$child"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
	done
}
# A zombie that its parent has not waited for: exit code 0 in the last field of stat.
ended_well() { [ "$(awk '{print $3, $NF}' "/proc/$1/stat")" = "Z 0" ]; }

# Devices without CUDA are somebody's who uses them otherwise, and are left to CRIU.
test_devices_that_are_used_otherwise_are_not_taken() {
	make_device
	bash -c 'exec 7<>"$1"; cd /; exec setsid sleep infinity' bash "$REKINDLE_SIMCUDA_DEVICE_FILE" </dev/null >/dev/null 2>&1 &
	pid=$!
	disown
	wait_until 60 grep -q '^sleep' "/proc/$pid/comm"
	must_not_dump "$pid" image
	expect_line image/dump.log "process $pid has NVIDIA devices open or mapped, and no CUDA that could be saved"
	is_running "$pid" || fail "the process ended"
}

run_tests "$@"
