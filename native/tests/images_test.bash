#!/bin/bash
# SPDX-License-Identifier: MIT
# What is on the disk: an older checkpoint in the folder stays restorable whatever happens to a dump over it, one run at a
# time works in a folder, and a restore refuses images that are not what the dump wrote.
. "$(dirname "$0")/harness.bash"

# An older checkpoint of a worker that goes on, and then changes. Sets $older and $now, the checksums.
make_older() {
	start_worker worker agent
	older=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	ask worker change
	now=$(ask worker checksum)
	[ "$older" != "$now" ] || fail "the worker did not change"
	list_images image >before
	cp image/dump.log older.log
}

# What a checkpoint consists of; logs and statistics are no part of it.
list_images() { (cd "$1" && find . -name '*.img' -type f -printf '%P %s %i\n' | sort); }

# The worker runs on with its contents, the folder is as before, and the older checkpoint restores.
after_failed_dump() {
	check_worker worker "$now"
	wait_until 60 no_pool
	diff before <(list_images image) || fail "the folder is not as it was"
	[ ! -e image/.rekindle-new ] && [ ! -e image/.rekindle-older ] || fail "something was left: $(ls -A image)"
	restore_older
}

restore_older() {
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$older"
}

test_a_new_checkpoint_replaces_the_older() {
	make_older
	must_dump "$pid" image
	[ -z "$(comm -12 <(cut -d' ' -f1,3 before) <(list_images image | cut -d' ' -f1,3))" ] || fail "older files were left"
	expect "GPU images" "$(find image -name 'rekindle-pages-*' | wc -l)" 1
	[ ! -e image/.rekindle-new ] && [ ! -e image/.rekindle-older ] || fail "something was left: $(ls -A image)"
	must_restore image
	check_worker worker "$now"
}

test_the_driver_fails_in_a_dump_over_an_older_checkpoint() {
	make_older
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessCheckpoint=999 must_not_dump "$pid" image --leave-running
	after_failed_dump
}

# hold_a_dump RULE [ARGUMENT...]: in the background, sets $criu_pid; what the rule holds goes on at the next inject pool
hold_a_dump() {
	inject pool "$1"
	shift
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules CRIU_CUDA_STREAMS=1 REKINDLE_CHUNK_SIZE=2M "$criu" dump -t "$pid" -D image \
		-L "$plugin" -v4 -o dump.log "$@" >/dev/null 2>&1 &
	criu_pid=$!
}
# The third of twelve copies: something is written by then.
in_the_copy=cuMemcpyDtoHAsync=held@3

# CRIU has written nearly everything then.
test_criu_fails_late_in_a_dump_over_an_older_checkpoint() {
	local criu_pid
	make_older
	hold_a_dump $in_the_copy
	wait_until 90 is_held pool
	mkdir image/.rekindle-new/inventory.img
	inject pool
	! wait $criu_pid || fail "the dump succeeded"
	expect_line image/dump.log "Unable to open inventory.img"
	after_failed_dump
}

# Scripts of the user's, which may carry the checkpoint away and end the process, find all of it in its place.
test_scripts_find_the_checkpoint_sealed_and_in_its_place() {
	make_older
	cat >look.sh <<-'END'
		#!/bin/bash
		[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
		cd "$(dirname "$0")" && cp -a image carried && cp -aL "$CRTOOLS_IMAGE_DIR" carried-by-name
		exit 3
	END
	chmod +x look.sh
	must_not_dump "$pid" image --action-script "$work/look.sh"
	check_worker worker "$now"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	rm -rf carried/.rekindle-*
	for folder in carried carried-by-name image; do
		must_restore "$folder"
		check_worker worker "$now"
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
	done
}

# A dump that waits in the copy, or at its end, and is killed there.
dump_and_kill() { # copying|at_the_end criu|pool|both|all
	local criu_pid victims rule=
	[ $1 = at_the_end ] || rule=$in_the_copy
	hold_a_dump "$rule" --action-script "$work/wait.sh"
	wait_until 90 "$1"
	case $2 in
	criu) victims=$criu_pid ;;
	pool) victims=$(pool_pid) ;;
	both) victims="$criu_pid $(pool_pid)" ;;
	all) victims="$criu_pid $(pool_pid) $(guardian)" ;;
	esac
	kill -KILL $victims
	touch go-on
	inject pool
	wait $criu_pid 2>/dev/null || true
}
copying() { is_held pool; }
at_the_end() { [ -e waiting ]; }
guardian() { processes_named rekindle-guard; }
no_guardian() { [ -z "$(guardian)" ]; }

