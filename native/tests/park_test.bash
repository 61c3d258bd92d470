#!/bin/bash
# SPDX-License-Identifier: MIT
# Device memory stays in a pool that lasts when its process was dumped (REKINDLE_PARK=device), and the next restore takes it
# from there; or it goes to pinned memory of the host, from which restores copy it. The images are as whole as without it,
# and a restore reads them where it is gone.
. "$(dirname "$0")/harness.bash"
. "$(dirname "$0")/parked.bash"

export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1

# All that there is of it: the older one of a folder stays there until that of the next dump has come from the device.
is_pinned() {
	local images
	images=$(pool_says images)
	grep -q "/$1 state=2 taken=0 parked=1 tier=2 bytes=$bytes$" <<<"$images" && ! grep -q "/$1 .*tier=1 " <<<"$images"
}

test_a_restore_takes_what_a_dump_has_left() {
	local before copied
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	expect_mode image offload
	expect "what stays" "$(resident image)" $bytes
	expect_line image/dump.log "$bytes bytes of device memory stay in the pool"
	wait_until 60 is_parked image
	expect "what the pool holds" "$(pool_says held)" $bytes
	copied=$(pool_says bytes_to_device)
	must_restore image
	expect "what was there" "$(resident image)" $bytes
	expect "what was copied" "$(pool_says bytes_to_device)" "$copied"
	expect "images found in device memory" "$(pool_says images_resident)" 1
	check_worker worker "$before"
	is_not_parked image || fail "it is still parked"
}

test_the_second_restore_reads_the_images() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	must_restore image
	expect "what was there" "$(resident image)" $bytes
	check_worker worker "$before"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	expect "what was there" "$(resident image)" 0
	expect "the checksum of worker" "$(ask worker checksum)" "$before"
}

test_generation_after_generation() {
	local round before
	start_worker worker agent
	for round in 1 2 3; do
		before=$(ask worker checksum)
		must_dump "$pid" image
		expect "what stays in round $round" "$(resident image)" $bytes
		must_restore image
		expect "what was there in round $round" "$(resident image)" $bytes
		check_worker worker "$before"
	done
}

# There is room for two of them.
test_who_needs_the_room_gets_it() {
	local one two three
	export REKINDLE_SIMCUDA_USED=65486M
	start_worker three agent --seed 7
	three=$(ask three checksum)
	REKINDLE_PARK=file must_dump "$pid" three.images
	start_worker one agent
	one=$(ask one checksum)
	must_dump "$pid" one.images
	start_worker two agent --seed 5
	two=$(ask two checksum)
	must_dump "$pid" two.images
	wait_until 60 is_parked one.images
	wait_until 60 is_parked two.images
	# What was asked for last stays, and nothing is read for it.
	client prefetch one.images >/dev/null
	expect "what was copied" "$(pool_says bytes_to_device)" 0
	must_restore three.images
	check_worker three "$three"
	is_parked one.images || fail "the one that was used last is gone"
	is_not_parked two.images || fail "there was no room for three"
	expect_line three.images/rekindled.log "The GPU is needed: 24 MiB of .*/two.images that were parked are dropped"
	# Nor is what a client has read ahead worth more than what somebody wants now.
	client prefetch two.images >/dev/null
	client prefetch three.images >/dev/null
	is_not_parked one.images || fail "there was no room for two more"
	must_restore two.images
	expect "what was there" "$(resident two.images)" $bytes
	check_worker two "$two"
	must_restore one.images
	expect "what was there" "$(resident one.images)" 0
	check_worker one "$one"
}

test_no_more_than_the_budget() {
	local one
	export REKINDLE_PARK_BUDGET=40M
	start_worker one agent
	must_dump "$pid" one.images
	start_worker two agent --seed 5
	must_dump "$pid" two.images
	wait_until 60 is_parked two.images
	is_not_parked one.images || fail "48 MiB are parked"
	start_worker three agent --mib 48
	must_dump "$pid" three.images
	expect "what stays" "$(resident three.images)" 0
	expect_line three.images/dump.log "Warn .*no device memory is parked: its 48 MiB are more than REKINDLE_PARK_BUDGET"
	is_parked two.images || fail "it was dropped for nothing"
}

test_pinned_memory() {
	local before
	export REKINDLE_PARK=pinned REKINDLE_PINNED_BUDGET=30M
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	expect "what stays" "$(resident image)" $bytes
	wait_until 60 is_pinned image
	expect "what the pool holds" "$(pool_says held)" 0
	expect "what it has pinned" "$(pool_says pinned)" $bytes
	must_restore image
	expect "what was there" "$(resident image)" $bytes
	check_worker worker "$before"
	# It is the older one that makes room for that of the next dump.
	before=$(ask worker checksum)
	must_dump "$pid" image
	wait_until 60 is_pinned image
	expect "what it has pinned" "$(pool_says pinned)" $bytes
	must_restore image
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	expect "what was there for the second time" "$(resident image)" $bytes
	expect "images that came from pinned memory" "$(pool_says images_pinned)" 3
	check_worker worker "$before"
	client prefetch-pinned image >client.out || fail "$(cat client.out)"
	rm -rf image
	wait_until 60 is_not_parked image
	expect "what it has pinned" "$(pool_says pinned)" 0
}

