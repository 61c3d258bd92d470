#!/bin/bash
# SPDX-License-Identifier: MIT
# The Debian package on a machine that has nothing: installs by one command, restores a process, does for Podman what
# README.md says, line by line, and leaves nothing behind.
#
#   package_test.bash PACKAGE [SUITE]    bookworm
#
# The simulated driver and a worker are carried in, as the package has neither. Needs root and the mirror that apt uses.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../tests/bare_root.bash"
bare_isolate "$@"

package=$1
suite=${2:-bookworm}
build=$(cd "$(dirname "$package")" && pwd)
bare_make "$suite"

mkdir "$root/simulated"
cp -L "$build/lib/simcuda/libcuda.so.1" "$build/bin/rekindle-worker" "$build/bin/rekindle-worker-control" "$root/simulated/"
cp "$package" "$root/root/"
# An older build of it, which has another agent: this one's, by the name of another build.
older=$root.older
dpkg-deb -R "$package" "$older"
sed -i 's/^Version: .*/Version: 0.0.1/' "$older/DEBIAN/control"
python3 - "$older"/usr/lib/rekindle/agent/*/librekindle-preload.so <<'END'
import os, sys
file = sys.argv[1]
folder, name = os.path.split(file)
build = bytes.fromhex(os.path.basename(folder))
data = open(file, "rb").read()
assert data.count(build) == 1, "the folder is not named by the build"
open(file, "wb").write(data.replace(build, build[::-1]))
os.rename(folder, os.path.join(os.path.dirname(folder), build[::-1].hex()))
END
rm -f "$older/DEBIAN/md5sums"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$older" "$root/root/older.deb" >/dev/null
rm -rf "$older"
# The block of commands of README.md's section on Podman.
sed -n '/^## Podman/,/^## /s/^    //p' "$source/README.md" >"$root/root/podman-lines"
[ -s "$root/root/podman-lines" ] || fail "README.md has no lines for Podman"
bare_enter cgroups

at() { in_it /root "$@"; }
apt() { at env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends "$@" >/root/apt.log 2>&1 || { cat /root/apt.log; fail "apt-get $* failed"; }; }
everything() { find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /root -o -path /simulated -o -path /var/cache -o -path /var/log \
	-o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /run -o -path /tmp \) -prune -o -print | sort; }
# as_before WHAT: what is on the machine is what was there
as_before() { diff /root/before <(everything) || fail "$1 leaves something behind"; }

# ---- a machine without container engine ----

apt update
# What the package asks for stays when it goes, until apt is told to remove that too.
apt install libnet1 libnl-3-200 libprotobuf-c1
everything >/root/before
echo "installing on a bare $suite"
apt install ./older.deb
agent=$(at readlink -f /usr/lib/rekindle/librekindle-preload.so)
printf '[rekindle]\nREKINDLE_CUDA_DRIVER=/simulated/libcuda.so.1\n' >/etc/rekindle.conf

ask() { at /simulated/rekindle-worker-control --state /root/state "$@"; }
at bash -c 'LD_PRELOAD=/usr/lib/rekindle/librekindle-preload.so LD_LIBRARY_PATH=/simulated setsid /simulated/rekindle-worker \
	--state /root/state --mib 24 </dev/null >/root/worker.log 2>&1 &'
ask wait-ready || { cat /root/worker.log; fail "the worker does not start"; }
before=$(ask checksum)
pid=$(pidof rekindle-worker)
echo "upgrading"
apt install "./${package##*/}"
at rekindle --version
[ "$(at rekindle --version)" = "rekindle $(at rekindled --version | grep -oE '[0-9.]+$')" ] || fail "rekindle and rekindled have other versions"
at rekindle check || fail "the machine is not fit after the installation"
[ "$(at readlink -f /usr/lib/rekindle/librekindle-preload.so)" != "$agent" ] || fail "the upgrade has brought no other agent"
# What runs goes on with the agent that it has, and is restored with that.
at rekindle checkpoint "$pid" images || fail "no checkpoint"
mv "$agent" "$agent.away"
! at rekindle restore images >/root/refused 2>&1 || fail "it was restored without its agent"
grep -q "${agent#/}.*that very file" /root/refused || fail "the missing agent is not named: $(cat /root/refused)"
mv "$agent.away" "$agent"
at rekindle restore images >/root/restored || fail "no restore with the command line"
cat /root/restored
# In native mode the memory travels in the image of the process.
grep -q "GPU images 24.0 MiB" /root/restored || fail "the agent was not found: $(cat /root/restored)"
[ "$(ask checksum)" = "$before" ] || fail "the contents are not what they were"
# And with criu itself, which finds the plugin where it looks for plugins.
mkdir /root/second
at /usr/libexec/rekindle/criu dump -t "$pid" -D second -o dump.log || { tail /root/second/dump.log; fail "criu itself does not dump"; }
[ -e /root/second/rekindle-checkpoint.img ] || fail "criu has not loaded the plugin"
at /usr/libexec/rekindle/criu restore -d -D second -o restore.log --restore-threads 0 || fail "criu itself does not restore"
[ "$(ask checksum)" = "$before" ] || fail "the contents are not what they were, with criu itself"
kill -KILL "$pid"
echo "ok: the package restores a process on a bare $suite"
apt purge rekindle
as_before "the package"
echo "ok: nothing is left of the package"