write_wait_script() { # ACTION
	cat >wait.sh <<-END
		#!/bin/bash
		[ "\$CRTOOLS_SCRIPT_ACTION" = $1 ] || exit 0
		cd "\$(dirname "\$0")"
		touch waiting
		for i in {1..2000}; do [ -e go-on ] && exit 0; sleep 0.05; done
	END
	chmod +x wait.sh
}

test_criu_is_killed_in_the_copy() {
	make_older
	write_wait_script post-dump
	dump_and_kill copying criu
	after_failed_dump
}

# Everything is in place then, and only CRIU's word is missing.
test_criu_is_killed_at_the_end() {
	make_older
	write_wait_script post-dump
	dump_and_kill at_the_end criu
	after_failed_dump
}

# The image of a dump that failed stays as long as it is the only copy of the process's memory, and no longer.
test_revive_beside_an_older_checkpoint() {
	make_older
	write_wait_script post-dump
	(
		export REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999
		dump_and_kill at_the_end criu
	)
	wait_until 180 no_pool
	! diff before <(list_images image) >/dev/null || fail "the only copy of the memory is gone"
	# shellcheck disable=SC2046 # words of a command
	"$build/bin/"$(grep -ao "rekindled --revive .*" image/rekindled.log | tail -n1) 2>revive.log || { cat revive.log; fail "it was not brought back"; }
	after_failed_dump
}

test_the_pool_is_killed_in_the_copy() {
	make_older
	write_wait_script post-dump
	dump_and_kill copying pool
	after_failed_dump
}

# The guardian puts the folder in order.
test_criu_and_pool_are_killed() {
	local where
	for where in copying at_the_end; do
		rm -rf image worker go-on waiting
		make_older
		write_wait_script post-dump
		dump_and_kill $where both
		wait_until 180 no_guardian
		after_failed_dump
		kill -KILL "$pid"
		wait_until 60 is_gone "$pid"
	done
}

# The pool is gone when its process should get its memory back, and no other one can be started: the guardian does that
# when criu has said success, from the checkpoint that took the place of the older one, and leaves that as it is.
test_the_guardian_leaves_a_checkpoint_that_succeeded() {
	make_older
	mkdir -p installed/bin installed/lib/criu
	cp "$build/bin/rekindled" "$build/bin/rekindle-seal" installed/bin/
	cp "$build/lib/criu/cuda_plugin.so" installed/lib/criu/
	plugin=$work/installed/lib/criu
	cat >end-pool.sh <<-'END'
		#!/bin/bash
		[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
		cd "$(dirname "$0")"
		rm installed/bin/rekindled
		for process in /proc/[0-9]*; do
			[ "$(cat "$process/comm" 2>/dev/null)" != rekindled ] || kill -KILL "${process#/proc/}"
		done
	END
	chmod +x end-pool.sh
	must_dump "$pid" image --leave-running --action-script "$work/end-pool.sh"
	expect_line image/dump.log "Error \(rekindle\): .*process $pid could not get its GPU back"
	wait_until 180 no_guardian
	check_worker worker "$now"
	[ ! -e image/.rekindle-new ] && [ ! -e image/.rekindle-older ] || fail "something was left: $(ls -A image)"
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	plugin=$build/lib/criu
	must_restore image
	check_worker worker "$now"
}

# Nobody is left to put anything in order: what restores the older checkpoint does.
test_all_are_killed_in_the_copy() {
	make_older
	write_wait_script post-dump
	dump_and_kill copying all
	diff before <(list_images image | grep -v '^\.rekindle-new/') || fail "the older checkpoint was touched"
	restore_older
	# And the next dump clears what was left.
	must_dump "$pid" image
	[ ! -e image/.rekindle-new ] || fail "the hidden folder was left"
	must_restore image
	check_worker worker "$older"
}

test_all_are_killed_at_the_end() {
	make_older
	write_wait_script post-dump
	dump_and_kill at_the_end all
	wait_until 60 no_pool # whose lock of the folder goes with them
	kill -KILL "$pid"
	wait_until 60 is_gone "$pid"
	# CRIU has read the newer tree before the plugin puts the older one back.
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): .*restore it again"
	diff before <(list_images image) || fail "the folder is not as it was"
	must_restore image
	check_worker worker "$older"
}