# There is room for two of them on the device, and for one in pinned memory.
test_who_needs_the_room_sends_others_to_pinned_memory() {
	local one three
	export REKINDLE_SIMCUDA_USED=65486M REKINDLE_PINNED_BUDGET=30M
	start_worker three agent --seed 7
	three=$(ask three checksum)
	REKINDLE_PARK=file must_dump "$pid" three.images
	start_worker one agent
	one=$(ask one checksum)
	must_dump "$pid" one.images
	wait_until 60 is_parked one.images
	start_worker two agent --seed 5
	must_dump "$pid" two.images
	wait_until 60 is_parked two.images
	must_restore three.images
	check_worker three "$three"
	is_pinned one.images || fail "it is the one that was used before the other"
	is_parked two.images || fail "there was room for two"
	expect_line three.images/rekindled.log "The GPU is needed: 24 MiB of .*/one.images are in pinned memory now"
	expect "what made room so" "$(pool_says moved_to_pinned)/$(pool_says given_up)" 1/0
	# That of the other one, which needs the pinned memory too, is in the files only.
	must_restore one.images
	expect "what was there" "$(resident one.images)" $bytes
	expect "images that came from pinned memory" "$(pool_says images_pinned)" 1
	check_worker one "$one"
}

test_an_image_that_is_replaced_or_removed_is_dropped() {
	local before
	start_worker one agent
	must_dump "$pid" image
	wait_until 60 is_parked image
	start_worker two agent --seed 5
	before=$(ask two checksum)
	REKINDLE_PARK=file must_dump "$pid" image
	expect "what stays" "$(resident image)" 0
	wait_until 60 is_not_parked image
	must_restore image
	expect "what was there" "$(resident image)" 0
	check_worker two "$before"
	rm -rf image
	must_dump "$pid" image
	wait_until 60 is_parked image
	rm -rf image
	wait_until 60 is_not_parked image
	wait_until 60 holds_nothing
}

test_a_pool_that_is_killed_leaves_the_images() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	wait_until 60 is_parked image
	kill -KILL "$(pool_pid)"
	wait_until 60 no_pool
	must_restore image
	expect "what was there" "$(resident image)" 0
	check_worker worker "$before"
}

# Whatever lies in device memory, a checkpoint that is not whole is none.
test_a_cut_image_is_refused() {
	start_worker worker agent
	must_dump "$pid" image
	wait_until 60 is_parked image
	truncate -s -4096 image/rekindle-pages-*.img
	must_not_restore image
	expect_line image/restore.log "Error .*rekindle-pages-"
}

test_a_tree() {
	local before child
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	before=$(ask worker checksum) child=$(ask worker.1 checksum)
	must_dump "$pid" image
	expect "what stays" "$(resident image)" $((2 * bytes))
	must_restore image
	expect "what was there" "$(resident image)" $((2 * bytes))
	check_worker worker "$before"
	check_worker worker.1 "$child"
}

# It has its memory, and writes to it.
test_what_goes_on_running_is_not_parked() {
	local before
	start_worker worker agent
	must_dump "$pid" image --leave-running
	before=$(ask worker checksum)
	wait_until 60 is_not_parked image
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	expect "what was there" "$(resident image)" 0
	check_worker worker "$before"
}

test_without_a_pool_that_lasts() {
	start_worker worker agent
	CRIU_CUDA_CONTEXT_POOL=0 must_dump "$pid" image
	expect "what stays" "$(resident image)" 0
	expect_line image/dump.log "Warn .*no device memory is parked: the pool of this dump ends with it: start rekindled"
	must_restore image
}

test_c_api() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	REKINDLE_PARK=file client --park 2 checkpoint "$pid" image >client.out || fail "$(cat client.out)"
	expect "what stays" "$(sed -n 's/^resident_bytes=//p' client.out)" $bytes
	client restore image >client.out || fail "$(cat client.out)"
	expect "what was there" "$(sed -n 's/^resident_bytes=//p' client.out)" $bytes
	check_worker worker "$before"
	client --park 1 checkpoint "$pid" image >client.out || fail "$(cat client.out)"
	expect "what stays" "$(sed -n 's/^resident_bytes=//p' client.out)" 0
	client restore image >client.out
	! client --park 2 --flags 1 checkpoint "$pid" image >client.out || fail "it went on running"
	expect_line client.out "A tree that is left running or stopped keeps its device memory: leave out park"
	! client --park 5 checkpoint "$pid" image >client.out || fail "there is no such way"
	expect_line client.out "park is 5"
	! REKINDLE_PARK=disk client checkpoint "$pid" image >client.out || fail "there is no such way"
	expect_line client.out "REKINDLE_PARK=disk is not valid: set it to file, device, pinned or ephemeral"
	ask worker advance >/dev/null
}

run_tests "$@"