# ---- Podman ----

# This is a container itself, perhaps, without systemd and its limits fixed; images and devices are made on the spot.
apt install podman runc catatonit
mkdir -p /etc/containers /etc/cdi /root/image/simulated
printf '[containers]\ndefault_ulimits=[]\nnetns="none"\n[engine]\ncgroup_manager="cgroupfs"\nruntime="runc"\nevents_logger="file"\n' >/etc/containers/containers.conf
printf '[storage]\ndriver="vfs"\nrunroot="/run/containers/storage"\ngraphroot="/var/lib/containers/storage"\n' >/etc/containers/storage.conf
cat >/etc/cdi/nvidia.json <<'JSON'
{"cdiVersion": "0.3.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all", "containerEdits": {
	"env": ["LD_LIBRARY_PATH=/simulated"],
	"mounts": [{"hostPath": "/simulated", "containerPath": "/simulated", "options": ["ro", "bind"]}]}}]}
JSON
# What NVIDIA's hook mounts over /proc: a tmpfs with a folder of the host's /proc in it.
cat >/etc/cdi/proc.json <<'JSON'
{"cdiVersion": "0.3.0", "kind": "nvidia.com/proc", "devices": [{"name": "all", "containerEdits": {
	"hooks": [{"hookName": "createContainer", "path": "/root/hook", "args": ["hook"]}]}}]}
JSON
cat >/root/hook <<'HOOK'
#!/bin/bash
set -e
bundle=$(sed -n 's/.*"bundle": *"\([^"]*\)".*/\1/p')
root=$(grep -oE '"root": *\{"path": *"[^"]*"' "$bundle/config.json" | sed 's/.*"\([^"]*\)"$/\1/')
mount -t tmpfs -o mode=555 tmpfs "$root/proc/driver"
mkdir "$root/proc/driver/nvidia"
mount --bind /proc/tty "$root/proc/driver/nvidia"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/driver/nvidia"
HOOK
chmod +x /root/hook
(
	cd /root/image
	mkdir -p tmp
	# All of glibc, as every image has it: the agent needs parts of it that the worker does not.
	{ ldd /simulated/rekindle-worker /simulated/libcuda.so.1 | grep -oE '/[^ :]+\.so[^ :]*' | grep -v simulated
		dpkg -L libc6 | grep -E '^(/usr)?/lib/.*\.so\.'; } | sort -u | xargs cp -L --parents -t .
	tar -c .
) | at podman import -q --change 'CMD ["/simulated/rekindle-worker", "--state", "/tmp/state", "--mib", "24"]' - localhost/serve
printf '[rekindle]\nREKINDLE_CUDA_DRIVER=/simulated/libcuda.so.1\n' >/etc/rekindle.conf
podman_does() { at podman "$@" >/root/podman.log 2>&1 || { cat /root/podman.log; fail "podman $* fails"; }; }
in_container() { at podman exec "$1" /simulated/rekindle-worker-control --state /tmp/state "${@:2}"; }

# The image of a container that the older build was in: restored after the upgrade and a new setup, it needs the agent of then.
apt install ./older.deb
at rekindle setup podman >/dev/null
podman_does run -d --name older --device nvidia.com/gpu=all --device rekindle.dev/agent=all localhost/serve
in_container older wait-ready || fail "the worker does not start in the older container"
of_older=$(in_container older checksum)
podman_does container checkpoint --export older.tar older
podman_does rm older
kill "$(pidof rekindled)"
while pidof rekindled >/dev/null; do sleep 0.05; done
rm -rf /var/log/rekindle

echo "running the lines of README.md on a $suite"
expected=
step=0
while IFS= read -r line; do
	step=$((step + 1))
	echo "  $line"
	at bash -c "set -e; $line" >/root/podman.log 2>&1 || { cat /root/podman.log; fail "line $step of README.md's section on Podman fails"; }
	case $line in
	"podman run "*)
		in_container serve wait-ready || fail "the worker does not start in its container"
		expected=$(in_container serve checksum)
		echo "of the rootfs" >/root/note
		at podman cp /root/note serve:/tmp/note || fail "podman cp fails"
		;;
	"podman container restore "*)
		name=$(sed -n 's/.*--name \([^ ]*\).*/\1/p' <<<"$line")
		in_container "$name" advance >/dev/null || fail "$name does not work after it was restored"
		[ "$(in_container "$name" checksum)" = "$expected" ] || fail "the contents of $name are not what they were"
		echo "ok: $name has its contents"
		;;
	esac
