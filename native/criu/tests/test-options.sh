#!/bin/bash
# The options from the command line and a configuration file; bad values.
. "$(dirname "$0")/lib.sh"

dump_zoo shm
printf 'restore-threads 3\nrestore-hugepages never\n' >"$work/conf"
restore --config "$work/conf" || fail "configuration file: restore"
readers_used 3 || fail "configuration file: not read by 3 threads"
check_zoo "configuration file"
kill_zoo

for bad in "--restore-threads -1" "--restore-threads two" "--restore-threads" "--restore-hugepages sometimes"; do
	if "$CRIU" restore -D "$work/img" -o bad.log $bad >"$work/out" 2>&1; then
		fail "$bad is taken"
	fi
	[ ! -e "/proc/$pid" ] || fail "$bad restores"
done
echo "ok: bad values"
