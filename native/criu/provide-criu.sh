#!/bin/bash
# Provides a criu program and prints its absolute path as the last line of
# standard output. Everything else goes to standard error.
#
#   provide-criu.sh [--build-dir DIR] [--stock] [--source-only]
#
# By default CRIU 4.2.1 with the patches of patches/ is built in
# DIR/rekindle; --stock builds it unpatched in DIR/stock. Both get CRIU's own
# CUDA plugin. --source-only stops after unpacking and patching and prints the
# source folder.
#
# Environment:
#   REKINDLE_CRIU  a criu program to use instead of building one, or "system"
#                  for the one in PATH. It has to be version 4.1 or newer and
#                  pass `criu check`.
#   CRIU_SOURCE    the 4.2.1 source: a tarball, or a folder with a clone.
#   CMAKE_C_COMPILER_LAUNCHER
#                  ccache, for instance: what one checkout has compiled, others
#                  of the same user don't compile again.
set -euo pipefail

version=4.2.1
tarball=criu_${version}.orig.tar.xz
sha256=29ec0ee09e296479fe7048c80980e8ef1d0684d0b0204c2b101dfea19f6725b9
pool_path=pool/main/c/criu/$tarball
min_version=4.1
# GnuTLS only serves the page server's TLS and would triple the size of a bundle.
make_flags=(NO_GNUTLS=1)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build_dir=$here/../build/criu
variant=rekindle
source_only=0

say() { echo "provide-criu: $*" >&2; }
die() { say "$@"; exit 1; }

usage() { sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; }

while (($#)); do
	case $1 in
	--build-dir) build_dir=${2:?--build-dir needs a folder}; shift 2 ;;
	--build-dir=*) build_dir=${1#*=}; shift ;;
	--stock) variant=stock; shift ;;
	--source-only) source_only=1; shift ;;
	-h | --help) usage; exit 0 ;;
	*) usage; die "unknown argument: $1" ;;
	esac
done

# version_of PROGRAM: 4.2.1, or 4.2 for "Version: 4.2"
version_of() { "$1" --version 2>/dev/null | sed -n 's/^Version: *\([0-9.]*\).*/\1/p'; }

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# Says on standard output why PROGRAM is not usable, nothing when it is.
why_unusable() {
	local v out
	[ -x "$1" ] || { echo "$1 is not an executable program"; return; }
	v=$(version_of "$1") || true
	[ -n "$v" ] || { echo "$1 does not print a version (does it find its libraries?)"; return; }
	at_least "$min_version" "$v" || { echo "$1 is version $v, at least $min_version is needed"; return; }
	if [ "$(id -u)" = 0 ]; then
		out=$("$1" check 2>&1) || echo "$1 (version $v) fails 'criu check' on kernel $(uname -r): $(tail -n1 <<<"$out")"
	fi
}

if [ -n "${REKINDLE_CRIU:-}" ] && [ "$variant" = rekindle ] && [ "$source_only" = 0 ]; then
	prog=$REKINDLE_CRIU
	if [ "$prog" = system ]; then
		prog=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v criu) ||
			die "REKINDLE_CRIU=system, but no criu is installed"
	fi
	prog=$(realpath -- "$prog")
	why=$(why_unusable "$prog")
	[ -z "$why" ] || die "REKINDLE_CRIU: $why"
	echo "$prog"
	exit 0
fi

mkdir -p "$build_dir"
build_dir=$(cd "$build_dir" && pwd)
tree=$build_dir/$variant
criu=$tree/criu/criu