done </root/podman-lines
podman_does container restore --import older.tar --name older
in_container older advance >/dev/null || fail "the older container does not work after the upgrade"
[ "$(in_container older checksum)" = "$of_older" ] || fail "the contents of the older container are not what they were"
grep -q "$agent" "/proc/$(at podman inspect --format '{{.State.Pid}}' older)/maps" || fail "the older container has not the agent of then"
podman_does rm -f -t 0 older
echo "ok: the image of an older release's container, after the upgrade"
# What Podman left of the runs says that the agent was used, by the one pool of the host.
folder=$(at podman inspect --format '{{.StaticDir}}' serve-2)
grep -q '"offload"' "$folder/stats-rekindle.json" || fail "the agent was not used in the container: $(cat "$folder/stats-rekindle.json")"
# And after the container is gone.
kept=$(grep -l '"offload"' /var/log/rekindle/*-checkpoint-*/stats-rekindle.json) || fail "no statistics stay of a container that is gone"
at rekindle stats checkpoint "${kept%/*}" >/root/stats || fail "the statistics that stay are not read"
pool=$(pidof rekindled) || fail "no pool stays between the runs"
# What is in the container's own files comes back with them, and without --ignore-rootfs only; the default compression is zstd.
note() { at podman cp "$1:/tmp/note" - 2>/dev/null | tar -xO; }
[ "$(note serve-2)" = "of the rootfs" ] || fail "the files of serve-2 are not what they were"
podman_does container checkpoint --leave-running --compress none --export again.tar serve-1
in_container serve-1 advance >/dev/null || fail "serve-1 does not go on"
podman_does container checkpoint --keep serve-2
podman_does container restore --keep serve-2
[ "$(in_container serve-2 checksum)" = "$expected" ] || fail "the contents of serve-2 are not what they were, with --keep"
podman_does rm -f -t 0 serve-1
podman_does container restore --import again.tar --name serve-3
[ "$(in_container serve-3 checksum)" = "$expected" ] || fail "the contents of serve-3 are not what they were"
[ "$(pidof rekindled)" = "$pool" ] || fail "each run has a pool of its own"
echo "ok: --compress, --keep and --leave-running"

# All at once that other people's checkpoints fail of: --init (Debian's is a symbolic link) and an open standard input, a named
# semaphore, and a mount of the host's /proc that a hook makes, as NVIDIA's does, and runc knows nothing of. Its files are
# in a tmpfs, so --ignore-rootfs leaves out none that it needs.
podman_does run -d --init -i --name traps --tmpfs /tmp --device nvidia.com/gpu=all --device nvidia.com/proc=all \
	--device rekindle.dev/agent=all localhost/serve /simulated/rekindle-worker --state /tmp/state --mib 24 --semaphore /trap
in_container traps wait-ready || fail "the worker with the traps does not start"
trapped=$(in_container traps checksum)
at env CRIU_CONFIG_FILE=/etc/criu/runc.conf rekindle check "$(at podman inspect --format '{{.State.Pid}}' traps)" ||
	fail "something is said to be in the way of the traps' checkpoint"
# A link that CRIU made for the semaphore's file in the first dump would be in the way of the second.
podman_does container checkpoint --leave-running --ignore-rootfs --export traps.tar traps
podman_does container checkpoint --ignore-rootfs --export traps.tar traps
podman_does rm traps
podman_does container restore --import traps.tar --ignore-rootfs --name traps
[ "$(in_container traps checksum)" = "$trapped" ] || fail "the contents of the container with the traps are not what they were"
echo "ok: --init, standard input, a named semaphore, a mount of a hook's, --ignore-rootfs"

# What cannot be met is named before anything is stopped.
podman_does run -d --name outside --preserve-fds=1 --device nvidia.com/gpu=all --device rekindle.dev/agent=all localhost/serve 3>/root/outside
in_container outside wait-ready || fail "the worker with a file of the host does not start"
! at rekindle check "$(at podman inspect --format '{{.State.Pid}}' outside)" >/root/check 2>&1 || fail "nothing is said of a file of the host's"
grep -q "descriptor 3 of process .* is a file of another mount namespace (/root/outside)" /root/check || fail "of a file of the host's: $(cat /root/check)"
echo "ok: a file of the host's is named"

# Whatever was set up for Podman goes with the package.
podman_does rm -f -t 0 -a
kill "$pool"
apt purge rekindle
for name in /etc/criu /etc/rekindle.conf /etc/cdi/rekindle.json /etc/containers/containers.conf.d/rekindle.conf /usr/local/sbin/criu /var/log/rekindle; do
	[ ! -e "$name" ] && [ ! -L "$name" ] || fail "$name is left of rekindle setup podman"
done
[ "$(grep -c 'container restore' /root/podman-lines)" -ge 2 ] || fail "README.md restores less than twice"
[ "$step" -lt 10 ] || fail "README.md needs $step lines"
echo "ok: README.md's section on Podman on a $suite; nothing is left of it"