test_a_tree_without_cuda_is_as_safe() {
	# What is deleted and open and larger than this travels in no image.
	(
		exec 3>large
		head -c 65536 /dev/urandom >&3
		rm large
		exec setsid sleep infinity </dev/null >/dev/null 2>&1
	) &
	pid=$!
	disown
	wait_until 60 grep -q '^sleep' "/proc/$pid/comm"
	must_dump "$pid" image --leave-running
	list_images image >before
	must_not_dump "$pid" image --ghost-limit 32K
	expect_line image/dump.log "Can't dump ghost file"
	is_running "$pid" || fail "the process ended"
	diff before <(list_images image) || fail "the folder is not as it was"
	must_dump "$pid" image
	wait_until 60 is_gone "$pid"
	must_restore image
	is_running "$pid" || fail "it does not run"
}

# An installation of its own, whose rekindle-seal does that instead.
install_with_seal() { # SCRIPT
	mkdir -p installed/bin installed/lib/criu
	cp "$build/bin/rekindled" installed/bin/
	cp "$build/lib/criu/cuda_plugin.so" installed/lib/criu/
	printf '#!/bin/bash\n%s\n' "$1" >installed/bin/rekindle-seal
	chmod +x installed/bin/rekindle-seal
	plugin=$work/installed/lib/criu
}