patches=()
if [ "$variant" = rekindle ]; then
	shopt -s nullglob
	patches=("$here"/patches/*.patch)
	shopt -u nullglob
fi

# What the sources, and what the build is made from. The kernel is part of the
# second one because `criu check` has to pass again on another one.
source_key() {
	echo "version=$version"
	if [ -n "${CRIU_SOURCE:-}" ]; then
		if [ -d "$CRIU_SOURCE" ]; then
			echo "source=$(realpath -- "$CRIU_SOURCE") $(git -C "$CRIU_SOURCE" describe --always --dirty 2>/dev/null || true)"
		else
			echo "source=$(sha256sum <"$CRIU_SOURCE")"
		fi
	else
		echo "sha256=$sha256"
	fi
	cat "${patches[@]}" /dev/null | sha256sum
}
build_key() { source_key; echo "flags=${make_flags[*]} kernel=$(uname -r)"; }

done_already() {
	if [ "$source_only" = 1 ]; then
		[ "$(cat "$tree/.source-key" 2>/dev/null)" = "$(source_key)" ] || return 1
		echo "$tree"
	else
		[ -x "$criu" ] && [ "$(cat "$tree/.build-key" 2>/dev/null)" = "$(build_key)" ] || return 1
		echo "$criu"
	fi
}

done_already && exit 0

exec 9>"$build_dir/.lock-$variant"
if ! flock -n 9; then
	say "waiting for another run that builds the same tree"
	flock 9
fi
done_already && exit 0

# Where nothing can be built, an installed criu that qualifies is better than
# none: everything but the faster memory restore works with it.
cannot_build() {
	local sys
	if [ "$variant" = rekindle ] && [ "$source_only" = 0 ] &&
		sys=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v criu) &&
		[ -z "$(why_unusable "$sys")" ]; then
		say "$*"
		say "using the installed $sys, version $(version_of "$sys"), without the patches"
		realpath -- "$sys"
		exit 0
	fi
	die "$@"
}

# --- packages -------------------------------------------------------------

if [ "$source_only" = 1 ]; then
	"$here/../packages.sh" source 9>&- || cannot_build "the sources cannot be unpacked without these packages"
else
	"$here/../packages.sh" criu 9>&- || cannot_build "CRIU cannot be built without these packages"
fi

# --- source ---------------------------------------------------------------

# Fetches the pinned tarball from the mirrors that apt itself is configured
# with, through apt's own downloader, so that its proxies are used too.
fetch() {
	local dest=$1 site
	command -v apt-get >/dev/null && [ -x /usr/lib/apt/apt-helper ] ||
		cannot_build "no apt here to fetch $tarball with: set CRIU_SOURCE to it (SHA-256 $sha256)"
	while read -r site; do
		[ -n "$site" ] || continue
		say "fetching $tarball from the mirror that apt uses"
		if (cd "$(dirname "$dest")" && /usr/lib/apt/apt-helper download-file \
			-o APT::Sandbox::User=root "${site%/}/$pool_path" "$dest" "SHA256:$sha256" >&2); then
			return 0
		fi
	done < <(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sort -u)
	cannot_build "no mirror that apt uses has $pool_path: set CRIU_SOURCE to the tarball (SHA-256 $sha256)"
}

unpack() {
	local new=$tree.new
	rm -rf -- "$new"
	mkdir -p "$new"
	if [ -n "${CRIU_SOURCE:-}" ] && [ -d "$CRIU_SOURCE" ]; then
		grep -qE '^CRIU_VERSION_MAJOR' "$CRIU_SOURCE/Makefile.versions" 2>/dev/null ||
			die "CRIU_SOURCE=$CRIU_SOURCE is no CRIU source folder"
		local found
		found=$(sed -n 's/^CRIU_VERSION_\(MAJOR\|MINOR\|SUBLEVEL\)[[:space:]]*:=[[:space:]]*//p' \
			"$CRIU_SOURCE/Makefile.versions" | paste -sd. | sed 's/\.$//')
		[ "$found" = "$version" ] ||
			die "CRIU_SOURCE=$CRIU_SOURCE is CRIU $found, and the patches are for $version: check out v$version"
		say "copying the sources from CRIU_SOURCE"
		if git -C "$CRIU_SOURCE" rev-parse --git-dir >/dev/null 2>&1; then
			git -C "$CRIU_SOURCE" archive HEAD | tar -x -C "$new"
		else
			tar -c -C "$CRIU_SOURCE" . | tar -x -C "$new"
		fi
	else
		local from=$build_dir/$tarball
		if [ -n "${CRIU_SOURCE:-}" ]; then
			from=$CRIU_SOURCE
			[ -f "$from" ] || die "CRIU_SOURCE=$CRIU_SOURCE does not exist"
		else
			# The two variants share the tarball.
			exec 8>"$build_dir/.lock-tarball"
			flock 8
			sha256sum -c --status <<<"$sha256  $from" 2>/dev/null || fetch "$from"
			exec 8>&-
		fi
		sha256sum -c --status <<<"$sha256  $from" ||
			die "$from does not have the SHA-256 of CRIU $version, $sha256"
		tar -x -C "$new" --strip-components=1 -f "$from"
	fi
	local p
	for p in "${patches[@]}"; do
		patch -d "$new" -p1 -s -f --no-backup-if-mismatch <"$p" >&2 ||
			die "$(basename "$p") does not apply to this source"
	done
	source_key >"$new/.source-key"
	rm -rf -- "$tree"
	mv -T -- "$new" "$tree"
}

if [ "$(cat "$tree/.source-key" 2>/dev/null)" != "$(source_key)" ]; then
	unpack
fi
if [ "$source_only" = 1 ]; then
	echo "$tree"
	exit 0
fi

# --- build ----------------------------------------------------------------

rm -f -- "$tree/.build-key"
log=$tree/.build-log
launcher=${CMAKE_C_COMPILER_LAUNCHER:-}
# The names of other folders are no reason for ccache to compile again.
export CCACHE_BASEDIR=$tree CCACHE_NOHASHDIR=1
say "building CRIU $version in $tree"
# MAKEFLAGS and CFLAGS of a caller are made for another build. CRIU's make
# asks git for a version and must not find the surrounding checkout's.
if ! env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CFLAGS -u CXXFLAGS -u LDFLAGS -u DESTDIR \
	make -C "$tree" -j"$(nproc)" "${make_flags[@]}" ${launcher:+HOSTCC="$launcher gcc"} criu cuda_plugin </dev/null >"$log" 2>&1 9>&-; then
	tail -n 30 "$log" >&2
	die "the build failed, its whole log is $log"
fi
why=$(why_unusable "$criu")
[ -z "$why" ] || die "$why"
build_key >"$tree/.build-key"
done_already
