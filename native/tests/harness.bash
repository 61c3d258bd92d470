# SPDX-License-Identifier: MIT
# What the integration tests share: real CRIU, the built plugin, pool and agent, the worker program and the simulated
# driver. A test script sources this file, defines functions test_*, and ends with run_tests.
#
# Each test function gets an empty folder $work, and every process that it left is ended after it.
#
# From the environment (ctest sets them): REKINDLE_TEST_BUILD, the build folder; REKINDLE_TEST_SOURCE, the native folder;
# REKINDLE_CRIU, optional, a criu program; REKINDLE_TEST_DIRECTORY, optional, where test folders are made;
# REKINDLE_TEST_KEEP, optional, a folder for what failed tests leave.
set -euo pipefail

: "${REKINDLE_TEST_BUILD:?is not set: run this through ctest}" "${REKINDLE_TEST_SOURCE:?is not set: run this through ctest}"

. "$REKINDLE_TEST_SOURCE/tests/alone.bash"

build=$REKINDLE_TEST_BUILD
plugin=$build/lib/criu
simcuda=$build/lib/simcuda
preload=$build/lib/librekindle-preload.so
worker=$build/bin/rekindle-worker
control=$build/bin/rekindle-worker-control
criu=${REKINDLE_CRIU:-$("$REKINDLE_TEST_SOURCE/criu/provide-criu.sh" | tail -n1)}
# In memory where there is room, as containers often have a tiny /dev/shm.
parent=${REKINDLE_TEST_DIRECTORY:-/dev/shm}
[ "$(df --output=avail -B1M "$parent" | tail -n1)" -ge 1024 ] || parent=${TMPDIR:-/tmp}
root=$(mktemp -d "$parent/rekindle-test-XXXXXX")
trap 'rm -rf -- "$root"' EXIT

# What a user has set must not reach the tests.
for name in $(compgen -e); do
	case $name in
	REKINDLE_TEST_*) ;;
	REKINDLE_* | CRIU_* | LD_PRELOAD) unset "$name" ;;
	esac
done
export REKINDLE_CUDA_DRIVER=$simcuda/libcuda.so.1
export CRIU_CONFIG_FILE=$REKINDLE_TEST_SOURCE/tests/criu.conf

# ---- checks ----

note() { echo "    $*"; }
fail() { note "FAILED: $*"; exit 1; }

# expect WHAT GOT WANTED
expect() { [ "$2" = "$3" ] || fail "$1 is '$2', wanted '$3'"; }

# expect_line FILE PATTERN: an extended regular expression that a line of the file must match
expect_line() {
	grep -Eq -- "$2" "$1" || { tail -n 15 -- "$1" | sed 's/^/      /'; fail "$1 has no line with: $2"; }
}

# stop PID: every thread of it has stopped
stop() {
	kill -STOP "$1"
	wait_until 60 has_stopped "$1"
}
has_stopped() { awk '/^State:/ && $2 != "T" {runs = 1} END {exit runs}' "/proc/$1/task/"*/status; }

