# Sourced by the tests. Needs: CRIU (the patched program; provided when not
# set) and ZOO (the compiled zoo). Leaves nothing behind.
set -euo pipefail
# What whoever started this left open must not get into the images: ctest's own log, which grows while tests run at the
# same time, is of another size at the restore.
for descriptor in /proc/self/fd/*; do
	descriptor=${descriptor##*/}
	((descriptor < 3 || descriptor == 255)) || eval "exec $descriptor>&-"
done
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# In a pid namespace of its own nobody else takes the ids that a restore needs, and nothing outlives the test.
if [ "$(id -u)" = 0 ] && [ $$ != 1 ]; then
	exec unshare --pid --mount --propagation private --fork --mount-proc --kill-child "$BASH" "$0" "$@"
fi

skip() { echo "SKIP: $*"; exit 77; }
fail() {
	echo "FAIL: $*" >&2
	[ ! -e "$work/img/restore.log" ] || grep -a Error "$work/img/restore.log" | grep -v RLIMIT_NOFILE | tail -n 5 >&2 || true
	exit 1
}

[ "$(id -u)" = 0 ] || skip "needs root"
CRIU=${CRIU:-$("$tests/../provide-criu.sh" | tail -n1)}
"$CRIU" --help | grep -q -- --restore-threads || skip "$CRIU is not the patched one"

work=$(mktemp -d "${TMPDIR:-/tmp}/criu-test.XXXXXX")
pids=()
at_exit() { :; }
cleanup() {
	local p
	at_exit
	for p in "${pids[@]}"; do
		# only what still is ours
		if grep -qs zoo "/proc/$p/comm"; then
			kill -9 $(cat "/proc/$p/task/$p/children" 2>/dev/null) "$p" 2>/dev/null || true
		fi
	done
	rm -rf -- "$work"
}
trap cleanup EXIT

ZOO=${ZOO:-}
if [ -z "$ZOO" ]; then
	ZOO=$work/zoo
	${CC:-cc} -O2 -o "$ZOO" "$tests/zoo.c" -lpthread
fi

await() { # FILE
	local i
	for i in $(seq 1000); do
		[ ! -e "$1" ] || return 0
		sleep 0.02
	done
	fail "$(basename "$1") did not appear"
}

gone() { # PID...
	local p i
	for p; do
		for i in $(seq 1000); do
			[ -e "/proc/$p" ] || break
			sleep 0.01
		done
		[ ! -e "/proc/$p" ] || fail "process $p does not end"
	done
}

tree() { local c; echo "$1"; for c in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do tree "$c"; done; }

snapshot() { python3 "$tests/snapshot.py" $(tree "$1"); } # PID

start_zoo() { # MODE
	mkdir -p "$work/zoo.d" "$work/img"
	rm -f "$work/zoo.d"/*
	"$ZOO" "$1" "$work/zoo.d"
	await "$work/zoo.d/pid"
	pid=$(cat "$work/zoo.d/pid")
	pids+=("$pid")
	sleep 0.1
	snapshot "$pid" >"$work/before"
}

dump_zoo() { # MODE [criu options]: starts and dumps it
	local mode=$1 all
	shift
	start_zoo "$mode"
	all=$(tree "$pid")
	"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 "$@" || { cat "$work/img/dump.log" >&2; fail "dump"; }
	gone $all
}

restore() { # [VAR=VALUE...] criu options
	local env=()
	while [[ ${1:-} == [A-Z]*=* ]]; do env+=("$1"); shift; done
	rm -f "$work/img/restore.log"
	env "${env[@]}" "$CRIU" restore -d -D "$work/img" -o restore.log -v3 "$@" </dev/null >"$work/out" 2>&1
}

kill_zoo() {
	local all
	all=$(tree "$pid")
	kill -9 $all
	gone $all
}

check_zoo() { # WHAT [sed expression for the snapshot]
	snapshot "$pid" | sed "${2:-}" >"$work/after"
	sed "${2:-}" "$work/before" >"$work/before.sed"
	diff "$work/before.sed" "$work/after" || fail "$1: mappings or threads differ"
	rm -f "$work/zoo.d/status"
	kill -USR1 "$pid"
	await "$work/zoo.d/status"
	[ "$(cat "$work/zoo.d/status")" = ok ] || fail "$1: $(cat "$work/zoo.d/status")"
	echo "ok: $1"
}

# Takes the pages images out of the page cache
drop() {
	local f
	sync
	for f in "$work"/img/pages-*.img; do dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
}

nr_late() { grep -aoE "nr_late: +[0-9]+" "$work/img/restore.log" | awk '{ n += $2 } END { print n + 0 }'; }

# No memory outside of the cache where the images are in memory
on_disk() { [ "$(stat -f -c %T "$work")" != tmpfs ]; }

readers_used() { grep -aq "page-readers: Read .* with $1 threads" "$work/img/restore.log"; }

# A tree with many tasks and threads in a pid namespace of its own; sets $pid, its first process as seen from here.
start_tids_zoo() {
	mkdir -p "$work/zoo.d" "$work/img"
	rm -f "$work/zoo.d"/*
	unshare -p -f "$ZOO" tids "$work/zoo.d" </dev/null >/dev/null 2>&1 &
	await "$work/zoo.d/pid"
	pid=$(cat /proc/$!/task/$!/children)
	pid=${pid%% *}
	pids+=("$pid")
	sleep 0.2
}
