#!/bin/bash
# SPDX-License-Identifier: MIT
# A process that was dumped before, or restored, is dumped again as a difference: what has not changed is neither copied nor
# written, but linked. Such an image is as complete as any other, whatever becomes of its parent.
. "$(dirname "$0")/harness.bash"

# Of a piece of 48 MiB the worker changes the first 16.
export REKINDLE_CHUNK_SIZE=2M

# phase_bytes FOLDER PHASE: 0 where there was none
phase_bytes() { python3 -c 'import json,sys; process=json.load(open(sys.argv[1]+"/stats-rekindle.json"))["processes"][0]
print(sum(phase["bytes"] for phase in process["phases"] if phase["phase"] == sys.argv[2]))' "$1" "$2"; }
# How much of the image the last dump into the folder has linked, and written
linked() { json "$1/stats-rekindle.json" linked_bytes; }
written() { echo $(($(json "$1/stats-rekindle.json" image_bytes) - $(linked "$1"))); }
# expect_difference FOLDER: some of it was linked, and less than half was written
expect_difference() {
	expect_mode "$1" offload
	[ "$(linked "$1")" -gt 0 ] || { tail -n 30 "$1/rekindled.log"; fail "nothing was linked"; }
	[ "$(written "$1")" -lt "$(linked "$1")" ] || fail "$(written "$1") bytes were written, $(linked "$1") linked"
	[ "$(phase_bytes "$1" copy_out)" -lt "$(linked "$1")" ] || fail "too much was copied"
}
expect_whole() {
	expect_mode "$1" offload
	expect "what was linked" "$(linked "$1")" 0
	expect "what was copied" "$(phase_bytes "$1" copy_out)" "$(json "$1/stats-rekindle.json" device_bytes)"
}
no_leftovers() { [ -z "$(find "$1" -name '*.tmp' -o -name '.rekindle-*')" ] || fail "$(find "$1")"; }

test_what_has_not_changed_is_linked() {
	local before bytes=$((64 << 20))
	start_worker worker agent --mib 64
	before=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	expect_whole image
	check_worker worker "$before"
	must_dump "$pid" image --leave-running
	expect "what was compared" "$(phase_bytes image compare)" $bytes
	expect "what was copied" "$(phase_bytes image copy_out)" 0
	expect "what was written" "$(written image)" 0
	expect "what was linked" "$(linked image)" $bytes
	expect "what is there of the older one" "$(find image -name 'rekindle-[0-9]*.img' | wc -l)" 1
	no_leftovers image
	check_worker worker "$before"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	REKINDLE_VERIFY_IMAGES=1 must_restore image
	check_worker worker "$before"
}

test_what_has_changed_is_written() {
	local before after
	start_worker worker agent --mib 96 --pieces 2
	must_dump "$pid" image
	must_restore image
	before=$(ask worker checksum)
	ask worker change
	after=$(ask worker checksum)
	[ "$before" != "$after" ] || fail "nothing has changed"
	must_dump "$pid" image
	expect_difference image
	[ "$(written image)" -gt 0 ] || fail "nothing was written"
	no_leftovers image
	REKINDLE_VERIFY_IMAGES=1 must_restore image
	check_worker worker "$after"
}

# Each of the one before it, of which nothing is left.
test_generation_after_generation() {
	local round before
	start_worker worker agent --mib 96 --pieces 2
	must_dump "$pid" image --leave-running
	for round in 1 2 3 4 5 6; do
		case $round in
		2) ask worker change ;;
		3) ask worker allocate 8 ;;
		4) ask worker free 1 ;;
		esac
		before=$(ask worker checksum)
		if [ $((round % 2)) = 0 ]; then
			must_dump "$pid" image --leave-running
		else
			must_dump "$pid" image
		fi
		expect_difference image
		expect "the images that are there" "$(find image -name 'rekindle-[0-9]*.img' | wc -l)" 1
		[ $((round % 2)) = 0 ] || must_restore image
		check_worker worker "$before"
	done
}

test_the_parent_is_in_another_folder() {
	local before
	start_worker worker agent --mib 96 --pieces 2
	must_dump "$pid" first
	must_restore first
	before=$(ask worker checksum)
	REKINDLE_PARENT=$work/first must_dump "$pid" second --leave-running
	expect_difference second
	ask worker change
	before=$(ask worker checksum)
	REKINDLE_PARENT=$work/second must_dump "$pid" third
	expect_difference third
	rm -rf first second
	REKINDLE_VERIFY_IMAGES=1 must_restore third
	check_worker worker "$before"
}