# Without a program: tests ask this of many processes, many times.
is_running() { # PID
	local status=
	# All of it: bash reads ahead and seeks back, and where that fails, of a process that has just gone, its next read, of any
	# other file, begins with what it had too much.
	read -r -d '' status 2>/dev/null <"/proc/$1/status" || true
	[ -n "$status" ] || return 1
	[[ $status == *$'\nState:\t'[ZX]* ]] || return 0
	# Its first thread may have ended before the others, which keep what it has open; and those that have ended, too, stay
	# for a moment longer than their tracer.
	[[ $status != *$'\nThreads:\t1\n'* ]] || return 1
	local thread
	for thread in "/proc/$1/task"/*/status; do
		status=
		read -r -d '' status 2>/dev/null <"$thread" || true
		[[ $status != *$'\nState:\t'[!ZX]* ]] || return 0
	done
	return 1
}

# Every live process of this test whose program has that name.
processes_named() {
	local process name
	for process in /proc/[0-9]*; do
		read -r name 2>/dev/null <"$process/comm" || continue
		[ "$name" != "${1:0:15}" ] || ! is_running "${process#/proc/}" || echo "${process#/proc/}"
	done
}
pool_pid() { processes_named rekindled | head -n1; }
# Nor anybody who undoes what it was at when it died.
no_pool() { [ -z "$(pool_pid)" ] && [ -z "$(processes_named rekindle-guard)" ]; }

# json FILE KEY: a value of the statistics
json() { python3 -c 'import json,sys; v=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v=v[int(k)] if k.lstrip("-").isdigit() else v[k]
print(str(v).lower() if isinstance(v,bool) else v)' "$1" "$2"; }

# ---- CRIU ----

# dump PID FOLDER [ARGUMENT...]: CRIU's exit status; log in FOLDER/dump.log
dump() {
	local pid=$1 folder=$2
	shift 2
	mkdir -p "$folder"
	"$criu" dump -t "$pid" -D "$folder" -L "$plugin" -v4 -o dump.log "$@" >"$folder/dump.out" 2>&1 </dev/null
}

# restore FOLDER [ARGUMENT...]: likewise, restore.log; the tree is detached. A process is gone from /proc a moment before
# its id and those of its threads are free, and CRIU does not wait for that.
restore() {
	local folder=$1 time
	shift
	for time in {1..20}; do
		"$criu" restore -d -D "$folder" -L "$plugin" -v4 -o restore.log "$@" >"$folder/restore.out" 2>&1 </dev/null &&
			return
		grep -Eqs "Can't fork for [0-9]+: File exists|Unable to create a thread: -17" "$folder/restore.log" || return 1
		sleep 0.05
	done
	return 1
}

# forget_plugins FOLDER: makes its inventory one of a CRIU that did not list the plugins yet, before there were manifests
forget_plugins() { rm -f "$1/rekindle-checkpoint.img" && python3 - "$1/inventory.img" <<'END'
import struct, sys

def number(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at

data = open(sys.argv[1], "rb").read()
magic, message, kept, at = data[:4], data[8:], b"", 0
while at < len(message):  # protobuf fields; plugins_entry is 12
    begin = at
    tag, at = number(message, at)
    if tag & 7 == 0:
        _, at = number(message, at)
    elif tag & 7 == 2:
        length, at = number(message, at)
        at += length
    else:
        at += {1: 8, 5: 4}[tag & 7]
    if tag >> 3 != 12:
        kept += message[begin:at]
assert len(kept) < len(message), "the inventory lists no plugins"
open(sys.argv[1], "wb").write(magic + struct.pack("<I", len(kept)) + kept)
END
}

show_log() { grep -E "Error|Warn|cuda_plugin:" "$1" | tail -n 25 | sed 's/^/      /'; }

must_dump() {
	dump "$@" || { show_log "$2/dump.log"; fail "the dump failed"; }
	[[ " $* " = *" --leave-running "* ]] || wait_until 60 is_gone "$1"
	expect "what CRIU printed" "$(cat "$2/dump.out")" ""
}
must_restore() {
	restore "$@" || { show_log "$1/restore.log"; fail "the restore failed"; }
	expect "what CRIU printed" "$(cat "$1/restore.out")" ""
}
must_not_dump() { ! dump "$@" || fail "the dump succeeded"; }
must_not_restore() { ! restore "$@" || fail "the restore succeeded"; }

# ---- the worker ----

# start_worker NAME agent|plain [ARGUMENT...]: sets $pid. Rules in NAME.rules are obeyed by the simulated driver in it.
start_worker() {
	local name=$1 preloaded=()
	[ "$2" != agent ] || preloaded=("LD_PRELOAD=$preload")
	shift 2
	(
		unset REKINDLE_CUDA_DRIVER
		exec env "${preloaded[@]}" LD_LIBRARY_PATH="$simcuda" REKINDLE_SIMCUDA_CONTROL="$work/$name.rules" \
			setsid "$worker" --state "$work/$name" --mib 24 --pieces 6 "$@" </dev/null >"$work/$name.log" 2>&1
	) &
	pid=$!
	disown
	wait_until 60 test -s "$work/$name"
	ask "$name" wait-ready
}

# Of the process $pid, what each thread does: its state, its tracer, the signals that wait in it.
show_threads() {
	local status
	for status in /proc/"${pid:-none}"/task/*/status; do
		awk '/^(Name|State|TracerPid|SigPnd):/ {printf "%s ", $2} END {print ""}' "$status" 2>/dev/null | sed 's/^/      /' || true
	done
}

