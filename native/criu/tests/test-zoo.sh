#!/bin/bash
# Contents, mappings and threads are what they were, with every option.
. "$(dirname "$0")/lib.sh"

mode=${1:?mode}

# hugetlb pages are there where somebody has set them aside, so do that
nr_hugepages=/proc/sys/vm/nr_hugepages
free_hugepages() { awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo; }
if [ "$mode" = mappings ] && [ -w $nr_hugepages ]; then
	hugetlb=$(cat $nr_hugepages)
	at_exit() { echo "$hugetlb" >$nr_hugepages; }
	echo $((hugetlb + 4)) >$nr_hugepages || true
fi
export ZOO_HUGETLB=1
had=$(free_hugepages)
dump_zoo "$mode"
if [ "$mode" = mappings ]; then
	if grep -q "[( ]ht[ )]" "$work/before"; then
		echo "with hugetlb pages"
	elif ((${had:-0} >= 4)); then
		fail "there are $had hugetlb pages, but the zoo has none"
	else
		echo "SKIPPED: hugetlb (this kernel does not set pages aside for it)"
	fi
fi

one() { # WHAT READERS SED [VAR=VALUE] options
	local what="$mode, $1" readers=$2 sed=$3
	shift 3
	restore "$@" || fail "$what: restore"
	[ -z "$readers" ] || readers_used "$readers" || fail "$what: not read by $readers threads"
	check_zoo "$what" "$sed"
	kill_zoo
}

one "no options" "" ""
one "2 threads" 2 "" --restore-threads 2
one "automatic" "" "" --restore-threads 0
# The advice stays, as documented
one "always huge" 2 "s/ hg//" --restore-threads 2 --restore-hugepages always
if [ "$mode" = mappings ]; then
	one "1 thread" 1 "" --restore-threads 1
	one "7 threads" 7 "" --restore-threads 7
	one "never huge" 2 "" --restore-threads 2 --restore-hugepages never
	one "always huge, no threads" 1 "s/ hg//" --restore-hugepages always
fi
one "readahead" 2 "" --restore-threads 2 --restore-readahead
one "partial reads" 2 "" CRIU_FAULT=131 --restore-threads 2

# Not in the page cache: in order by one, or past it where huge pages are filled
for o in "--restore-threads 1" "--restore-threads 4"; do
	drop
	one "cold, $o" "" "" $o
	# nothing of this is advised
	if [ "$mode" = threads ] && on_disk; then
		[ "$(nr_late)" = 0 ] || fail "cold, $o: small pages are not left to the restorer"
	fi
done
if [ "$mode" = shm ]; then
	drop
	one "cold, readahead" 4 "" --restore-threads 4 --restore-readahead
fi
drop
past=
[ "$mode" != threads ] || past=4
one "cold, always huge" "$past" "s/ hg//" --restore-threads 4 --restore-hugepages always