test_nobody_elses_image_is_a_parent() {
	local before
	start_worker one agent --mib 64
	must_dump "$pid" one.images --leave-running
	start_worker two agent --mib 64
	before=$(ask two checksum)
	REKINDLE_PARENT=$work/one.images must_dump "$pid" two.images
	expect_whole two.images
	must_restore two.images
	check_worker two "$before"
}

test_all_is_written_where_that_is_asked_for() {
	start_worker worker agent --mib 64
	must_dump "$pid" image --leave-running
	REKINDLE_PARENT=none must_dump "$pid" image --leave-running
	expect_whole image
	# Whoever names a folder that is not there has to be told so, and has a dump.
	REKINDLE_PARENT=$work/nowhere must_dump "$pid" other --leave-running
	expect_line other/dump.log "Warn .*nowhere .REKINDLE_PARENT. cannot be opened"
	expect_whole other
	mkdir bad
	REKINDLE_PARENT=first must_not_dump "$pid" bad
	expect_line bad/dump.log "REKINDLE_PARENT=first is not valid: set it to the absolute path of a folder"
}

test_images_without_a_checkpoint_are_no_parents() {
	start_worker worker agent --mib 64
	must_dump "$pid" first --leave-running
	rm first/rekindle-checkpoint.img
	REKINDLE_PARENT=$work/first must_dump "$pid" second --leave-running
	expect_whole second
	chmod 666 second/rekindle-pages-*
	REKINDLE_PARENT=$work/second must_dump "$pid" third --leave-running
	expect_whole third
	expect_line third/rekindled.log "belongs to another user, or others may write to it"
}

# Another file system has no links to this one.
test_where_nothing_can_be_linked() {
	local before elsewhere
	elsewhere=$(mktemp -d /tmp/rekindle-test-XXXXXX)
	if [ "$(stat -c %d "$elsewhere")" = "$(stat -c %d .)" ]; then
		mount -t tmpfs none "$elsewhere" || { rmdir "$elsewhere"; fail "there is no second file system"; }
	fi
	start_worker worker agent --mib 64
	must_dump "$pid" "$elsewhere/first" --leave-running
	before=$(ask worker checksum)
	REKINDLE_PARENT=$elsewhere/first must_dump "$pid" second
	umount "$elsewhere" 2>/dev/null || true
	rm -rf "$elsewhere"
	expect_whole second
	expect_line second/rekindled.log "all of its memory is written: .* cannot be linked: Invalid cross-device link"
	no_leftovers second
	must_restore second
	check_worker worker "$before"
}

test_a_difference_that_fails_leaves_its_parent() {
	local before
	start_worker worker agent --mib 96 --pieces 2
	must_dump "$pid" image
	must_restore image
	before=$(ask worker checksum)
	ask worker change
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessCheckpoint=999 must_not_dump "$pid" image
	no_leftovers image
	expect "the images that are there" "$(find image -name 'rekindle-[0-9]*.img' | wc -l)" 1
	check_worker worker "$(ask worker checksum)"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	REKINDLE_VERIFY_IMAGES=1 must_restore image
	check_worker worker "$before"
}

# Most of it is as it was: nothing is copied ahead. Most is not: all is, and then nothing is linked.
test_what_is_copied_while_the_process_runs() {
	local before
	export REKINDLE_COPY_WHILE_RUNNING=1
	start_worker worker agent --mib 96 --pieces 2
	must_dump "$pid" image --leave-running
	expect "what was copied while it ran" "$(phase_bytes image copy_ahead)" $((96 << 20))
	ask worker change
	before=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	expect "what was copied while it ran" "$(phase_bytes image copy_ahead)" 0
	expect_difference image
	check_worker worker "$before"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	REKINDLE_VERIFY_IMAGES=1 must_restore image
	check_worker worker "$before"
	ask worker free 1
	ask worker allocate 160
	before=$(ask worker checksum)
	must_dump "$pid" image
	[ "$(phase_bytes image copy_ahead)" -gt $((96 << 20)) ] || fail "hardly anything was copied while it ran"
	expect "what was linked" "$(linked image)" 0
	must_restore image
	check_worker worker "$before"
}

test_a_gpu_without_the_kernel() {
	local before
	start_worker worker agent --mib 64
	REKINDLE_SIMCUDA_FAIL=cuModuleLoadData=801 must_dump "$pid" image --leave-running
	must_dump "$pid" image --leave-running
	expect_whole image
	expect_line image/rekindled.log "its last image is no parent, and all is written: the image has no hashes"
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_FAIL=cuLaunchKernel=999 must_dump "$pid" image
	expect_whole image
	must_restore image
	check_worker worker "$before"
}

run_tests "$@"
