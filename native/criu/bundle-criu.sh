#!/bin/bash
# Gathers criu, the shared libraries it needs (except glibc's own) and its
# CUDA plugin in a folder that can be carried to another machine of the same
# architecture with the same or a newer glibc:
#
#   bundle-criu.sh DEST [CRIU]
#
#   DEST/bin/criu                  run this one
#   DEST/lib/*.so*                 its libraries
#   DEST/lib/criu/cuda_plugin.so   CRIU's CUDA plugin, where it was built
#
# The programs find the libraries by a RUNPATH relative to themselves, not by
# LD_LIBRARY_PATH, which every process that criu starts would inherit.
# Without CRIU the one of provide-criu.sh is taken. Prints DEST/bin/criu.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "bundle-criu: $*" >&2; }
die() { say "$@"; exit 1; }

(($# == 1 || $# == 2)) || die "usage: bundle-criu.sh DEST [CRIU]"
dest=$1
criu=${2:-$("$here/provide-criu.sh" | tail -n1)}
criu=$(realpath -- "$criu")
[ -x "$criu" ] || die "$criu is not an executable program"

"$here/../packages.sh" bundle || die "packages are missing (see above)"

mkdir -p "$dest/bin" "$dest/lib/criu"
dest=$(cd "$dest" && pwd)

install -m 755 "$criu" "$dest/bin/criu"
# criu exports its own symbols to its plugins: only debug information may go.
strip --strip-debug "$dest/bin/criu"
patchelf --set-rpath '$ORIGIN/../lib' "$dest/bin/criu"

ldd "$criu" | awk '/not found/ { print "missing " $1; next } $2 == "=>" { print $1, $3 }' |
	while read -r name path; do
		[ "$name" != missing ] || die "$criu does not find $path here"
		case $name in
		linux-vdso.* | ld-linux* | libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.*)
			continue ;;
		esac
		install -m 644 "$path" "$dest/lib/$name"
		strip --strip-unneeded "$dest/lib/$name"
		patchelf --set-rpath '$ORIGIN' "$dest/lib/$name"
	done

plugin=$(dirname "$criu")/../plugins/cuda/cuda_plugin.so
if [ -e "$plugin" ]; then
	install -m 644 "$plugin" "$dest/lib/criu/cuda_plugin.so"
	strip --strip-debug "$dest/lib/criu/cuda_plugin.so"
fi

"$dest/bin/criu" --version >&2 || die "the bundled criu does not run"
say "$(du -sk "$dest" | cut -f1) KiB in $dest"
echo "$dest/bin/criu"