# ask NAME COMMAND...: speaks with the worker
ask() {
	local name=$1
	shift
	"$control" --timeout 120 --state "$work/$name" "$@" || { cat "$work/$name.log"; show_threads; fail "the worker $name did not answer to: $*"; }
}

# check_worker NAME CHECKSUM: it works, and its contents are those
check_worker() {
	ask "$1" advance >/dev/null
	expect "the checksum of $1" "$(ask "$1" checksum)" "$2"
}

# inject NAME RULE...: into the driver calls of the worker's own process, agent included; no rules: none
inject() {
	local name=$1
	shift
	printf '%s\n' "$@" >"$work/$name.rules.new"
	rm -f "$work/$name.rules.held"* # before the next one may be there
	mv "$work/$name.rules.new" "$work/$name.rules"
}
# A call of it is there that a rule holds ("CALL=held"), until the next inject.
is_held() { [ -e "$work/$1.rules.held" ]; }
# So many, at least two, at the same moment.
are_held() { [ -e "$work/$1.rules.held.$2" ]; }

# cycle NAME FOLDER: dump and restore of the worker $pid, which must come back with its contents
cycle() {
	local name=$1 folder=$2 before
	before=$(ask "$name" checksum)
	must_dump "$pid" "$folder"
	must_restore "$folder"
	check_worker "$name" "$before"
}

expect_mode() { # FOLDER offload|native
	expect "the mode in $1" "$(json "$1/stats-rekindle.json" processes.0.mode)" "$2"
	expect "succeeded in $1" "$(json "$1/stats-rekindle.json" succeeded)" true
}

# ---- running ----

end_processes() {
	local process pid
	while
		pid=
		for process in /proc/[0-9]*; do
			process=${process#/proc/}
			[ "$process" != 1 ] && is_running "$process" || continue
			pid=$process
			kill -KILL "$process" 2>/dev/null || true
		done
		[ -n "$pid" ]
	do wait 2>/dev/null || true; done
}

# run_tests [NAME...]: the test functions named on the command line, else all
run_tests() {
	local name result failures=0 started
	local -a names=("$@")
	((${#names[@]})) || mapfile -t names < <(declare -F | sed -n 's/^declare -f test_//p')
	for name in "${names[@]}"; do
		work=$root/$name
		mkdir -p "$work"
		export REKINDLE_POOL_SOCKET=$work/pool.sock REKINDLE_CONFIGURATION=$work/rekindle.conf
		echo "[rekindle]" >"$REKINDLE_CONFIGURATION"
		started=$EPOCHREALTIME
		# Not as a condition: that would turn set -e off inside.
		(trap - EXIT; cd "$work"; "test_$name") &
		result=0
		wait $! || result=$?
		end_processes
		printf '%s %s (%.1f s)\n' "$([ $result = 0 ] && echo ok || echo 'NOT OK')" "$name" \
			"$(awk "BEGIN {print ${EPOCHREALTIME/,/.} - ${started/,/.}}")"
		if [ $result != 0 ]; then
			failures=$((failures + 1))
			[ -z "${REKINDLE_TEST_KEEP:-}" ] || { mkdir -p "$REKINDLE_TEST_KEEP"; cp -a "$work" "$REKINDLE_TEST_KEEP/"; }
		fi
		# What was mounted there, by the test or by a criu that it killed, the last one first.
		awk -v under="$work/" 'index($5, under) == 1 {print $5}' /proc/self/mountinfo | tac | while read -r folder; do
			umount -l "$folder"
		done
		rm -rf -- "$work"
	done
	echo "$((${#names[@]} - failures)) of ${#names[@]} passed"
	[ $failures = 0 ]
}
