#!/bin/bash
# CRIU's own tests of memory, mappings, threads and process trees with the
# options for threads and huge pages on, in the tree that provide-criu.sh has built.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tests/readahead.sh"
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }
CRIU=${CRIU:-$("$tests/../provide-criu.sh" | tail -n1)}
tree=$(cd "$(dirname "$CRIU")/.." && pwd)
[ -e "$tree/test/zdtm.py" ] || { echo "SKIP: $CRIU is not in a CRIU source tree"; exit 77; }
"$CRIU" --help | grep -q -- --restore-threads || { echo "SKIP: $CRIU is not the patched one"; exit 77; }

# zdtm.py needs modules of Python that another Python than the distribution's may not have.
py=/usr/bin/python3
"$tests/../../packages.sh" --check native || { echo "FAIL: packages are missing"; exit 1; }
bin=$(mktemp -d)
# The kernel makes huge pages of sparse memory later, by itself, where it was advised to: not while a test looks how much
# the restore has made.
collapse=/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none
collapse_before=$(cat $collapse 2>/dev/null || true)
put_back() { [ -z "$collapse_before" ] || echo "$collapse_before" >$collapse; }
trap 'put_back; put_back_readahead; rm -rf -- "$bin"' EXIT
trap 'exit 143' INT TERM
[ -z "$collapse_before" ] || { echo 0 >$collapse; } 2>/dev/null || collapse_before=
ln -s $py "$bin/python3"
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
# On a busy machine its limits end what goes on: ten times as much for tests, for criu and for what criu may freeze.
changes="$changes; s/get('timeout') or 30/get('timeout') or 300/; s/timeout=60)/timeout=600)/; s/\"--timeout\", \"10\"/\"--timeout\", \"100\"/"
# It runs most tests as another user, whose limits only somebody with
# CAP_SYS_RESOURCE may read. Run them as root where that is missing.
if ! (($((16#$(awk '/^CapEff/ { print $2 }' /proc/self/status))) >> 24 & 1)); then
	changes="$changes; s/18943/0/g; s/58467/0/g"
fi
sed "$changes" zdtm.py >zdtm-here.py
chmod +x zdtm-here.py
[ "$(grep -c '"true"' zdtm-here.py)" = 2 ] && [ "$(grep -c "or 300)\|timeout=600)\|\"--timeout\", \"100\"" zdtm-here.py)" = 3 ] || { echo "FAIL: zdtm.py is not the one that is known here"; exit 1; }

# Each with the flavors it runs in: on the host, in namespaces, with a user namespace too. All of them are there.
memory="thp00:h,ns,uns thp01:h,ns thp02:h thp03:h pages_truncated00:h pages_truncated01:h maps_grow00:h,ns
	maps00:h maps01:h maps02:h maps03:h maps04:h,ns,uns maps05:h maps06:h maps09:h maps10:h maps11:h maps12:h
	mprotect00:h mem-touch:h,ns cow00:h cow01:h,ns cow02:h,ns memfd00:h memfd01:h memfd04:h memfd05:h,uns shmemfd:h,ns shmemfd-priv:h
	shm:ns,uns shm-mp:ns,uns shm-unaligned:ns,uns thp_disable:h
	transition/maps007:h transition/maps008:h transition/shmem:h"
others="file_shared:h mmx00:h pthread00:h pthread01:h,ns seccomp_filter_threads:h vdso00:h
	zombie00:h pstree:h pdeath_sig:h,ns session00:h,ns session01:h,ns child_subreaper_and_reparent:ns vfork00:h env00:h
	transition/fork:h"
# Not transition/thread-bomb: upstream leaves it out of its own runs ("noauto"), its dump fails now and then with any CRIU.

but() { sed -E "s/($1):[a-z,]*//g" <<<"$memory"; } # the tests of memory without these

# What is run with which options: with none and with those that change most, all of it; a mapping that is advised by
# "always" has another one beside it when it grows. The other two choose another way for some tests only, and are run with
# these and some for whom nothing changes: with 0 those that have 4 MiB to read in one piece, as no thread is started for
# less (the log of the restore has "page-readers: Read"), and with "never" those that have memory for a huge page.
large="maps04:h,ns,uns maps05:h maps_grow00:h,ns maps09:h thp00:h,ns,uns thp02:h
	transition/maps008:h transition/shmem:h mem-touch:h cow00:h cow01:h cow02:h,ns memfd00:h shm:ns,uns"
runs=("$memory $others|" "$(but maps_grow00) $others|--dump-threads 3 --restore-threads 3 --restore-thp always" "$large|--restore-threads 0"
	"thp01:h,ns thp03:h maps04:h,uns maps05:h maps_grow00:h,ns mem-touch:h cow00:h cow02:h shm:ns|--restore-threads 2 --restore-thp never")

failed=() make=() n=0 skipped=0
for t in $memory $others; do
	t=${t%:*}
	[[ $t == */* ]] || make+=("$t")
	[[ $t == */* ]] || t=static/$t
	[ -e "zdtm/$t.c" ] || compgen -G "zdtm/$t.*" >/dev/null || { echo "FAIL: there is no test $t"; exit 1; }
done
# It gives each folder that it runs a test in this mode, which would come between dump and restore of the one beside it.
chmod a+rwx zdtm/static zdtm/transition
# one make for all, their number of small programs is what takes the time
make -C zdtm/lib -s >"$tree/.zdtm-build.log" 2>&1 9>&- && make -C zdtm/static -s -j"$(nproc)" "${make[@]}" >>"$tree/.zdtm-build.log" 2>&1 9>&- ||
	{ tail -n 20 "$tree/.zdtm-build.log"; exit 1; }

# Its part of zdtm.py's output
output_of() { awk -v start="= Run $1 in " '/^=+ Run / { mine = index($0, start) } mine' "$tree/.zdtm-out"; } # TEST

# Four at once: each has a pid namespace of its own, and waits more than half of its time.
run_group() { # FLAVOR OPTIONS TEST...
	local flavor=$1 options=$2 t
	shift 2
	./zdtm-here.py run ${@/#/-t } -f "$flavor" -p 4 --keep-going $options >"$tree/.zdtm-out" 2>&1 9>&- || true
	for t; do
		if grep -aq "^=* Test $t PASS" "$tree/.zdtm-out"; then
			n=$((n + 1))
		elif grep -aq "^Skipping $t " "$tree/.zdtm-out"; then
			echo "skipped by zdtm, $flavor: $(grep -a "^Skipping $t " "$tree/.zdtm-out")"
			skipped=$((skipped + 1))
		else
			echo "FAIL: $t, $flavor, $options"
			output_of "$t" | grep -a "Error\|FAIL\|Expired" | grep -v RLIMIT_NOFILE | tail -n 5 || true
			failed+=("$t")
		fi
	done
}

for run in "${runs[@]}"; do
	for flavor in h ns uns; do
		group=()
		for t in ${run%%|*}; do
			[[ ,${t#*:}, == *,$flavor,* ]] || continue
			t=${t%:*}
			[[ $t == */* ]] || t=static/$t
			group+=("zdtm/$t")
		done
		run_group $flavor "${run#*|}" "${group[@]}"
	done
done

# In a user namespace whose root is nobody outside, CRIU knows as well as elsewhere what is not in the page cache.
hook=zdtm/static/thp00.hook
trap 'put_back; put_back_readahead; rm -rf -- "$bin" "$tree/test/$hook"' EXIT
cat >$hook <<-'END'
	#!/bin/sh
	[ "$1" = --pre-restore ] || exit 0
	sync
	for f in dump/zdtm/static/thp00/*/1/pages-*.img; do dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
END
chmod +x $hook
no_readahead .
for flavor in h uns; do
	rm -rf dump/zdtm/static/thp00
	./zdtm-here.py run -t zdtm/static/thp00 -f $flavor --keep-img always --restore-threads 3 >"$tree/.zdtm-out" 2>&1 9>&- || true
	grep -q "^=* Test zdtm/static/thp00 PASS" "$tree/.zdtm-out" || { echo "FAIL: cold thp00, $flavor"; failed+=("cold thp00"); }
	# Of the test's 15 huge pages most samples are not cached. Other tasks write their lines between those of this one.
	read=$(awk '/page-readers: .* samples are not/ { cold[$2] = $4 * 2 > $6 }
		/page-readers: Read 7680 pages .* with 3 threads/ { print cold[$2] }' dump/zdtm/static/thp00/*/1/restore.log) || true
	if [ "$(stat -f -c %T dump)" != tmpfs ] && [ "$read" != 1 ]; then
		echo "FAIL: cold thp00, $flavor: CRIU does not know that its image is cold"
		grep -ah "page-readers:\|count_cold" dump/zdtm/static/thp00/*/1/restore.log || true
		failed+=("cold thp00")
	fi
done
rm -rf dump/zdtm/static/thp00 $hook

echo "$n passed, $skipped skipped, ${#failed[@]} failed"
((${#failed[@]} == 0 && n >= 130))
