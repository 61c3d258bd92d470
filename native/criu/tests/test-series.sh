#!/bin/bash
# The patches as CRIU's maintainers take them: `git am` of one after the other on the release, messages of 75 columns, and
# nothing in them that is not meant to be there.
#
#   test-series.sh [--build]
#
# With --build CRIU and the ZDTM tests that a patch brings are built after each one. It takes long and is for whoever
# changes a patch. CC can be "ccache gcc".
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
patches=$tests/../patches
command -v git >/dev/null || { echo "SKIP: no git"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/criu-series.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 143' INT TERM
fail() { echo "FAIL: $*"; exit 1; }

tarball=$(echo "$tests"/../../build/criu/criu_*.orig.tar.xz)
[ ! -e "$tarball" ] || export CRIU_SOURCE=${CRIU_SOURCE:-$tarball}
tree=$("$tests/../provide-criu.sh" --stock --source-only --build-dir "$work" | tail -n1)
[ -d "$tree" ] || fail "no sources"
rm -f "$tree/.source-key"
git() { command git -C "$tree" -c user.name=nobody -c user.email=nobody@example.org -c core.excludesFile=/dev/null "$@"; }
git init -q
# Of the release, what its .gitignore would leave out, too.
git add -A -f
git commit -q -m release

built() { # LOG MAKE'S ARGUMENTS
	make -C "$tree" -j"$(nproc)" ${CC:+CC="$CC"} NO_GNUTLS=1 "${@:2}" </dev/null >"$1" 2>&1 || { tail "$1"; return 1; }
}

set -- "${1:-}" "$patches"/0*.patch
build=$1
shift
n=0
for patch; do
	n=$((n + 1))
	name=$(basename "$patch")
	grep -q "^Subject: \[PATCH $(printf %02d/%02d $n $#)\] " "$patch" || fail "$name: it is number $n of $#"
	git am -q "$patch" || fail "$name does not apply"
	long=$(git log -1 --format=%B | awk 'length > 75')
	[ -z "$long" ] || fail "$name: lines of more than 75 columns: $long"
	# What an editor, patch(1) or a test leaves behind
	odd=$(git show --format= --name-only --diff-filter=A | grep -Ev '^(criu|test/zdtm)/.*\.(c|h|desc|hook)$' || true)
	[ -z "$odd" ] || fail "$name brings $odd"
	odd=$(git show --check --format= | head -n 3)
	[ -z "$odd" ] || fail "$name: $odd"
	[ "$build" = --build ] || continue
	built "$work/log" criu || fail "$name does not build"
	! grep -q "warning:" "$work/log" || fail "$name: $(grep -m1 "warning:" "$work/log")"
	new=$(git show --format= --name-only --diff-filter=A | sed -n 's,^test/zdtm/static/\([^/]*\)\.c$,\1,p')
	[ -z "$new" ] || { built "$work/log" -C test/zdtm/lib && built "$work/log" -C test/zdtm/static $new; } ||
		fail "$name: its tests do not build"
	echo "$name: built" ${new:+with $new}
done
long=$(awk 'length > 75' "$patches"/0000-cover-letter.txt)
[ -z "$long" ] || fail "the cover letter: $long"
grep -q "^Subject: \[PATCH 00/$#\] " "$patches/0000-cover-letter.txt" || fail "the cover letter is for another number of patches"
echo "ok: $# patches"
