#!/bin/bash
# Images and options that the readers are not made for are restored the way
# they always were, also with the options on.
. "$(dirname "$0")/lib.sh"

no_readers() { ! grep -aq "page-readers: Read" "$work/img/restore.log" || fail "$1: not restored the old way"; }

for mode in mappings shm; do
	# a parent image; without memory tracking in the kernel it has nothing that
	# the child lacks, but it is there and has to be looked into
	start_zoo $mode
	mkdir "$work/img/parent.d"
	all=$(tree "$pid")
	track=
	if "$CRIU" check --feature mem_dirty_track >/dev/null 2>&1; then
		track=yes
		"$CRIU" pre-dump -t "$pid" -D "$work/img/parent.d" -o dump.log -v1 --track-mem || fail "pre-dump"
		"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 --track-mem --prev-images-dir parent.d || fail "dump"
	else
		"$CRIU" dump --leave-running -t "$pid" -D "$work/img/parent.d" -o dump.log -v1 || fail "first dump"
		"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 || fail "dump"
		ln -s parent.d "$work/img/parent"
	fi
	gone $all
	[ -L "$work/img/parent" ] || fail "no parent image"
	restore --restore-threads 4 --restore-hugepages always || fail "$mode, parent image: restore"
	no_readers "$mode, parent image"
	check_zoo "$mode, parent image${track:+, with tracked memory}"
	kill_zoo
	rm -rf "$work/img"

	# auto-dedup punches holes into what has been read
	dump_zoo $mode
	restore --restore-threads 4 --restore-hugepages always --auto-dedup || fail "$mode, auto-dedup: restore"
	no_readers "$mode, auto-dedup"
	check_zoo "$mode, auto-dedup"
	kill_zoo
	rm -rf "$work/img"
done

# a page server makes plain images
start_zoo mappings
port=$((20000 + $$ % 20000))
"$CRIU" page-server -d -D "$work/img" --address 127.0.0.1 --port $port -o server.log -v1 || fail "page server"
all=$(tree "$pid")
"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 --page-server --address 127.0.0.1 --port $port || fail "dump"
gone $all
restore --restore-threads 4 || fail "page server: restore"
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
	restore -W "$work" --lazy-pages --restore-threads 4 --restore-hugepages always ||
		fail "lazy pages: restore: $(grep -a Error "$work/restore.log" | tail -n 5)"
	mv "$work/restore.log" "$work/img/"
	no_readers "lazy pages"
	check_zoo "lazy pages"
	kill_zoo
	wait $lazy || true
	rm -rf "$work/img"
else
	echo "SKIPPED: lazy pages (no userfaultfd in this kernel)"
fi
