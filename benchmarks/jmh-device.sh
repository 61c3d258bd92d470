#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the benchmarks on a GPU machine with what h200/bundle.sh and jmh-bundle.sh gathered:
#   jmh-device.sh FOLDER RESULTS [JMH option...]
# e.g. jmh-device.sh bundle results 'ContextReuse|FfmCall|Restore'. The results are JSON files; make a page of them with
#   java -jar benchmarks.jar report RESULTS page.html
# Environment (each with a default): BENCHMARK_DRIVER, BENCHMARK_FOLDER, BENCHMARK_DISK, BENCHMARK_RESTORE_MIB (8192),
# BENCHMARK_COPY_MIB (2048).
set -euo pipefail
bundle=$(cd "${1:?usage: jmh-device.sh FOLDER RESULTS [JMH option...]}" && pwd)
mkdir -p "${2:?usage: jmh-device.sh FOLDER RESULTS [JMH option...]}"
results=$(cd "$2" && pwd)
shift 2
[ "$(id -u)" = 0 ] || { echo "jmh-device.sh: CRIU needs root; run this as root" >&2; exit 1; }

find_driver() {
	ldconfig -p 2>/dev/null | sed -n 's/^[[:space:]]*libcuda\.so\.1 (.*x86-64.*) => //p' | head -n1
}
export BENCHMARK_DRIVER=${BENCHMARK_DRIVER:-$(find_driver)}
[ -r "$BENCHMARK_DRIVER" ] || { echo "jmh-device.sh: no libcuda.so.1 was found: set BENCHMARK_DRIVER" >&2; exit 1; }
export BENCHMARK_NATIVE=$bundle BENCHMARK_RESULTS=$results
export BENCHMARK_CRIU=${BENCHMARK_CRIU:-$bundle/criu/bin/criu}
export BENCHMARK_STOCK_CRIU=${BENCHMARK_STOCK_CRIU:-$bundle/criu-stock/bin/criu}
export BENCHMARK_STOCK_PLUGINS=${BENCHMARK_STOCK_PLUGINS:-$bundle/criu-stock/lib/criu}
export BENCHMARK_FOLDER=${BENCHMARK_FOLDER:-/tmp} BENCHMARK_DISK=${BENCHMARK_DISK:-/tmp}
export BENCHMARK_RESTORE_MIB=${BENCHMARK_RESTORE_MIB:-8192} BENCHMARK_COPY_MIB=${BENCHMARK_COPY_MIB:-2048}
# NVIDIA's cuda-checkpoint, which the stock side runs.
export PATH=$bundle/cuda-checkpoint:$PATH

# A restored process is nobody's child here: this collects it once it has ended, or its process id would stay taken.
reaper='import ctypes, os, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
child = subprocess.Popen(sys.argv[1:]).pid
while True:
    pid, status = os.waitpid(-1, 0)
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status) & 255)'
exec python3 -c "$reaper" "$bundle/java/bin/java" -Drekindle.library.path="$bundle/lib" \
	--sun-misc-unsafe-memory-access=allow -jar "$bundle/benchmarks.jar" "$@"
