# SPDX-License-Identifier: MIT
# For tests on a machine that has nothing: a Debian made by debootstrap (minbase), in which nothing of this machine's can be
# found. A test sources this file, calls bare_isolate, bare_make, puts into $root what it needs, calls bare_enter, and runs
# commands with in_it.
#
# A Debian is made once and kept in native/build/debian, as that takes most of the time. REKINDLE_TEST_DIRECTORY: where a
# test's own is unpacked (3 GiB).

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fail() { echo "FAILED: $*"; exit 1; }

# bare_isolate ARGUMENT...: the test again, in namespaces of its own, with $root an empty folder. Nothing is left behind,
# whatever happens: the namespaces take mounts and processes with them.
bare_isolate() {
	[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
	if [ "${REKINDLE_TEST_INSIDE:-}" != 1 ]; then
		root=$(mktemp -d "${REKINDLE_TEST_DIRECTORY:-${TMPDIR:-/tmp}}/rekindle-bare-XXXXXX")
		trap 'rm -rf --one-file-system -- "$root"' EXIT
		chmod 755 "$root" # it becomes /
		local result=0
		REKINDLE_TEST_INSIDE=1 root=$root unshare --pid --mount --ipc --propagation private --fork --mount-proc \
			--kill-child "$BASH" "$0" "$@" || result=$?
		exit $result
	fi
	unset REKINDLE_TEST_INSIDE
	# A program that was started with more descriptors open could be dumped here and not on a bare machine, or the other way.
	local name
	for name in /proc/self/fd/*; do
		name=${name##*/}
		((name < 3 || name == 255)) || eval "exec $name>&-"
	done
}

# bare_make SUITE: fills $root
bare_make() {
	local site kept=$source/native/build/debian/$1.tar
	# Of the sites that apt uses, the one of this Debian's own main archive.
	site=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
		awk '$2 == "Debian" && $3 == "main" {print $1; exit}')
	[ -n "$site" ] || fail "apt here has no Debian mirror to make a machine from"
	mkdir -p "${kept%/*}"
	exec 9>"$kept.lock"
	flock 9
	# Packages of a month ago may have left the mirror, and what an update brings is not what is tried.
	if [ -z "$(find "$kept" -mtime -30 2>/dev/null)" ]; then
		echo "making a $1"
		PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase "$1" "$root" "$site" >"$root.log" 2>&1 ||
			{ tail -n 5 "$root.log"; rm -f "$root.log"; fail "debootstrap failed"; }
		rm -f "$root.log"
		tar -C "$root" -cf "$kept.new" .
		mv "$kept.new" "$kept"
	else
		tar -C "$root" -xf "$kept"
	fi
	exec 9>&-
	cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
	# What the way to the outside needs: a proxy, say, or the authorities that it is to trust.
	apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99outside"
	if [ -d /usr/local/share/ca-certificates ]; then
		mkdir -p "$root/usr/local/share"
		cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
	fi
}

# bare_enter [cgroups]: makes $root this process's /, with the machine's control groups where a container engine needs them
bare_enter() {
	local device
	mount --bind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	[ "${1:-}" != cgroups ] || mount --rbind /sys/fs/cgroup sys/fs/cgroup
	mount -t tmpfs -o mode=755 tmpfs dev
	mkdir dev/shm dev/pts
	mount -t tmpfs tmpfs dev/shm
	mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	for device in null zero full random urandom tty; do
		touch "dev/$device"
		mount --bind "/dev/$device" "dev/$device"
	done
	mkdir old
	pivot_root . old
	local name
	bare_environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
	for name in http_proxy https_proxy no_proxy; do
		[ -z "${!name:-}" ] || bare_environment+=("$name=${!name}")
	done
	umount -l /old
	rmdir /old
}

# in_it FOLDER COMMAND...: there, with the environment of a machine that has just started
in_it() { chroot / /usr/bin/env -i "${bare_environment[@]}" bash -c 'cd "$0" && exec "$@"' "$@"; }
