#!/bin/bash
# Puts the criu of Debian's experimental suite and the libraries it needs into
# a folder of its own, from the mirror apt itself uses, and prints the command
# that runs it there. Nothing is installed. Fails with a sentence where it
# can't be had.
set -euo pipefail
die() { echo "fetch-4.3: $*" >&2; exit 1; }
(($# == 1)) || die "usage: fetch-4.3.sh DIR"
command -v apt-get >/dev/null || die "no apt here"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
root=$dir/root
mkdir -p "$root" "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/etc/preferences.d"
: >"$dir/apt/status"
for site in $(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sort -u); do
	for suite in experimental unstable; do
		echo "deb $site $suite main"
	done
done | grep -v security >"$dir/apt/sources.list"
keys=(/usr/share/keyrings/debian-archive-keyring.gpg)
[ -e "${keys[0]}" ] || die "no keyring of the archive"
opts=(-o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
	-o Dir::State::Lists="$dir/apt/lists" -o Dir::State::status="$dir/apt/status"
	-o Dir::Cache="$dir/apt/cache" -o Dir::Etc::PreferencesParts="$dir/apt/etc/preferences.d"
	-o Dir::Etc::TrustedParts=/usr/share/keyrings -o APT::Sandbox::User=root
	-o APT::Install-Recommends=false -o Acquire::Languages=none)
apt-get "${opts[@]}" update -qq >&2 || die "the mirror has no experimental suite"
apt-get "${opts[@]}" install -y -qq --download-only -t experimental criu >&2 ||
	die "the mirror has no criu in its experimental suite"
for deb in "$dir"/apt/cache/archives/*.deb; do
	dpkg -x "$deb" "$root"
done
loader=$(find "$root" -name 'ld-linux-x86-64.so.2' -type f | head -n1)
criu=$(find "$root" -path '*/sbin/criu' | head -n1)
[ -n "$loader" ] && [ -n "$criu" ] || die "the package has no criu or no loader"
libs=$(dirname "$loader"):$root/usr/lib/x86_64-linux-gnu
"$loader" --library-path "$libs" "$criu" --version >&2 || die "it does not run here"
"$loader" --library-path "$libs" "$criu" check >&2 || die "its check fails on this kernel"
rm -rf "$dir/apt/cache"
echo "$loader --library-path $libs $criu"
