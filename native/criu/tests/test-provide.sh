#!/bin/bash
# provide-criu.sh gives a usable program, at once the second time, and refuses
# what does not qualify.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
provide=$here/../provide-criu.sh
fail() { echo "FAIL: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }

criu=$("$provide" | tail -n1)
[ -x "$criu" ] || fail "'$criu' is no program"
start=$(date +%s%N)
again=$("$provide" | tail -n1)
ms=$((($(date +%s%N) - start) / 1000000))
[ "$again" = "$criu" ] || fail "another one the second time: $again"
((ms < 1000)) || fail "the second run takes $ms ms"
"$criu" check >/dev/null 2>&1 || fail "criu check does not pass"

[ "$(REKINDLE_CRIU=$criu "$provide" 2>/dev/null)" = "$(realpath "$criu")" ] || fail "REKINDLE_CRIU is not taken"

tmp=$(mktemp -d)
trap 'rm -rf -- "$tmp"' EXIT
printf '#!/bin/sh\n[ "$1" != --version ] || echo "Version: 3.17.1"\n' >"$tmp/criu"
chmod +x "$tmp/criu"
if REKINDLE_CRIU=$tmp/criu "$provide" >"$tmp/out" 2>"$tmp/err"; then fail "version 3.17.1 is taken"; fi
grep -q "version 3.17.1, at least 4.1" "$tmp/err" || fail "it does not say what is wrong: $(cat "$tmp/err")"
printf '#!/bin/sh\nif [ "$1" = --version ]; then echo "Version: 4.2"; else echo no vdso; exit 1; fi\n' >"$tmp/criu"
if REKINDLE_CRIU=$tmp/criu "$provide" >"$tmp/out" 2>"$tmp/err"; then fail "one that fails its check is taken"; fi
grep -q "fails 'criu check'.*no vdso" "$tmp/err" || fail "it does not say what is wrong: $(cat "$tmp/err")"

echo "not a tarball" >"$tmp/source"
if CRIU_SOURCE=$tmp/source "$provide" --build-dir "$tmp/build" >"$tmp/out" 2>"$tmp/err" && [ -e "$tmp/build/rekindle/criu/criu" ]; then
	fail "a source with another checksum is built"
fi
grep -q "SHA-256" "$tmp/err" || fail "it does not say what is wrong: $(cat "$tmp/err")"
mkdir "$tmp/folder"
printf 'CRIU_VERSION_MAJOR\t:= 4\nCRIU_VERSION_MINOR\t:= 3\nCRIU_VERSION_SUBLEVEL\t:=\n' >"$tmp/folder/Makefile.versions"
if CRIU_SOURCE=$tmp/folder "$provide" --build-dir "$tmp/build" >"$tmp/out" 2>"$tmp/err" && [ -e "$tmp/build/rekindle/criu/criu" ]; then
	fail "sources of another version are built"
fi
grep -q "is CRIU 4.3, and the patches are for" "$tmp/err" || fail "it does not say what is wrong: $(cat "$tmp/err")"
echo "ok: provide"
