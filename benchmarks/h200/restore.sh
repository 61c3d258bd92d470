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
# CRIU keeps what it learns of the kernel in /run, but only on a tmpfs, as every usual system has it there. Where it is
# none, both sides would pay for that at each run: give them one, in a mount namespace of their own.
if [ "$(stat -f -c %T /run)" != tmpfs ]; then
	exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run && exec "$@"' sh python3 "$here/measure.py" --bundle "$bundle" "$@"
fi
exec python3 "$here/measure.py" --bundle "$bundle" "$@"
