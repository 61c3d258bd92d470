#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the program with a worker of the tests, on the simulated driver: what the worker holds is the same afterwards.
#
#   try.bash NAME NATIVE_SOURCE NATIVE_BUILD JAVA_OPTION...
set -euo pipefail

name=$1 source=$2 build=$3
shift 3
java=$("$source/find-jdk.sh" java)/bin/java
folder=$PWD/target/$name
mkdir -p "$folder"
cd "$folder"

# Nothing of this machine, and the driver that is simulated.
for variable in $(compgen -e REKINDLE_) LD_PRELOAD; do unset "$variable"; done
REKINDLE_CRIU=$("$source/criu/provide-criu.sh" | tail -n1)
export REKINDLE_CRIU REKINDLE_CUDA_DRIVER=$build/lib/simcuda/libcuda.so.1
export REKINDLE_POOL_SOCKET=$folder/pool.sock LD_LIBRARY_PATH=$build/lib/simcuda

ask() { "$build/bin/rekindle-worker-control" --state "$folder/state" "$1"; }
expect() { # TEXT: the next line of the program has it
	local line
	read -r line <&"${program[0]}" || { echo "$name: the program has ended before it said: $1" >&2; exit 1; }
	case $line in
	*"$1"*) echo "$name: $line" ;;
	*) echo "$name: the program said: $line" >&2; exit 1 ;;
	esac
}

pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true' EXIT
coproc program {
	exec "$java" --illegal-native-access=deny -Drekindle.cache.directory="$folder/cache" "$@" \
		"$build/bin/rekindle-worker" --state "$folder/state" --mib 24 --pieces 6
}
input=${program[1]}
read -r _ pid _ <&"${program[0]}" || { echo "$name: the program does not start" >&2; exit 1; }
until [ -s state ]; do
	kill -0 "$pid" 2>/dev/null || { echo "$name: the worker has ended" >&2; exit 1; }
	sleep 0.05
done
ask wait-ready
before=$(ask checksum)
echo >&"$input"
expect "is in images"
! kill -0 "$pid" 2>/dev/null || { echo "$name: the process still runs" >&2; exit 1; }
echo >&"$input"
expect "process $pid goes on"
wait "$program_PID"
[ "$(ask checksum)" = "$before" ] || { echo "$name: the memory is not what it was" >&2; exit 1; }
ask advance
grep -q '"mode": *"offload"' images/stats-rekindle.json || { echo "$name: not with the agent" >&2; exit 1; }
echo "$name: the process has what it had, and goes on"
