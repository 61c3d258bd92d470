#!/bin/sh
# Stands in for criu in tests. REKINDLE_TEST_CRIU says how it behaves; what it was started with goes to
# REKINDLE_TEST_ARGUMENTS, one argument a line.
case "$1 $2" in
--version*) echo "Version: ${REKINDLE_TEST_CRIU_VERSION:-4.2.1}"; exit 0 ;;
"restore --help")
	echo "  -d|--restore-detached"
	[ -z "$REKINDLE_TEST_CRIU_PATCHED" ] || printf '  --dump-threads NUM\n  --restore-threads NUM\n  --restore-thp MODE\n'
	exit 1 ;;
check*)
	case $REKINDLE_TEST_CRIU in
	check-fails) echo "Error (criu/cr-check.c:1): vDSO is not supported"; exit 1 ;;
	no-loopback)
		echo "Error (criu/kerndat.c:731): Unable to connect a socket: Network is unreachable"
		echo "Error (criu/crtools.c:270): Could not initialize kernel features detection."
		exit 1 ;;
	esac
	echo "Looks good."; exit 0 ;;
esac

if [ -n "$REKINDLE_TEST_ARGUMENTS" ]; then
	printf '%s\n' "$@" >"$REKINDLE_TEST_ARGUMENTS"
	env >"$REKINDLE_TEST_ARGUMENTS.env"
fi
command=$1
while [ $# -gt 0 ]; do
	case $1 in
	--work-dir) work=$2 ;;
	--images-dir) images=$2 ;;
	--tree) tree=$2 ;;
	--log-file) log=$2 ;;
	--pidfile) pidfile=$2 ;;
	esac
	shift
done
cd "$work" || exit 9
say() { echo "(00.001) Error (criu/fake.c:1): $*" >>"$log"; }
# What a pool says of the run in the meantime, and hears: fake_progress.c
pool() { "$REKINDLE_TEST_PROGRESS" rekindle.progress "$@"; }
report() { printf '{"kind":"%s","succeeded":%s%s,"processes":[]}' "$1" "$2" "$3" >stats-rekindle.json; }
echo "(00.000) Version: 4.2.1 (gitid 0)" >"$log"

case $REKINDLE_TEST_CRIU in
ok)
	if [ "$command" = restore ]; then
		setsid sleep 300 </dev/null >/dev/null 2>&1 &
		echo $! >"$pidfile"
	fi ;;
nothing) ;;
no-log) rm -f "$log"; echo "criu: error while loading shared libraries: libnet.so.1" >&2; exit 127 ;;
fails) say "unix: the first cause"; say "Dumping FAILED."; exit 1 ;;
disk-full) say "Can't write image: No space left on device"; exit 1 ;;
killed) say "going down"; kill -9 $$ ;;
gpu-fails)
	say "cuda_plugin: the plugin's words"
	report "$([ "$command" = dump ] && echo checkpoint || echo restore)" false \
		',"failure":"Chunk 3 of allocation 1 in rekindle-pages-7.img is damaged.","failure_code":-74,"failure_phase":7'
	exit 1 ;;
busy)
	report checkpoint false ',"failure":"Process 7 is being dumped by criu, process 8: wait for its end.","failure_code":-16,"failure_phase":2'
	exit 1 ;;
timeout) say "Timeout reached. Try to interrupt: 2"; exit 1 ;;
terminal) say "The 4026531836 tty is external. Consider to use --shell-job option."; exit 1 ;;
no-loopback) say "Unable to connect a socket: Network is unreachable"; say "Could not initialize kernel features detection."; exit 1 ;;
connection-in-image) say "inet: Connected TCP socket in image"; exit 1 ;;
id-in-use) say "Can't fork for $REKINDLE_TEST_ID: File exists"; say "Restoring FAILED."; exit 1 ;;
thread-id-in-use) say "Unable to create a thread: -17"; say "Restorer fail 7"; exit 1 ;;
cannot-fork) say "Can't fork for $REKINDLE_TEST_ID: Resource temporarily unavailable"; exit 1 ;;
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
guardian-left-behind) # its pool was killed
	cp "$(command -v sleep)" "$REKINDLE_TEST_ARGUMENTS.programs/rekindle-guard"
	( "$REKINDLE_TEST_ARGUMENTS.programs/rekindle-guard" 0.1 </dev/null >/dev/null 2>&1 &
	echo $! >"$REKINDLE_TEST_ARGUMENTS.pid"
	until grep -q rekindle-guard "/proc/$!/comm"; do sleep 0.01; done ) ;;
gpu-left-behind) report checkpoint true ',"note":"The driver did not restore."' ;;
dead-after-restore) sh -c 'exit 0' & wait $!; echo $! >"$pidfile" ;;
no-pid) ;;
slow-restore) # half-restored processes below it, one of which has a child of its own
	sh -c "sleep 300.$REKINDLE_TEST_MARK & exec sleep 300.$REKINDLE_TEST_MARK" &
	until [ "$(grep -alzx "300[.]$REKINDLE_TEST_MARK" /proc/[0-9]*/cmdline 2>/dev/null | wc -l)" = 2 ]; do sleep 0.01; done
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	wait ;;
slow-dump | slow-dump-stops | slow-dump-kills) # notices that writes fail, as CRIU does, and takes its own way out
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	while echo x >image; do sleep 0.01; done 2>/dev/null
	case $REKINDLE_TEST_CRIU in
	slow-dump-stops)
		kill -STOP "$tree"
		until grep -q '^State:.T' "/proc/$tree/status"; do sleep 0.01; done ;;
	slow-dump-kills) kill -KILL "$tree" ;;
	esac
	exit 1 ;;
slow-lock-for-ever) # and nobody says that the process is back
	pool begin 2 1 2
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	exec sleep 300 ;;
slow-copy) # waits for the pool in the middle of COPY_OUT, phase 3, 1 of 2 bytes, which is told of the cancellation
	pool begin 3 1 2
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	pool await-cancel
	# The pool takes a while to bring memory back, and says so.
	sleep 0.3
	mkdir "$REKINDLE_TEST_ARGUMENTS.back" # it may write no file any more
	exit 1 ;;
slow-lock) # likewise in LOCK, phase 2, which nobody can break off
	pool begin 2 0 0
	parent=$$
	# Stands for the pool: notices that CRIU is gone, takes a while to unlock, and says so.
	(
		while kill -0 $parent 2>/dev/null; do sleep 0.01; done
		sleep 0.3
		echo back >"$REKINDLE_TEST_ARGUMENTS.back"
		pool end
	) &
	echo ready >"$REKINDLE_TEST_ARGUMENTS.ready"
	exec sleep 300 ;;
esac
[ "$command" = restore ] || [ "$REKINDLE_TEST_CRIU" = nothing ] || {
	: >"$images/inventory.new"
	mv "$images/inventory.new" "$images/inventory.img"
}
exit 0
