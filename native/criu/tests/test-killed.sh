#!/bin/bash
# A criu that dies in the middle of a restore leaves no task behind, not even one that had not yet asked to be told of it.
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
