#!/bin/bash
# Contents, mappings and threads are what they were, with every option.
. "$(dirname "$0")/lib.sh"

mode=${1:?mode}

# hugetlb pages are there where somebody has set them aside, so do that
nr_hugepages=/proc/sys/vm/nr_hugepages
free_hugepages() { awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo; }
if [[ $mode == mappings || $mode == shm ]] && [ -w $nr_hugepages ]; then
	hugetlb=$(cat $nr_hugepages)
	at_exit() { echo "$hugetlb" >$nr_hugepages; }
	echo $((hugetlb + 8)) >$nr_hugepages || true
fi
export ZOO_HUGETLB=1
had=$(free_hugepages)
dump_zoo "$mode"
if [[ $mode == mappings || $mode == shm ]]; then
	if grep -q "[( ]ht[ )]" "$work/before"; then
		echo "with hugetlb pages"
	elif ((${had:-0} >= 8)); then
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
one "always huge" 2 "s/ hg//" --restore-threads 2 --restore-thp always
if [ "$mode" = mappings ]; then
	one "1 thread" 1 "" --restore-threads 1
	one "7 threads" 7 "" --restore-threads 7
	one "never huge" 2 "" --restore-threads 2 --restore-thp never
	one "always huge, no threads" 1 "s/ hg//" --restore-thp always
fi
one "partial reads" 2 "" CRIU_FAULT=131 --restore-threads 2

# Not in the page cache: in order by one, or past it where huge pages are filled
for o in "--restore-threads 1" "--restore-threads 4"; do
	drop
	one "cold, $o" "" "" $o
	# nothing of this is advised
	if [ "$mode" = threads ] && on_disk; then
		one_reader || fail "cold, $o: small pages are not read in the order of the file"
	fi
done
drop
past=
[ "$mode" != threads ] || past=4
one "cold, always huge" "$past" "s/ hg//" --restore-threads 4 --restore-thp always

# One page that is not cached is no reason to do without the readers
if [ "$mode" = threads ] && on_disk; then
	drop
	pages=$(ls -S "$work"/img/pages-*.img | head -n1)
	size=$(stat -c %s "$pages")
	dd if="$pages" of=/dev/null bs=1M status=none count=$((size / 2 >> 20))
	dd if="$pages" of=/dev/null bs=1M status=none skip=$(((size / 2 >> 20) + 4))
	one "a little of it cold" 4 "" --restore-threads 4
fi
