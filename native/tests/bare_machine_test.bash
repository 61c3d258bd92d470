#!/bin/bash
# SPDX-License-Identifier: MIT
# The README's first command on a machine that has nothing: a Debian made by debootstrap (minbase), in which nothing of
# this machine's can be found.
#
#   bare_machine_test.bash [SUITE] [COMMAND...]    bookworm; java/bin/rekindle demo --mib 64
#
# Another COMMAND is run in place of the demonstration, from the top of the tree, for example
#   bare_machine_test.bash trixie bash -c 'native/packages.sh && mvn -B verify'
# Needs root and the mirror that apt uses. REKINDLE_TEST_DIRECTORY: where the machine is made (3 GiB).
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/bare_root.bash"
bare_isolate "$@"

suite=${1:-bookworm}
shift || true
bare_make "$suite"

# What a clone has, changes that are not committed yet included. Elsewhere, what is not built.
mkdir "$root/rekindle"
if [ -e "$source/.git" ]; then
	git -c safe.directory="$source" -C "$source" ls-files -z --cached --others --exclude-standard |
		tar -C "$source" --null --files-from - --ignore-failed-read -c
else
	tar -C "$source" --exclude=./native/build --exclude=target -c .
fi | tar -x -C "$root/rekindle"

bare_enter

# ---- in it ----

[ $# = 0 ] || { in_it /rekindle "$@"; exit; }

# Somebody else is just using apt, as unattended upgrades do.
in_it /rekindle perl -e 'use Fcntl; for (@ARGV) { open my $file, ">>", $_ or die "$_: $!"; push @files, $file;
	my $lock = pack "s s l! l! i x4", F_WRLCK, 0, 0, 0, 0; fcntl $file, F_SETLK, $lock or die "$_: $!"; }
	$| = 1; print "apt is in use\n"; sleep 8; print "apt is free\n"' \
	/var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend >/apt &
user_of_apt=$!
until grep -q use /apt; do kill -0 $user_of_apt && sleep 0.1; done
in_it /rekindle java/bin/rekindle demo --mib 64 2>&1 | tee /output || fail "java/bin/rekindle demo ended with an error on a bare $suite"
wait $user_of_apt
grep -q '^SIMULATED GPU' /output || fail "it does not say that the GPU is simulated"
grep -Eq '^contents identical; restore stock=[0-9.]+ rekindle=[0-9.]+ ratio=[0-9.]+$' /output ||
	fail "it does not end with the comparison"
echo "ok: the demonstration on a bare $suite"
