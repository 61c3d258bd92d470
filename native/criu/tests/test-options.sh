#!/bin/bash
# The options from the command line and a configuration file; bad values.
. "$(dirname "$0")/lib.sh"

anon_huge() { awk '/^AnonHugePages:/ { n += $2 } END { print n + 0 }' "/proc/$pid/smaps"; } # kB

dump_zoo mappings
printf 'restore-threads 3\n' >"$work/conf"
restore --config "$work/conf" || fail "configuration file: restore"
readers_used 3 || fail "configuration file: not read by 3 threads"
huge=$(anon_huge)
check_zoo "configuration file, threads"
kill_zoo

printf 'restore-threads 3\nrestore-thp never\n' >"$work/conf"
restore --config "$work/conf" || fail "configuration file, never: restore"
readers_used 3 || fail "configuration file, never: not read by 3 threads"
never=$(anon_huge)
# where all memory gets huge pages nothing can be seen
if ((huge == 0)) || grep -q '\[always\]' /sys/kernel/mm/transparent_hugepage/enabled; then
	echo "SKIPPED: the effect of never ($huge kB in huge pages)"
elif ((never != 0)); then
	fail "configuration file, never: $never kB in huge pages"
fi
check_zoo "configuration file, never ($never kB in huge pages, otherwise $huge)"
kill_zoo

if on_disk; then
	printf 'restore-threads 3\nrestore-thp never\n' >"$work/conf"
	drop
	restore --config "$work/conf" || fail "configuration file, cold: restore"
	one_reader || fail "configuration file, cold: not read in the order of the file"
	check_zoo "configuration file, cold"
	kill_zoo
fi

printf 'restore-thp always\n' >"$work/conf"
restore --config "$work/conf" || fail "configuration file, always: restore"
always=$(anon_huge)
((huge == 0 || always > huge)) || fail "configuration file, always: $always kB in huge pages, otherwise $huge"
check_zoo "configuration file, always ($always kB in huge pages)" "s/ hg//"
kill_zoo

for bad in "--restore-threads -1" "--restore-threads two" "--restore-threads" "--restore-thp sometimes"; do
	if "$CRIU" restore -D "$work/img" -o bad.log $bad >"$work/out" 2>&1; then
		fail "$bad is taken"
	fi
	[ ! -e "/proc/$pid" ] || fail "$bad restores"
done
echo "ok: bad values"
