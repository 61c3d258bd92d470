#!/bin/bash
# CRIU's own tests of memory, mappings, threads and process trees with the
# restore options on, in the tree that provide-criu.sh has built.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }
CRIU=${CRIU:-$("$tests/../provide-criu.sh" | tail -n1)}
tree=$(cd "$(dirname "$CRIU")/.." && pwd)
[ -e "$tree/test/zdtm.py" ] || { echo "SKIP: $CRIU is not in a CRIU source tree"; exit 77; }
"$CRIU" --help | grep -q -- --restore-threads || { echo "SKIP: $CRIU is not the patched one"; exit 77; }

# zdtm.py needs the distribution's python with these modules
py=
for p in /usr/bin/python3 python3; do
	if command -v $p >/dev/null && $p -c 'import google.protobuf, yaml' 2>/dev/null; then py=$p; break; fi
done
if [ -z "$py" ]; then
	command -v apt-get >/dev/null || { echo "SKIP: no python3 with protobuf and yaml"; exit 77; }
	apt-get -o DPkg::Lock::Timeout=300 update -qq >&2
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
		python3-protobuf python3-yaml >&2
	py=/usr/bin/python3
fi
bin=$(mktemp -d)
trap 'rm -rf -- "$bin"' EXIT
ln -s "$(command -v $py)" "$bin/python3"
export PATH=$bin:$PATH

exec 9>"$tree/.zdtm-lock"
flock 9
[ -e "$tree/lib/pycriu/images/pagemap_pb2.py" ] || make -C "$tree" -j"$(nproc)" NO_GNUTLS=1 lib >"$tree/.zdtm-build.log" 2>&1 9>&- ||
	{ tail -n 20 "$tree/.zdtm-build.log"; exit 1; }

cd "$tree/test"
# Around each test zdtm.py makes and removes cgroup hierarchies, which none of
# these needs, and which fail every dump of this machine that is under way.
changes='s/zdtm\.py/zdtm-here.py/g; s/"\.\/zdtm_u\?mount_cgroups"/"true"/'
# It runs most tests as another user, whose limits only somebody with
# CAP_SYS_RESOURCE may read. Run them as root where that is missing.
if ! (($((16#$(awk '/^CapEff/ { print $2 }' /proc/self/status))) >> 24 & 1)); then
	changes="$changes; s/18943/0/g; s/58467/0/g"
fi
sed "$changes" zdtm.py >zdtm-here.py
chmod +x zdtm-here.py
[ "$(grep -c '"true"' zdtm-here.py)" = 2 ] || { echo "FAIL: zdtm.py is not the one that is known here"; exit 1; }

list="thp00 thp01 maps00 maps01 maps02 maps03 maps04 maps05 maps06 maps09 maps10 maps11 maps12
	mprotect00 mem-touch cow00 cow01 memfd00 memfd01 memfd04 memfd05 shmemfd shmemfd-priv
	file_shared mmx00 pthread00 pthread01 seccomp_filter_threads vdso00 anon-mappings
	zombie00 pstree children00 vfork00 env00"
have=()
for t in $list; do [ ! -e zdtm/static/$t.c ] || have+=("$t"); done
opts=(--restore-threads 3 --restore-hugepages always)

failed=()
# one make for all, their number of small programs is what takes the time
make -C zdtm/lib -s >"$tree/.zdtm-build.log" 2>&1 9>&- && make -C zdtm/static -s -j"$(nproc)" -k "${have[@]}" >>"$tree/.zdtm-build.log" 2>&1 9>&- || true
n=0
# Not transition/thread-bomb: upstream leaves it out of its own runs ("noauto"), its dump fails now and then with any CRIU.
for t in "${have[@]}" transition/fork transition/maps007 transition/maps008; do
	case $t in */*) name=zdtm/$t ;; *) name=zdtm/static/$t ;; esac
	rc=0
	./zdtm-here.py run -t $name -f h "${opts[@]}" >"$tree/.zdtm-out" 2>&1 9>&- || rc=$?
	if [ $rc = 0 ] && grep -q "PASS" "$tree/.zdtm-out"; then
		n=$((n + 1))
	elif grep -qi "skip\|not supported" "$tree/.zdtm-out"; then
		echo "skipped by zdtm: $name"
	else
		echo "FAIL: $name"
		grep -a "Error\|FAIL" "$tree/.zdtm-out" | grep -v RLIMIT_NOFILE | tail -n 5 || true
		failed+=("$name")
	fi
done
echo "$n passed, ${#failed[@]} failed"
((${#failed[@]} == 0 && n >= 25))
