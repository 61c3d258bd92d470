#!/bin/bash
# The options from a program that embeds CRIU, through its RPC.
. "$(dirname "$0")/lib.sh"

proto=$(dirname "$CRIU")/../images
[ -e "$proto/rpc.proto" ] || skip "$CRIU is not in a CRIU source tree"
command -v protoc >/dev/null || skip "no protoc to make requests with"

# $work/out is the answer as text
request() { # options in protobuf's text format
	protoc -I "$proto" --encode=criu_req "$proto/rpc.proto" >"$work/request" <<-END
		type: RESTORE
		opts {
			images_dir_fd: -1 images_dir: "$work/img" log_file: "restore.log" log_level: 3
			$*
		}
	END
	rm -f "$work/img/restore.log"
	python3 "$tests/swrk.py" "$CRIU" <"$work/request" >"$work/answer" || fail "$*: no answer"
	protoc -I "$proto" --decode=criu_resp "$proto/rpc.proto" <"$work/answer" >"$work/out" || fail "$*: no answer"
}

rpc_restore() {
	request "$@"
	grep -q 'success: true' "$work/out" || fail "$*: $(cat "$work/out")"
}

nr_huge() { grep -c "[( ]hg[ )]" "$1"; }

dump_zoo mappings
for n in 1 3; do
	rpc_restore "restore_threads: $n"
	readers_used $n || fail "restore_threads: not read by $n threads"
	check_zoo "RPC, $n threads"
	kill_zoo
done

rpc_restore "restore_threads: 2 restore_thp: THP_ALWAYS"
readers_used 2 || fail "restore_thp: not read by 2 threads"
snapshot "$pid" >"$work/always"
if ! grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled; then
	[ "$(nr_huge "$work/always")" -gt "$(nr_huge "$work/before")" ] ||
		fail "restore_thp: no more advice than the program had"
fi
check_zoo "RPC, huge pages always" "s/ hg//"
kill_zoo

rpc_restore "restore_threads: 2 restore_thp: THP_NEVER"
check_zoo "RPC, huge pages never"
kill_zoo

rpc_restore ""
! readers_used "[0-9]*" || fail "readers without being asked for"
check_zoo "RPC, no options"
kill_zoo

for bad in "restore_threads: 4294967295" "dump_threads: 4294967295"; do
	request "$bad"
	grep -q 'success: false' "$work/out" || fail "$bad is taken"
	[ ! -e "/proc/$pid" ] || fail "$bad restores"
done
echo "ok: RPC"
