#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gathers everything that restore.sh and criu-memory.sh need on a GPU machine without compilers or packages: bundle.sh FOLDER
# The folder then holds bin/, lib/, criu/ (patched) and criu-stock/ with CRIU's own plugin. CUDA_CHECKPOINT=/path adds
# NVIDIA's cuda-checkpoint program, which the stock side needs; RUNC=/usr/sbin/runc adds runc with what it needs, for
# ../container/run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
to=${1:?usage: bundle.sh FOLDER}
native=${REKINDLE_BUILD:-$root/native/build/release}

rm -rf "$to"
mkdir -p "$to/bin" "$to/lib/criu"
patched=$("$root/native/criu/provide-criu.sh" | tail -n 1)
stock=$("$root/native/criu/provide-criu.sh" --stock | tail -n 1)
"$root/native/criu/bundle-criu.sh" "$to/criu" "$patched"
"$root/native/criu/bundle-criu.sh" "$to/criu-stock" "$stock"
for program in rekindled rekindle-seal rekindle-worker rekindle-worker-control; do
	install -s "$native/bin/$program" "$to/bin/"
done
install -s "$native/lib/criu/cuda_plugin.so" "$to/lib/criu/"
"${CC:-cc}" -O2 -s -o "$to/bin/memload" "$here/../criu-memory/memload.c"
"${CC:-cc}" -D_GNU_SOURCE -O2 -s -o "$to/bin/fileways" "$here/../copy-out/fileways.c" -lpthread
"${CC:-cc}" -O2 -s -o "$to/bin/dumpways" "$here/../criu-memory/dumpways.c" -lpthread
for library in librekindle-preload.so librekindle.so; do
	install -s "$(readlink -f "$native/lib/$library")" "$to/lib/$library"
done
ln -sf librekindle.so "$to/lib/librekindle.so.0"
if [ -n "${CUDA_CHECKPOINT:-}" ]; then
	mkdir -p "$to/cuda-checkpoint"
	install "$CUDA_CHECKPOINT" "$to/cuda-checkpoint/cuda-checkpoint"
fi
if [ -n "${RUNC:-}" ]; then
	mkdir -p "$to/runc"
	install -s "$RUNC" "$to/runc/runc"
	# Beside it and not found by its own path: ../container/runc.py says where it is, should the machine have none.
	ldd "$RUNC" | awk '$1 ~ /^libseccomp/ { print $3 }' | while read -r library; do install -m 644 "$library" "$to/runc/"; done
fi
du -sh "$to" >&2
