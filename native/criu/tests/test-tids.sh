#!/bin/bash
# No reader takes an id that a task or thread of the image needs.
. "$(dirname "$0")/lib.sh"
unshare -p -f true 2>/dev/null || skip "no pid namespaces here"

start_tids_zoo
ids() { # ids inside of the namespace, of all tasks and threads
	local p
	for p in $(tree "$1"); do
		for t in /proc/$p/task/*/status; do awk '/^NSpid:/ { print $NF }' "$t"; done
	done | sort -n | tr '\n' ' '
}
before=$(ids "$pid")
[ "$(wc -w <<<"$before")" -ge 120 ] || fail "only these ids: $before"
"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 || { cat "$work/img/dump.log" >&2; fail "dump"; }
gone "$pid"

try() { # [VAR=VALUE]
	rm -f "$work/pidfile"
	env "$@" "$CRIU" restore -d -D "$work/img" -o restore.log -v3 --pidfile "$work/pidfile" \
		--restore-threads 16 </dev/null >"$work/out" 2>&1
}

# The proof that this test can fail: with ids as the kernel has them at hand
# the restore does, sooner or later, because an id is taken.
bad=0
for ((i = 1; i <= 60; i++)); do
	rm -f "$work/img/restore.log"
	if try CRIU_FAULT=139; then
		pid=$(cat "$work/pidfile"); pids+=("$pid"); kill -9 "$pid"; gone "$pid"
	else
		grep -aqE "Error .*(File exists|Unable to create a thread: -17$)" "$work/img/restore.log" ||
			fail "readers with any id: restore $i, but not for an id that is taken"
		bad=$i
		break
	fi
done
[ $bad != 0 ] || fail "readers with any id do not get in the way, this test shows nothing"

for ((i = 1; i <= (bad > 5 ? bad : 5); i++)); do
	try A=1 || fail "restore $i"
	readers_used 16 || fail "not read by 16 threads"
	pid=$(cat "$work/pidfile")
	pids+=("$pid")
	[ "$(ids "$pid")" = "$before" ] || fail "other ids than before"
	kill -9 "$pid"
	gone "$pid"
done
echo "ok: ids, $((i - 1)) times; with any ids it failed the time number $bad"
