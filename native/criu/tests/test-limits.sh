#!/bin/bash
# Where the kernel limits what a process or a group of them may have, the options change nothing about what can be restored.
. "$(dirname "$0")/lib.sh"

cgroup=
max_map_count=/proc/sys/vm/max_map_count
had=$(cat $max_map_count)
at_exit() {
	echo "$had" >$max_map_count 2>/dev/null || true
	[ -z "$cgroup" ] || remove_cgroup "$cgroup"
}
# remove_cgroup FOLDER: one whose processes have ended can be removed a moment later
remove_cgroup() {
	local i
	for i in {1..250}; do
		! rmdir "$1" 2>/dev/null || return 0
		sleep 0.02
	done
}

FAULTY=${FAULTY:-}
if [ -z "$FAULTY" ]; then
	FAULTY=$work/faulty.so
	${CC:-cc} -O2 -shared -fPIC -o "$FAULTY" "$tests/faulty.c" -ldl
fi

# Mappings: those that are read before the restorer are no more than those that it would make.
dump_zoo many
nr=$(grep -c "^[0-9a-f]*-" "$work/before")
if ((nr >= 3200)) && echo $((nr * 3 / 2)) >$max_map_count 2>/dev/null; then
	for o in "" "--restore-threads 2" "--restore-threads 2 --restore-thp always"; do
		restore $o || fail "mappings, ${o:-no options}: restore"
		[ -z "$o" ] || readers_used "[12]" || fail "mappings, $o: not read by readers"
		check_zoo "$nr mappings of $((nr * 3 / 2)), ${o:-no options}"
		kill_zoo
	done
	echo "$had" >$max_map_count
else
	echo "SKIPPED: mappings ($max_map_count is read-only)"
fi
rm -rf "$work/img"

# Processors: no more threads than the quota of a cgroup allows, and none where there is one processor. The quota is that
# of a cgroup above.
cpu_root=
for d in /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup /sys/fs/cgroup/unified; do
	if [ -e "$d/cpu.cfs_quota_us" ] || grep -qsw cpu "$d/cgroup.subtree_control"; then cpu_root=$d; break; fi
done
cores=$(nproc)
if [ -n "$cpu_root" ] && ((cores > 1)) && mkdir "$cpu_root/criu-test.$BASHPID.${work##*.}" 2>/dev/null; then
	cgroup=$cpu_root/criu-test.$BASHPID.${work##*.}
	dump_zoo threads
	quota() { # MICROSECONDS of 100 ms
		if [ -e "$cgroup/cpu.max" ]; then echo "$1 100000" >"$cgroup/cpu.max"; else echo "$1" >"$cgroup/cpu.cfs_quota_us"; fi
	}
	for quota in 90000 190000; do
		quota $quota
		mkdir -p "$cgroup/below"
		(
			echo "$BASHPID" >"$cgroup/below/cgroup.procs"
			restore --restore-threads 0
		) || fail "a quota of $quota: restore"
		if ((quota == 90000)); then
			! readers_used "[0-9]*" || fail "a quota of $quota: readers"
		else
			readers_used 2 || fail "a quota of $quota: not read by 2 threads"
		fi
		check_zoo "a quota of $quota"
		kill_zoo
	done
	remove_cgroup "$cgroup/below"
	remove_cgroup "$cgroup"
	cgroup=
	rm -rf "$work/img"
else
	echo "SKIPPED: processors ($cores of them, ${cpu_root:-no cgroup with a quota})"
fi

# Tasks: the readers of one process have taken the places that the threads of another need, and keep them for seconds.
# The memory of the first one is 128 pieces, two for each reader.
pids_root=
for d in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/pids; do
	if [ "$d" = /sys/fs/cgroup/pids ] && [ -e "$d/cgroup.procs" ] ||
		grep -qsw pids "$d/cgroup.subtree_control"; then pids_root=$d; fi
done
if [ -n "$pids_root" ] && mkdir "$pids_root/criu-test.$BASHPID.${work##*.}" 2>/dev/null; then
	cgroup=$pids_root/criu-test.$BASHPID.${work##*.}
	start_tids_zoo
	tasks=0
	for p in $(tree "$pid"); do tasks=$((tasks + $(ls "/proc/$p/task" | wc -l))); done
	"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v1 || { cat "$work/img/dump.log" >&2; fail "dump"; }
	gone "$pid"
	# these, CRIU and the shell that starts it
	echo $((tasks + 3)) >"$cgroup/pids.max"
	busy=0
	for i in 1 2; do
		rm -f "$work/pidfile" "$work/img/restore.log"
		(
			echo "$BASHPID" >"$cgroup/cgroup.procs"
			LD_PRELOAD=$FAULTY FAULTY_SLOW=1000 exec "$CRIU" restore -d -D "$work/img" -o restore.log -v3 --pidfile "$work/pidfile" --restore-threads 64
		) </dev/null >"$work/out" 2>&1 || fail "$tasks tasks of $((tasks + 3)): restore $i"
		readers_used "[0-9]*" || fail "$tasks tasks of $((tasks + 3)): no readers"
		pid=$(cat "$work/pidfile")
		pids+=("$pid")
		kill -9 "$pid"
		gone "$pid"
	done
	echo "ok: $tasks tasks of $((tasks + 3)), which $(cat "$cgroup/pids.events" 2>/dev/null | tr '\n' ' ')"
else
	echo "SKIPPED: tasks (no cgroup that limits them)"
fi