test_the_last_step_is_killed_or_fails() {
	local script
	make_older
	for script in 'kill -KILL $$' 'exit 1' 'exec /nonexistent'; do
		install_with_seal "[ \"\$CRTOOLS_SCRIPT_ACTION\" != post-dump ] || { python3 -c 'import os,mmap
m = mmap.mmap(os.open(\"/proc/%d/fd/%s\" % (int(os.environ[\"CRIU\"]), os.environ[\"REKINDLE_SEAL_ORDER\"]), os.O_RDWR), 36)
m[32] = 1'; $script; }"
		sed -i '2i CRIU=$PPID; export CRIU' installed/bin/rekindle-seal
		must_not_dump "$pid" image
		expect_line image/dump.log "Error \(rekindle\): .*rekindle-seal, which flushes the checkpoint to the disk, was ended"
		check_worker worker "$now"
		wait_until 60 no_pool
		diff before <(list_images image) || fail "the folder is not as it was"
	done
	restore_older
}

# A CRIU that runs no scripts of plugins goes on to end the process: the checkpoint must be there.
test_the_last_step_is_not_run_at_all() {
	make_older
	install_with_seal 'exit 0'
	must_dump "$pid" image
	expect_line image/dump.log "Warn .*CRIU did not run rekindle-seal"
	[ -e image/rekindle-checkpoint.img ] || fail "there is no manifest"
	[ ! -e image/.rekindle-new ] || fail "something was left: $(ls -A image)"
	must_restore image
	check_worker worker "$now"
}

# Of one that the disk does not give back as it was written nobody says that it is good; as CRIU ends the process, it stays.
test_the_last_step_is_not_run_and_the_disk_is_bad() {
	make_older
	install_with_seal "[ \"\$CRTOOLS_SCRIPT_ACTION\" != post-dump ] || for f in \"\$CRTOOLS_IMAGE_DIR\"/rekindle-pages-*; do printf X | dd of=\"\$f\" bs=1 seek=1000 conv=notrunc; done"
	dump "$pid" image || true
	expect_line image/dump.log "Error \(rekindle\): .*is damaged.*the images stay where CRIU wrote them"
	[ -e image/.rekindle-new/inventory.img ] || fail "they did not stay: $(ls -A image)"
	compgen -G 'image/.rekindle-new/rekindle-pages-*' >/dev/null || fail "the GPU image did not stay"
	expect "succeeded" "$(json image/stats-rekindle.json succeeded)" false
	expect_line image/stats-rekindle.json "the images stay where CRIU wrote them"
	diff before <(list_images image | grep -v '^\.rekindle-new/') || fail "the older checkpoint was touched"
}

# ---- one run at a time ----

test_two_dumps_into_one_folder() {
	local first second pids=() criu_pid failed=0
	start_worker first agent
	pids+=("$pid")
	start_worker second agent
	pids+=("$pid")
	first=$(ask first checksum) second=$(ask second checksum)
	mkdir image logs
	write_wait_script post-dump
	"$criu" dump -t "${pids[0]}" -D image -L "$plugin" -v4 -o dump.log --action-script "$work/wait.sh" >/dev/null 2>&1 &
	criu_pid=$!
	wait_until 90 at_the_end
	"$criu" dump -t "${pids[1]}" -D image -W logs -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 || failed=1
	expect "the second dump" $failed 1
	expect_line logs/dump.log "Error \(rekindle\): .*process $criu_pid \(criu\) is at work in this folder"
	check_worker second "$second"
	touch go-on
	wait $criu_pid || fail "the first dump failed: $(show_log image/dump.log)"
	pid=${pids[0]}
	must_restore image
	check_worker first "$first"
}

test_a_dump_into_a_folder_that_is_being_restored() {
	local criu_pid checksum other
	start_worker worker agent
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	start_worker other agent
	other=$(ask other checksum)
	mkdir logs
	write_wait_script post-restore
	"$criu" restore -d -D image -L "$plugin" -v4 -o restore.log --action-script "$work/wait.sh" >/dev/null 2>&1 &
	criu_pid=$!
	wait_until 60 test -e waiting
	! "$criu" dump -t "$pid" -D image -W logs -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 || fail "the dump succeeded"
	touch go-on
	expect_line logs/dump.log "Error \(rekindle\): .*process $criu_pid \(criu\) is at work in this folder"
	check_worker other "$other"
	wait $criu_pid
	check_worker worker "$checksum"
	# It is over with the restore, not with the end of what was restored.
	must_dump "$pid" image
}

test_the_pool_holds_the_folder_until_it_has_finished() {
	local criu_pid
	make_older
	hold_a_dump $in_the_copy
	wait_until 90 copying
	kill -STOP "$(pool_pid)"
	inject pool
	kill -KILL $criu_pid
	wait $criu_pid 2>/dev/null || true
	mkdir logs
	! "$criu" dump -t "$pid" -D image -W logs -L "$plugin" -v4 -o dump.log >/dev/null 2>&1 || fail "the dump succeeded"
	expect_line logs/dump.log "Error \(rekindle\): .*whose criu has ended"
	kill -CONT "$(pool_pid)"
	after_failed_dump
}

# ---- the manifest ----

damage() { # FILE BYTE
	python3 -c 'import sys
f=open(sys.argv[1],"r+b"); f.seek(int(sys.argv[2])); b=f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b^64]))' "$1" "$2"
}

refused() { # FILE WHAT
	must_not_restore image
	expect_line image/restore.log "Error \(rekindle\): cuda_plugin: $1.* $2"
	[[ $(json image/stats-rekindle.json failure) = "$1"* ]] || fail "the statistics do not say why"
	expect "workers" "$(processes_named rekindle-worker)" ""
	expect "pools" "$(pool_pid)" ""
}

