#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures restores on a real GPU, stock CRIU against Rekindle, interleaved in one run:
#   restore.sh FOLDER [--cases c8,c32,pytorch] [--runs 5] [--results FILE] ...
# FOLDER is what bundle.sh made. Prints one line a case: case=NAME stock=S ours=S ratio=R spread=P%
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle=$(cd "${1:?usage: restore.sh FOLDER [options]}" && pwd)
shift
command -v python3 >/dev/null || { echo "restore.sh: python3 is needed (with torch for the pytorch case)" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "restore.sh: CRIU needs root; run this as root" >&2; exit 1; }
exec python3 "$here/measure.py" --bundle "$bundle" "$@"
