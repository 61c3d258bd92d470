#!/bin/bash
# What cannot be read ends the restore, with the file and the offset named, and
# leaves no process. Short reads are no error.
. "$(dirname "$0")/lib.sh"

FAULTY=${FAULTY:-}
if [ -z "$FAULTY" ]; then
	FAULTY=$work/faulty.so
	${CC:-cc} -O2 -shared -fPIC -o "$FAULTY" "$tests/faulty.c" -ldl
fi

must_fail() { # WHAT REGEX [VAR=VALUE] options
	local what=$1 regex=$2 rc=0 env=()
	shift 2
	while [[ ${1:-} == [A-Z]*=* ]]; do env+=("$1"); shift; done
	rm -f "$work/img/restore.log"
	env "${env[@]}" timeout -k 5 60 "$CRIU" restore -d -D "$work/img" -o restore.log -v3 "$@" </dev/null >"$work/out" 2>&1 || rc=$?
	[ $rc != 124 ] && [ $rc != 137 ] || fail "$what: criu hangs"
	[ $rc != 0 ] || fail "$what: criu says that it restored it"
	grep -aqE "Error .*$regex" "$work/img/restore.log" || fail "$what: the log does not say '$regex'"
	gone "$pid"
	echo "ok: $what"
}

left_to_one() { grep -aqE "page-readers: [0-9]+ of [0-9]+ pieces were left to one thread" "$work/img/restore.log"; }

for mode in mappings shm cow; do
	dump_zoo $mode
	mkdir "$work/whole"
	cp -a "$work/img/." "$work/whole/"
	# the largest is the one with the most of it
	pages=$(cd "$work/img" && ls -S pages-*.img | head -n1)
	size=$(stat -c %s "$work/img/$pages")
	for cut in 4096 $((size / 2 / 4096 * 4096 + 100)); do
		truncate -s $((size - cut)) "$work/img/$pages"
		for o in "" "--restore-threads 4" "--restore-threads 0 --restore-thp always"; do
			must_fail "$mode, ${o:-no options}, $cut bytes missing" \
				"$pages at offset [0-9]+: .*(end of file)" $o
		done
	done
	cp -a "$work/whole/$pages" "$work/img/$pages"

	# "cow": in what the child inherits, which is behind its own memory
	[ $mode = cow ] && at=$((size - (8 << 20))) || at=$((size / 2))
	for o in "--restore-threads 1" "--restore-threads 4"; do
		must_fail "$mode, $o, EIO" "pages-[0-9]+.img at offset [0-9]+: Input/output error" \
			LD_PRELOAD="$FAULTY" FAULTY_EIO=$at $o
	done

	# what fails once is read again, by the first thread when the others are gone
	for o in "--restore-threads 2" "--restore-threads 4" "--restore-threads 4 --restore-thp always"; do
		# Of what is not in the page cache the next of several ways of reading is tried before it counts as failed.
		cat "$work/img/$pages" >/dev/null
		restore LD_PRELOAD="$FAULTY" FAULTY_EIO=$at FAULTY_ONCE=1 $o || fail "$mode, $o, EIO once: restore"
		left_to_one || fail "$mode, $o, EIO once: nothing has failed"
		check_zoo "$mode, $o, EIO once" "s/ hg//"
		kill_zoo
	done
	if [ $mode = mappings ] && on_disk; then
		for i in 1 2 3; do
			drop
			restore LD_PRELOAD="$FAULTY" FAULTY_DIRECT=1 --restore-threads 8 --restore-thp always ||
				fail "$mode, no O_DIRECT: restore"
			# the huge pages that the zoo has there are no more than 8 pieces
			readers_used "[2-8]" || fail "$mode, no O_DIRECT: only one thread"
			! grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled || continue
			grep -aq "Warn .*Reads with O_DIRECT have failed" "$work/img/restore.log" ||
				fail "$mode, no O_DIRECT: no warning"
			check_zoo "$mode, no O_DIRECT" "s/ hg//"
			kill_zoo
		done
	fi

	restore LD_PRELOAD="$FAULTY" FAULTY_SHORT=1 --restore-threads 3 || fail "$mode: short reads"
	check_zoo "$mode, short reads"
	kill_zoo
	rm -rf "$work/img" "$work/whole"
done
