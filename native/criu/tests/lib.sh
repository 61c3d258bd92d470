# Sourced by the tests. Needs: CRIU (the patched program; provided when not
# set) and ZOO (the compiled zoo). Leaves nothing behind.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tests/../../tests/alone.bash"
. "$tests/readahead.sh"

skip() { echo "SKIP: $*"; exit 77; }
fail() {
	echo "FAIL: $*" >&2
	[ ! -e "$work/img/restore.log" ] || grep -a Error "$work/img/restore.log" | grep -v RLIMIT_NOFILE | tail -n 5 >&2 || true
	exit 1
}

CRIU=${CRIU:-$("$tests/../provide-criu.sh" | tail -n1)}
"$CRIU" --help | grep -q -- --restore-threads || skip "$CRIU is not the patched one"

work=$(mktemp -d "${TMPDIR:-/tmp}/criu-test.XXXXXX")
pids=()
at_exit() { :; }
cleanup() {
	local p
	put_back_readahead
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
	${CC:-cc} -O2 -o "$ZOO" "$tests"/zoo*.c -lpthread
fi

await() { wait_until 60 test -e "$1"; } # FILE

gone() { # PID...
	local p
	for p; do
		wait_until 30 is_gone "$p"
	done
}

tree() { local c; echo "$1"; for c in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do tree "$c"; done; }

# Every thread has come to where it waits.
asleep() {
	local p
	for p in $(tree "$1"); do
		! grep -qs '^State:[[:space:]]*[RD]' "/proc/$p"/task/*/status || return 1
	done
}

snapshot() { python3 "$tests/snapshot.py" $(tree "$1"); } # PID

start_zoo() { # MODE
	mkdir -p "$work/zoo.d" "$work/img"
	rm -f "$work/zoo.d"/*
	"$ZOO" "$1" "$work/zoo.d"
	await "$work/zoo.d/pid"
	pid=$(cat "$work/zoo.d/pid")
	pids+=("$pid")
	wait_until 60 asleep "$pid"
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

cached_pages() { fincore --noheadings --output PAGES "$work"/img/pages-*.img | awk '{ n += $1 } END { print n + 0 }'; }

# Takes the pages images out of the page cache. The kernel keeps what another core has just put on its own list of pages.
drop() {
	local f i
	on_disk || return 0
	no_readahead "$work"
	for i in {1..100}; do
		sync
		for f in "$work"/img/pages-*.img; do dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
		[ "$(cached_pages)" != 0 ] || return 0
		sleep 0.1
	done
	fail "the page cache keeps $(cached_pages) pages of the images"
}

# No memory outside of the cache where the images are in memory
on_disk() { [ "$(stat -f -c %T "$work")" != tmpfs ]; }

readers_used() { grep -aq "page-readers: Read .* with $1 threads" "$work/img/restore.log"; }

# In a cold image, memory of small pages is for one reader in the order of the file.
one_reader() { readers_used 1 && ! readers_used "[02-9][0-9]*"; }

# A tree with many tasks and threads in a pid namespace of its own; sets $pid, its first process as seen from here.
start_tids_zoo() {
	mkdir -p "$work/zoo.d" "$work/img"
	rm -f "$work/zoo.d"/*
	unshare -p -f "$ZOO" tids "$work/zoo.d" </dev/null >/dev/null 2>&1 &
	await "$work/zoo.d/pid"
	pid=$(cat /proc/$!/task/$!/children)
	pid=${pid%% *}
	pids+=("$pid")
	wait_until 60 asleep "$pid"
}
