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
# CRIU saves and restores the rules of network namespaces with these, of which the tests have none
for p in iptables ip6tables; do
	command -v $p-save >/dev/null || printf '#!/bin/sh\n' >"$bin/$p-save"
	command -v $p-restore >/dev/null || printf '#!/bin/sh\ncat >/dev/null\n' >"$bin/$p-restore"
done
chmod +x "$bin"/*
chmod 755 "$bin"
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

# Each with the flavors it runs in: on the host, in namespaces, with a user namespace too. All of them are there.
tests="thp00:h,ns,uns thp01:h maps00:h maps01:h maps02:h maps03:h maps04:h,ns,uns maps05:h maps06:h maps09:h maps10:h maps11:h maps12:h
	mprotect00:h mem-touch:h,ns cow00:h cow01:h memfd00:h memfd01:h memfd04:h memfd05:h,uns shmemfd:h,ns shmemfd-priv:h
	shm:ns,uns shm-mp:ns,uns shm-unaligned:ns,uns thp_disable:h
	file_shared:h mmx00:h pthread00:h pthread01:h,ns seccomp_filter_threads:h vdso00:h
	zombie00:h pstree:h child_subreaper_and_reparent:ns vfork00:h env00:h
	transition/fork:h transition/maps007:h transition/maps008:h transition/shmem:h"
# Not transition/thread-bomb: upstream leaves it out of its own runs ("noauto"), its dump fails now and then with any CRIU.
opts=(--restore-threads 3 --restore-hugepages always)

failed=() make=() n=0 skipped=0
for t in $tests; do
	t=${t%:*}
	[[ $t == */* ]] || make+=("$t")
	[[ $t == */* ]] || t=static/$t
	[ -e "zdtm/$t.c" ] || compgen -G "zdtm/$t.*" >/dev/null || { echo "FAIL: there is no test $t"; exit 1; }
done
# one make for all, their number of small programs is what takes the time
make -C zdtm/lib -s >"$tree/.zdtm-build.log" 2>&1 9>&- && make -C zdtm/static -s -j"$(nproc)" "${make[@]}" >>"$tree/.zdtm-build.log" 2>&1 9>&- ||
	{ tail -n 20 "$tree/.zdtm-build.log"; exit 1; }

for t in $tests; do
	flavors=${t#*:} t=${t%:*}
	[[ $t == */* ]] || t=static/$t
	for flavor in ${flavors//,/ }; do
		rc=0
		./zdtm-here.py run -t "zdtm/$t" -f $flavor "${opts[@]}" >"$tree/.zdtm-out" 2>&1 9>&- || rc=$?
		if [ $rc = 0 ] && grep -q "^=* Test zdtm/$t PASS" "$tree/.zdtm-out"; then
			n=$((n + 1))
		elif [ $rc = 0 ] && grep -q "^Skipping zdtm/$t " "$tree/.zdtm-out"; then
			echo "skipped by zdtm, $flavor: $(grep "^Skipping zdtm/" "$tree/.zdtm-out")"
			skipped=$((skipped + 1))
		else
			echo "FAIL: zdtm/$t, $flavor"
			grep -a "Error\|FAIL" "$tree/.zdtm-out" | grep -v RLIMIT_NOFILE | tail -n 5 || true
			failed+=("$t")
		fi
	done
done

# In a user namespace whose root is nobody outside, CRIU knows as well as elsewhere what is not in the page cache.
hook=zdtm/static/thp00.hook
trap 'rm -rf -- "$bin" "$tree/test/$hook"' EXIT
cat >$hook <<-'END'
	#!/bin/sh
	[ "$1" = --pre-restore ] || exit 0
	sync
	for f in dump/zdtm/static/thp00/*/1/pages-*.img; do dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
END
chmod +x $hook
for flavor in h uns; do
	rm -rf dump/zdtm/static/thp00
	./zdtm-here.py run -t zdtm/static/thp00 -f $flavor --keep-img always --restore-threads 3 >"$tree/.zdtm-out" 2>&1 9>&- || true
	grep -q "^=* Test zdtm/static/thp00 PASS" "$tree/.zdtm-out" || { echo "FAIL: cold thp00, $flavor"; failed+=("cold thp00"); }
	grep -aho "page-readers: Read [0-9]* pages of pages-[2-9].*" dump/zdtm/static/thp00/*/1/restore.log | grep -o "Read [0-9]* pages" | sort >"$bin/$flavor" || true
done
if [ "$(stat -f -c %T dump)" != tmpfs ] && ! cmp "$bin/h" "$bin/uns"; then
	echo "FAIL: cold thp00, in a user namespace: $(cat "$bin/uns"), elsewhere: $(cat "$bin/h")"
	failed+=("cold thp00")
fi
rm -rf dump/zdtm/static/thp00 $hook

echo "$n passed, $skipped skipped, ${#failed[@]} failed"
((${#failed[@]} == 0 && n >= 50))
