#!/bin/bash
# Where the kernel limits what a process or a group of them may have, the options change nothing about what can be restored.
. "$(dirname "$0")/lib.sh"

cgroup=
max_map_count=/proc/sys/vm/max_map_count
had=$(cat $max_map_count)
at_exit() {
	echo "$had" >$max_map_count 2>/dev/null || true
	[ -z "$cgroup" ] || { sleep 0.2; rmdir "$cgroup" 2>/dev/null || true; }
}

# Mappings: with holes between them the premapped area is twice as many. CRIU itself has not the task's limit to fear.
dump_zoo many
nr=$(grep -c "^[0-9a-f]*-" "$work/before")
if ((nr >= 3200)) && echo $((nr * 3 / 2)) >$max_map_count 2>/dev/null; then
	for o in "" "--restore-threads 2" "--restore-threads 2 --restore-hugepages always"; do
		restore $o || fail "mappings, ${o:-no options}: restore"
		[ "$(nr_late)" = 0 ] || fail "mappings, $o: premapped"
		check_zoo "$nr mappings of $((nr * 3 / 2)), ${o:-no options}"
		kill_zoo
	done
	echo "$had" >$max_map_count
else
	echo "SKIPPED: mappings ($max_map_count is read-only)"
fi
restore --restore-threads 2 || fail "mappings: restore"
[ "$(nr_late)" != 0 ] || fail "mappings: not premapped"
check_zoo "$nr mappings of $had"
kill_zoo
rm -rf "$work/img"

# Tasks: the readers of one process have taken the places that the threads of another need
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
	for i in 1 2 3 4 5; do
		rm -f "$work/pidfile" "$work/img/restore.log"
		(
			echo "$BASHPID" >"$cgroup/cgroup.procs"
			exec "$CRIU" restore -d -D "$work/img" -o restore.log -v3 --pidfile "$work/pidfile" --restore-threads 64
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
