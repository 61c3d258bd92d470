#!/bin/bash
# SPDX-License-Identifier: MIT
# A tree that does not use CUDA: the plugin changes nothing for it. And what the plugin says about bad settings.
. "$(dirname "$0")/harness.bash"

start_sleeper() {
	setsid sleep infinity </dev/null >/dev/null 2>&1 &
	sleeper=$!
	disown
	wait_until 60 grep -q '^sleep' "/proc/$sleeper/comm"
}

# Names of CRIU's image files, without what only names a file by its id.
image_files() { (cd "$1" && find . -name '*.img' ! -name rekindle-checkpoint.img | sed 's/-[0-9]*\.img//' | sort); }

test_is_dumped_and_restored_as_without_the_plugin() {
	start_sleeper
	dump "$sleeper" with
	wait_until 60 is_gone "$sleeper"
	must_restore with
	is_running "$sleeper" || fail "the restored process does not run"
	mkdir without
	"$criu" dump -t "$sleeper" -D without -L "$(mktemp -d -p "$work")" -v4 -o dump.log
	diff <(image_files with) <(image_files without) || fail "the plugin changed which images there are"
	! strings with/inventory.img | grep -q cuda_plugin || fail "the inventory names the plugin"
	[ ! -e with/stats-rekindle.json ] || fail "there are statistics of the GPU"
	[ ! -e with/rekindled.log ] || fail "a pool was started"
	expect "pools that run" "$(pool_pid)" ""
	# And it is restored where the plugin is not installed.
	wait_until 60 is_gone "$sleeper"
	"$criu" restore -d -D with -L "$(mktemp -d -p "$work")" -v4 -o restore.log
	is_running "$sleeper" || fail "the restored process does not run"
}

test_stays_as_it_is_where_nothing_of_rekindle_works() {
	start_sleeper
	export REKINDLE_POOL_PROGRAM=/nonexistent/rekindled REKINDLE_CUDA_DRIVER=/nonexistent/libcuda.so.1
	must_dump "$sleeper" image --leave-running
	kill -KILL "$sleeper"
	wait_until 60 is_gone "$sleeper"
	must_restore image
	is_running "$sleeper" || fail "the restored process does not run"
}

test_image_without_a_list_of_plugins_needs_no_pool() {
	start_sleeper
	must_dump "$sleeper" image
	forget_plugins image
	export REKINDLE_POOL_PROGRAM=/nonexistent/rekindled REKINDLE_CUDA_DRIVER=/nonexistent/libcuda.so.1
	must_restore image
	is_running "$sleeper" || fail "the restored process does not run"
}

test_pre_dump_is_left_alone() {
	"$criu" check --feature mem_dirty_track >/dev/null 2>&1 || { note "skipped: this kernel does not track dirty pages"; return; }
	start_sleeper
	mkdir image
	"$criu" pre-dump -t "$sleeper" -D image -L "$plugin" -v4 -o pre-dump.log
	is_running "$sleeper" || fail "the process does not run after the pre-dump"
	expect "pools that run" "$(pool_pid)" ""
}

test_bad_settings_are_named() {
	local setting
	start_sleeper
	for setting in CRIU_CUDA_CONTEXT_POOL=2 CRIU_CUDA_PARALLEL_RESTORE=yes CRIU_CUDA_STREAMS=65 REKINDLE_CHUNK_SIZE=3M \
		REKINDLE_RING_SIZE=1M REKINDLE_CHECKSUMS=on REKINDLE_READ_AHEAD=7 REKINDLE_POOL_IDLE=-1 REKINDLE_TIMEOUT=0 \
		REKINDLE_POOL_SOCKET= REKINDLE_NONSENSE=1; do
		rm -rf image
		(
			export "$setting"
			must_not_dump "$sleeper" image
		)
		expect_line image/dump.log "Error \(rekindle\): cuda_plugin: ${setting%%=*}"
		is_running "$sleeper" || fail "the process ended"
	done
	printf '[rekindle]\nCRIU_CUDA_STREAMS = none\n' >"$REKINDLE_CONFIGURATION"
	must_not_dump "$sleeper" image
	expect_line image/dump.log "CRIU_CUDA_STREAMS=none \($REKINDLE_CONFIGURATION\) is not valid"
	(
		export CRIU_CUDA_STREAMS=1 # wins, but the file stays wrong
		must_not_dump "$sleeper" image
	)
	echo "[rekindle]" >"$REKINDLE_CONFIGURATION"
	must_dump "$sleeper" image
}

run_tests "$@"