test_missing_and_cut_files_are_refused_before_anything_starts() {
	local file checksum size
	start_worker worker agent --children 1
	ask worker.1 wait-ready
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	cp -a image kept
	for file in image/{files,mm-*,pages-*,fdinfo-*,pagemap-*,rekindle-*}.img; do
		[ "$file" != image/rekindle-checkpoint.img ] || continue
		file=$(basename "$file")
		size=$(stat -c %s "image/$file")
		[ "$size" = 0 ] || {
			truncate -s $((size - 1)) "image/$file"
			refused "$file" "is truncated"
		}
		rm "image/$file"
		refused "$file" "is missing"
		cp -a "kept/$file" image/
	done
	# The operator's own files are nobody's business.
	touch image/note.txt image/rekindle-99999999999.img image/rekindle-1.img
	mkfifo image/rekindle-2.img
	must_restore image
	check_worker worker "$checksum"
}

test_all_sums_are_compared_where_that_is_asked() {
	local checksum pages
	start_worker worker agent
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	pages=$(cd image && find . -name 'pages-*.img' -size +1M -printf %P)
	damage "image/$pages" 1000000
	export REKINDLE_VERIFY_IMAGES=1
	refused "$pages" "is damaged"
	damage "image/$pages" 1000000
	must_restore image
	expect_line image/restore.log "cuda_plugin: the checksums of all images match"
	check_worker worker "$checksum"
}

test_an_image_without_a_manifest_restores_and_says_so() {
	local checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	must_dump "$pid" image
	rm image/rekindle-checkpoint.img
	must_restore image
	expect_line image/restore.log "the checkpoint has no manifest"
	check_worker worker "$checksum"
}

# ---- a full disk ----

test_the_disk_is_full_in_an_empty_folder() {
	local size failed succeeded=0 refused=0 checksum
	start_worker worker agent
	checksum=$(ask worker checksum)
	mkdir image
	for size in 2 20 26 36 41 42 43 44 60; do
		mount -t tmpfs -o size=${size}m tmpfs image
		failed=0
		"$criu" dump -t "$pid" -D image -W "$work" -L "$plugin" -v4 -o dump.log --leave-running >/dev/null 2>&1 || failed=1
		wait_until 60 no_pool
		check_worker worker "$checksum"
		if [ $failed = 1 ]; then
			refused=$((refused + 1))
			grep -aqE "disk is full|No space left" dump.log || fail "with $size MiB the log does not say why"
			expect "what is left with $size MiB" "$(ls -A image)" ""
		else
			succeeded=$((succeeded + 1))
			[ -e image/rekindle-checkpoint.img ] || fail "with $size MiB there is no manifest"
		fi
		umount image
	done
	note "$refused refused, $succeeded succeeded"
	((refused && succeeded)) || fail "the levels are not around the size of a checkpoint"
}

# At every fill level the process goes on and the older checkpoint restores, or the dump is a success.
test_the_disk_is_full_at_different_levels() {
	local free failed succeeded=0 refused=0
	mkdir image
	mount -t tmpfs -o size=200m tmpfs image
	make_older
	for free in 1 8 20 26 30 36 40 41 42 43 46 60; do
		dd if=/dev/zero of=image/fill bs=1M count=300 2>/dev/null || true
		dd if=/dev/null of=image/fill bs=1M seek=$(($(stat -c %s image/fill) / 1048576 - free)) 2>/dev/null
		failed=0
		"$criu" dump -t "$pid" -D image -W "$work" -L "$plugin" -v4 -o dump.log --leave-running >/dev/null 2>&1 || failed=1
		wait_until 60 no_pool
		check_worker worker "$now"
		if [ $failed = 1 ]; then
			refused=$((refused + 1))
			grep -aqE "disk is full|No space left" dump.log || fail "with $free MiB free the log does not say why"
			diff before <(list_images image) || fail "with $free MiB free the folder is not as it was"
			rm image/fill
			"$criu" restore --help >/dev/null
		else
			succeeded=$((succeeded + 1))
			rm image/fill
			list_images image >before
			older=$now
		fi
	done
	note "$refused refused, $succeeded succeeded"
	((refused && succeeded)) || fail "the levels are not around the size of a checkpoint"
	restore_older
}

run_tests "$@"
