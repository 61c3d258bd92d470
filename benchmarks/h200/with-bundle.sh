#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Starts one of the Python programs beside it on a GPU machine: with-bundle.sh PROGRAM FOLDER [option...]
# FOLDER is what bundle.sh made.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${1:?usage: with-bundle.sh PROGRAM FOLDER [option...]}
bundle=$(cd "${2:?usage: with-bundle.sh PROGRAM FOLDER [option...]}" && pwd)
shift 2
command -v python3 >/dev/null || { echo "python3 is needed (with torch for the pytorch case)" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "CRIU needs root; run this as root" >&2; exit 1; }
# CRIU keeps what it learns of the kernel in /run, but only on a tmpfs, as every usual system has it there. Where it is
# none, all sides would pay for that at each run: give them one, in a mount namespace of their own.
if [ "$(stat -f -c %T /run)" != tmpfs ]; then
	exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run && exec "$@"' sh \
		python3 "$here/$program" --bundle "$bundle" "$@"
fi
exec python3 "$here/$program" --bundle "$bundle" "$@"
