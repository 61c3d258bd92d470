#!/bin/bash
# Images and options that the readers are not made for are restored the way
# they always were, also with the options on, and the log says so. Incremental
# images are read by them.
. "$(dirname "$0")/lib.sh"

no_readers() { ! grep -aq "page-readers: Read" "$work/img/restore.log" || fail "$1: not restored the old way"; }
said_so() { # WHAT OPTION
	grep -aq "Warn .*--restore-threads and --restore-thp are ignored with $2" "$work/img/restore.log" ||
		fail "$1: options are ignored in silence"
}

for mode in mappings shm cow; do
	for levels in 2 3; do
		dump_zoo $mode
		python3 "$tests/incremental.py" "$work/img" $levels
		for o in "" "--restore-threads 4" "--restore-threads 4 --restore-thp always" "--restore-threads 0"; do
			restore $o || fail "$mode, $levels levels, ${o:-no options}: restore"
			if [[ $o == *4* ]]; then readers_used 4 || fail "$mode, $levels levels, $o: not read by 4 threads"; fi
			check_zoo "$mode, $levels levels of images, ${o:-no options}" "s/ hg//"
			kill_zoo
		done
		# what is missing in a parent is found
		truncate -s 4096 "$work"/img/parent.d/pages-*.img
		if restore --restore-threads 4; then fail "$mode, a parent that is too short: criu says that it restored it"; fi
		grep -aqE "Error .*pages-[0-9]+.img at offset [0-9]+: .*end of file" "$work/img/restore.log" ||
			fail "$mode, a parent that is too short: the log does not say so"
		gone "$pid"
		rm -rf "$work/img"
	done

	if "$CRIU" check --feature mem_dirty_track >/dev/null 2>&1; then
		start_zoo $mode
		mkdir "$work/img/parent.d"
		all=$(tree "$pid")
		"$CRIU" pre-dump -t "$pid" -D "$work/img/parent.d" -o dump.log -v1 --track-mem || fail "pre-dump"
		"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 --track-mem --prev-images-dir parent.d || fail "dump"
		gone $all
		restore --restore-threads 4 --restore-thp always || fail "$mode, pre-dump: restore"
		check_zoo "$mode, pre-dump" "s/ hg//"
		kill_zoo
		rm -rf "$work/img"
	else
		echo "SKIPPED: $mode, pre-dump (this kernel does not track memory)"
	fi

	# auto-dedup punches holes into what has been read, of parents too
	for levels in 1 2; do
		dump_zoo $mode
		python3 "$tests/incremental.py" "$work/img" $levels
		restore --restore-threads 4 --restore-thp always --auto-dedup || fail "$mode, auto-dedup: restore"
		no_readers "$mode, auto-dedup"
		said_so "$mode, auto-dedup" --auto-dedup
		check_zoo "$mode, auto-dedup, $levels levels of images"
		kill_zoo
		rm -rf "$work/img"
	done
done

# a page server makes plain images
start_zoo mappings
port=$((20000 + $$ % 20000))
"$CRIU" page-server -d -D "$work/img" --address 127.0.0.1 --port $port -o server.log -v1 || fail "page server"
all=$(tree "$pid")
"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 --page-server --address 127.0.0.1 --port $port || fail "dump"
gone $all
restore --restore-threads 4 || fail "page server: restore"
readers_used 4 || fail "page server: not read by 4 threads"
check_zoo "page server"
kill_zoo
rm -rf "$work/img"

# lazy pages
if "$CRIU" check --feature uffd >/dev/null 2>&1; then
	dump_zoo mappings
	: >"$work/ready"
	"$CRIU" lazy-pages -D "$work/img" -W "$work" -o lazy.log -v1 --status-fd 3 </dev/null >/dev/null 2>&1 3>"$work/ready" &
	lazy=$!
	# it writes one byte when it listens
	for i in $(seq 1000); do
		[ ! -s "$work/ready" ] || break
		sleep 0.02
	done
	[ -s "$work/ready" ] || fail "lazy pages: $(cat "$work/lazy.log")"
	restore -W "$work" --lazy-pages --restore-threads 4 --restore-thp always ||
		fail "lazy pages: restore: $(grep -a Error "$work/restore.log" | tail -n 5)"
	mv "$work/restore.log" "$work/img/"
	no_readers "lazy pages"
	said_so "lazy pages" --lazy-pages
	# Until the last page has come, the mappings show that they wait for some.
	wait $lazy || fail "lazy pages: $(tail -n 5 "$work/lazy.log")"
	check_zoo "lazy pages"
	kill_zoo
	rm -rf "$work/img"
else
	echo "SKIPPED: lazy pages (no userfaultfd in this kernel)"
fi
