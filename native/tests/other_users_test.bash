#!/bin/bash
# SPDX-License-Identifier: MIT
# What other users of the machine can do to root's dumps and to a pool: see ../THREATS.md. User 65534 is the other one.
source "${REKINDLE_TEST_SOURCE:?}/tests/harness.bash"

as_other() { setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"; }

# start_pool_of_other: its socket is $REKINDLE_POOL_SOCKET
start_pool_of_other() {
	chmod 711 "$root" # the folders of all tests
	mkdir other
	chown 65534:65534 other
	export REKINDLE_POOL_SOCKET=$work/other/pool.sock
	as_other "$build/bin/rekindled" --log "$work/other/log" &
	wait_until 60 test -S "$REKINDLE_POOL_SOCKET"
}

# start_locking_user PID FOLDER: locks both for himself, as far as he may open them
start_locking_user() {
	as_other /usr/bin/python3 -c 'import fcntl, os, sys, time
def lock(name, descriptor):
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print(name, flush=True)
lock("pidfd", os.pidfd_open(int(sys.argv[1])))
for path in "/proc/%s" % sys.argv[1], sys.argv[2]:
    lock(path, os.open(path, os.O_RDONLY))
print("all", flush=True)
time.sleep(1000)' "$@" >locked &
	wait_until 60 grep -qx all locked
}

test_what_another_user_has_locked_is_passed_over() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	chmod 711 "$root" "$work"
	mkdir -m 755 image
	start_locking_user "$pid" "$work/image"
	must_dump "$pid" image --leave-running
	expect_line image/dump.log "Warn .*another user holds a lock on the folder of images, which is passed over"
	check_worker worker "$checksum"
	"$build/bin/rekindled" --revive "$pid" --images image 2>revive.log || { cat revive.log; fail "--revive was kept from it"; }
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	must_restore image
	expect "the checksum" "$(ask worker checksum)" "$checksum"
}

test_a_settings_file_of_another_user_is_not_obeyed() {
	start_worker worker agent
	local checksum
	checksum=$(ask worker checksum)
	chown 65534 "$REKINDLE_CONFIGURATION"
	must_not_dump "$pid" image
	expect_line image/dump.log "the settings file .* belongs to user 65534.*chown"
	chown 0 "$REKINDLE_CONFIGURATION"
	chmod 666 "$REKINDLE_CONFIGURATION"
	must_not_dump "$pid" image
	expect_line image/dump.log "may be written by others .*chmod go-w"
	check_worker worker "$checksum"
	chmod 644 "$REKINDLE_CONFIGURATION"
	must_dump "$pid" image
}

test_a_program_that_others_may_write_is_not_started() {
	start_worker worker agent
	local checksum
	checksum=$(ask worker checksum)
	cp "$build/bin/rekindled" rekindled
	chmod 777 rekindled
	REKINDLE_POOL_PROGRAM=$work/rekindled must_not_dump "$pid" image
	expect_line image/dump.log "REKINDLE_POOL_PROGRAM=.* may be written by others .*chmod go-w"
	check_worker worker "$checksum"
}

test_device_memory_is_not_handed_to_a_pool_of_another_user() {
	start_worker worker agent
	local checksum own=$REKINDLE_POOL_SOCKET
	checksum=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	start_pool_of_other
	must_not_dump "$pid" image2
	expect_line image2/dump.log "The pool at .* belongs to another user"
	check_worker worker "$checksum"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_not_restore image
	expect_line image/restore.log "The pool at .* belongs to another user"
	REKINDLE_POOL_SOCKET=$own must_restore image
	expect "the checksum" "$(ask worker checksum)" "$checksum"
}

# Whose memory it copies its own user may not read from it, as from a program that holds secrets.
test_only_root_may_look_into_a_pool() {
	start_pool_of_other
	expect "who may look" "$(stat -c %u "/proc/$(pool_pid)/maps")" 0
	as_other cat "/proc/$(pool_pid)/environ" >/dev/null 2>&1 && fail "its user reads it"
	return 0
}

test_a_pool_leaves_what_is_no_socket_where_it_is() {
	echo mine >"$REKINDLE_POOL_SOCKET"
	! "$build/bin/rekindled" >out 2>&1 || fail "the pool started"
	expect_line out "is no socket, and is left alone"
	expect "the file" "$(cat "$REKINDLE_POOL_SOCKET")" mine
}

run_tests "$@"
