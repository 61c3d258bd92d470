#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures CRIU's own memory restore on a machine without compilers or packages, stock against patched:
#   criu-memory.sh FOLDER [option of criu-memory/run...]
# FOLDER is what bundle.sh made. Images are in /dev/shm unless TMPDIR says otherwise.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle=$(cd "${1:?usage: criu-memory.sh FOLDER [option...]}" && pwd)
shift
export CRIU=$bundle/criu/bin/criu CRIU_STOCK=$bundle/criu-stock/bin/criu MEMLOAD=$bundle/bin/memload TMPDIR=${TMPDIR:-/dev/shm}
exec python3 "$here/../criu-memory/run" --no-4.3 "$@"
