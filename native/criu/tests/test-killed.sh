#!/bin/bash
# A criu that dies in the middle of a restore leaves no task behind, not even one that had not yet asked to be told of it. And
# one whose task is killed in the middle of a dump comes to its end.
. "$(dirname "$0")/lib.sh"

FAULTY=${FAULTY:-}
if [ -z "$FAULTY" ]; then
	FAULTY=$work/faulty.so
	${CC:-cc} -O2 -shared -fPIC -o "$FAULTY" "$tests/faulty.c" -ldl
fi

dump_zoo mappings
rc=0
restore LD_PRELOAD="$FAULTY" FAULTY_KILL=1 || rc=$?
[ $rc = 137 ] || fail "criu was to be killed, and ended with $rc"
gone "$pid"
grep -aq "The parent [0-9]* has died" "$work/img/restore.log" || fail "the task was not there, or ended of something else"
echo "ok: killed before the task had asked"

restore || fail "the next restore"
check_zoo "restored after that"
kill_zoo

# The first thread shows as dead only when the others are reaped, which criu traces.
start_zoo threads
rc=0
timeout 60 env LD_PRELOAD="$FAULTY" FAULTY_END=1 "$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 || rc=$?
[ $rc = 1 ] || fail "the dump of a task that was killed ended with $rc"
grep -aq "of $pid has died" "$work/img/dump.log" || fail "the task was not killed then: $(tail -n 3 "$work/img/dump.log")"
gone "$pid"
echo "ok: a task that is killed while criu's code is in it"
