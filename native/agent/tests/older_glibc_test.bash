#!/bin/bash
# SPDX-License-Identifier: MIT
# older_glibc_test.bash LIBRARY: it needs no version of glibc that is newer than 2.31, the one of Ubuntu 20.04 and Debian 11.
set -euo pipefail
newest=2.31
needed=$(objdump -T "$1" | sed -n 's/.*\*UND\*.*(\{0,1\}GLIBC_\([0-9.]*\).*/\1/p' | sort -uV)
[ -n "$needed" ] || { echo "FAIL: $1 needs no glibc at all?"; exit 1; }
[ "$(printf '%s\n' "$needed" "$newest" | sort -V | tail -n1)" = $newest ] || {
	echo "FAIL: $1 needs more than glibc $newest:"
	objdump -T "$1" | grep -F '*UND*' | grep -E "GLIBC_($(printf '%s\n' "$needed" "$newest" | sort -V | sed "1,/^$newest\$/d" | paste -sd'|'))\)"
	exit 1
}
echo "ok: needs glibc $(tail -n1 <<<"$needed")"
