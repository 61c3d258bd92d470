#!/bin/bash
# Huge pages stay whole on their way, and nobody gets them who may not.
. "$(dirname "$0")/lib.sh"
thp=/sys/kernel/mm/transparent_hugepage
[ -e $thp/enabled ] || skip "no huge pages in this kernel"

anon_huge() { awk '/^AnonHugePages:/ { n += $2 } END { print n + 0 }' "/proc/$pid/smaps"; } # kB

# Where addresses are not random the place where a large mapping is premapped overlaps with its own. It takes a detour.
if ! grep -q '\[never\]' $thp/enabled && setarch -R true 2>/dev/null; then
	plain=$ZOO
	printf '#!/bin/sh\nexec setarch -R "%s" "$@"\n' "$plain" >"$work/zoo.sh"
	chmod +x "$work/zoo.sh"
	ZOO=$work/zoo.sh
	dump_zoo huge
	ZOO=$plain
	sed 's/-v3/-v4/; s/"\$CRIU"/setarch -R "$CRIU"/' <(declare -f restore) >"$work/restore.sh"
	for o in "--restore-threads 2" "--restore-threads 2 --restore-hugepages always"; do
		(. "$work/restore.sh"; restore $o) || fail "overlap, $o: restore"
		overlaps=
		while read -r src dst len; do
			d=$((src - dst))
			if ((len > 64 << 20 && d && (d < 0 ? -d : d) < len)); then overlaps=yes; fi
		done < <(grep -a "Remap 0x" "$work/img/restore.log" | sed 's/.*Remap \(.*\)->\(.*\) len /\1 \2 /')
		[ "$overlaps" ] || fail "overlap, $o: nothing overlaps"
		huge=$(anon_huge)
		((huge >= 254 << 10)) || fail "overlap, $o: only $huge kB of 254 MB are in huge pages"
		check_zoo "overlap, $o: $huge kB in huge pages"
		kill_zoo
	done
	rm -rf "$work/img"
else
	echo "SKIPPED: overlap (no huge pages, or addresses stay random)"
fi

# PR_SET_THP_DISABLE is for everything, what is advised included
dump_zoo nothp
for o in "--restore-threads 2" "--restore-threads 2 --restore-hugepages always" "--restore-hugepages always"; do
	restore $o || fail "disabled, $o: restore"
	huge=$(anon_huge)
	[ "$huge" = 0 ] || fail "disabled, $o: $huge kB in huge pages"
	check_zoo "disabled, $o"
	kill_zoo
	drop
	restore $o || fail "disabled, cold, $o: restore"
	! on_disk || [ "$(nr_late)" = 0 ] || fail "disabled, cold, $o: small pages are not left to the restorer"
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
	restore --restore-threads 2 --restore-hugepages always || fail "$what: restore"
	check_zoo "$what"
	kill_zoo
	drop
	restore --restore-threads 2 || fail "$what, cold: restore"
	! on_disk || [ "$(nr_late)" = 0 ] || fail "$what, cold: small pages are not left to the restorer"
	check_zoo "$what, cold"
	kill_zoo
	umount $thp/enabled
	[ ! -e $size ] || umount $size
done
