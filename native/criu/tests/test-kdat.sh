#!/bin/bash
# What CRIU has learned of the kernel is kept until the next start of the machine, also where /run is no tmpfs.
. "$(dirname "$0")/lib.sh"
on_disk || skip "$work is a tmpfs"

mkdir "$work/run"
mount --bind "$work/run" /run || skip "no mounts here"
at_exit() { umount -l /run; }

loaded() { grep -aq "Loaded kdat cache from /run/criu.kdat" "$work/img/restore.log"; }

dump_zoo cow
rm -f /run/criu.kdat
: >/run/criu.kdat.tmp # what CRIU without this left behind
restore || fail "first restore"
! loaded || fail "loaded before it was saved"
[ -s /run/criu.kdat ] || fail "not saved"
kill_zoo
restore || fail "second restore"
loaded || fail "not loaded"
check_zoo "kept"
kill_zoo

# another start of the machine
boot_id=$(cat /proc/sys/kernel/random/boot_id)
sed -i "s/$boot_id/${boot_id//[0-9a-f]/0}/" /run/criu.kdat
restore || fail "restore with what is from another start"
! loaded || fail "what is from another start is taken"
grep -aq "$boot_id" /run/criu.kdat || fail "not saved again"
check_zoo "from another start"
kill_zoo
[ "$(ls /run)" = "$(printf 'criu.kdat\ncriu.kdat.tmp')" ] || fail "left in /run: $(ls /run)"
