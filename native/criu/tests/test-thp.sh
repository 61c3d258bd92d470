#!/bin/bash
# Huge pages stay whole on their way, and nobody gets them who may not.
. "$(dirname "$0")/lib.sh"
thp=/sys/kernel/mm/transparent_hugepage
[ -e $thp/enabled ] || skip "no huge pages in this kernel"

anon_huge() { awk '/^AnonHugePages:/ { n += $2 } END { print n + 0 }' "/proc/$pid/smaps"; } # kB

# Where addresses are not random something of CRIU is in the way of nearly all mappings: only what it is in the way of is
# left to the restorer, and the mappings are as many as before.
if ! grep -q '\[never\]' $thp/enabled && setarch -R true 2>/dev/null; then
	plain=$ZOO
	printf '#!/bin/sh\nexec setarch -R "%s" "$@"\n' "$plain" >"$work/zoo.sh"
	chmod +x "$work/zoo.sh"
	ZOO=$work/zoo.sh
	dump_zoo huge
	ZOO=$plain
	sed 's/"\$CRIU"/setarch -R "$CRIU"/' <(declare -f restore) >"$work/restore.sh"
	nr=
	for o in "" "--restore-threads 2" "--restore-threads 2 --restore-thp always"; do
		(. "$work/restore.sh"; restore $o) || fail "in the way, $o: restore"
		[ -z "$o" ] || grep -aq "is left to the restorer" "$work/img/restore.log" || fail "in the way, $o: nothing is"
		huge=$(anon_huge)
		((huge >= 254 << 10)) || fail "in the way, $o: only $huge kB of 254 MB are in huge pages"
		maps=$(wc -l <"/proc/$pid/maps")
		[ "${nr:=$maps}" = "$maps" ] || fail "in the way, $o: $nr mappings have become $maps"
		check_zoo "in the way, ${o:-no options}: $huge kB in huge pages, $maps mappings" "s/ hg//"
		kill_zoo
	done
	rm -rf "$work/img"
else
	echo "SKIPPED: in the way (no huge pages, or addresses stay random)"
fi

# PR_SET_THP_DISABLE is for everything, what is advised included
dump_zoo nothp
for o in "--restore-threads 2" "--restore-threads 2 --restore-thp always" "--restore-thp always"; do
	restore $o || fail "disabled, $o: restore"
	huge=$(anon_huge)
	[ "$huge" = 0 ] || fail "disabled, $o: $huge kB in huge pages"
	check_zoo "disabled, $o"
	kill_zoo
	drop
	restore $o || fail "disabled, cold, $o: restore"
	! on_disk || one_reader || fail "disabled, cold, $o: small pages are not read in the order of the file"
	check_zoo "disabled, cold, $o"
	kill_zoo
done
rm -rf "$work/img"

# The system's word, given in files that only CRIU gets to see
dump_zoo mappings
fake() { # FILE WORDS
	if [ -e "$1" ]; then
		echo "$2" >"$work/word.$#${1//\//_}"
		mount --bind "$work/word.$#${1//\//_}" "$1" 2>/dev/null || return 1
	fi
}
size=$thp/hugepages-2048kB/enabled
for words in "always madvise [never]|always [inherit] madvise never" "always [madvise] never|always inherit madvise [never]"; do
	what="${words%|*}, of 2 MB ${words#*|}"
	if [[ $words != *'[never]|'* ]] && [ ! -e $size ]; then
		continue
	fi
	if ! fake $thp/enabled "${words%|*}" || ! fake $size "${words#*|}"; then
		echo "SKIPPED: $what (cannot mount over it)"
		break
	fi
	restore --restore-threads 2 --restore-thp always || fail "$what: restore"
	check_zoo "$what"
	kill_zoo
	drop
	restore --restore-threads 2 || fail "$what, cold: restore"
	check_zoo "$what, cold"
	kill_zoo
	umount $thp/enabled
	[ ! -e $size ] || umount $size
done
