#!/bin/sh
# Stands in for criu in tests. REKINDLE_TEST_CRIU says how it behaves; what it was started with goes to
# REKINDLE_TEST_ARGUMENTS, one argument a line.
case "$1 $2" in
--version*) echo "Version: ${REKINDLE_TEST_CRIU_VERSION:-4.2.1}"; exit 0 ;;
"restore --help")
	echo "  -d|--restore-detached"
	[ -z "$REKINDLE_TEST_CRIU_PATCHED" ] || printf '  --restore-threads NUM\n  --restore-hugepages MODE\n'
	exit 1 ;;
check*)
	[ "$REKINDLE_TEST_CRIU" = check-fails ] || { echo "Looks good."; exit 0; }
	echo "Error (criu/cr-check.c:1): vDSO is not supported"; exit 1 ;;
esac

if [ -n "$REKINDLE_TEST_ARGUMENTS" ]; then
	printf '%s\n' "$@" >"$REKINDLE_TEST_ARGUMENTS"
	env >"$REKINDLE_TEST_ARGUMENTS.env"
fi
command=$1
while [ $# -gt 0 ]; do
	case $1 in
	--work-dir) work=$2 ;;
	--log-file) log=$2 ;;
	--pidfile) pidfile=$2 ;;
	esac
	shift
done
cd "$work" || exit 9
say() { echo "(00.001) Error (criu/fake.c:1): $*" >>"$log"; }
report() { printf '{"kind":"%s","succeeded":%s%s,"processes":[]}' "$1" "$2" "$3" >stats-rekindle.json; }
echo "(00.000) Version: 4.2.1 (gitid 0)" >"$log"

case $REKINDLE_TEST_CRIU in
ok)
	if [ "$command" = restore ]; then
		setsid sleep 300 </dev/null >/dev/null 2>&1 &
		echo $! >"$pidfile"
	fi ;;
no-log) rm -f "$log"; echo "criu: error while loading shared libraries: libnet.so.1" >&2; exit 127 ;;
fails) say "unix: the first cause"; say "Dumping FAILED."; exit 1 ;;
disk-full) say "Can't write image: No space left on device"; exit 1 ;;
killed) say "going down"; kill -9 $$ ;;
gpu-fails)
	say "cuda_plugin: the plugin's words"
	report "$([ "$command" = dump ] && echo checkpoint || echo restore)" false \
		',"failure":"Chunk 3 of allocation 1 in rekindle-pages-7.img is damaged.","failure_code":-74,"failure_phase":7'
	exit 1 ;;
gpu-fails-unnoticed) # as CRIU up to 4.2
	setsid sleep 300 </dev/null >/dev/null 2>&1 &
	echo $! >"$pidfile"
	echo $! >"$REKINDLE_TEST_ARGUMENTS.pid"
	report restore false ',"failure":"The driver did not restore.","failure_code":-5,"failure_phase":8' ;;
file-is-missing) # what the program had open, not an image
	say "Can't open file data/state on restore: No such file or directory"
	say "Unable to open fd=5 id=0x1c"
	exit 1 ;;
image-is-broken) say "pstree: the first cause"; say "Unexpected EOF on core-7.img"; exit 1 ;;
gpu-left-behind) report checkpoint true ',"note":"The driver did not restore."' ;;
dead-after-restore) sh -c 'exit 0' & wait $!; echo $! >"$pidfile" ;;
no-pid) ;;
slow-restore) # half-restored processes below it, one of which has a child of its own
	sh -c "sleep 300.$REKINDLE_TEST_MARK & exec sleep 300.$REKINDLE_TEST_MARK" &
	sleep 0.2
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	wait ;;
slow-dump) # notices that writes fail, as CRIU does, and takes its own way out
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	while echo x >image; do sleep 0.01; done 2>/dev/null
	exit 1 ;;
slow-copy) # waits for the pool in the middle of COPY_OUT: phase 3, 1 of 2 bytes
	printf '\003\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000' |
		dd of=rekindle.progress conv=notrunc 2>/dev/null
	parent=$$
	# Stands for the pool: notices that CRIU is gone, takes a while to bring memory back, and says so.
	(
		while kill -0 $parent 2>/dev/null; do sleep 0.01; done
		sleep 0.3
		echo back >"$REKINDLE_TEST_ARGUMENTS.back"
		printf '\001' | dd of=rekindle.progress bs=1 seek=4 conv=notrunc 2>/dev/null
	) &
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	exec sleep 300 ;;
esac
exit 0
