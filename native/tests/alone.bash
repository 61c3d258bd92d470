# SPDX-License-Identifier: MIT
# Sourced first by a test that dumps and restores, in native/tests and native/criu/tests: it goes on as root, as the first
# process of a pid namespace of its own and in a mount namespace of its own. So nothing of it can stay behind whatever
# happens, and restored processes find their ids free.

if [ "$(id -u)" != 0 ]; then
	echo "skipped: dump and restore need root"
	exit 77
fi
if [ "${REKINDLE_TEST_INSIDE:-}" != 1 ]; then
	REKINDLE_TEST_INSIDE=1 exec unshare --pid --mount --propagation private --fork --mount-proc --kill-child \
		"$BASH" "$0" "$@"
fi
[ $$ = 1 ] || { echo "the test is not the first process of its pid namespace"; exit 1; }
# What whoever started this left open must not get into the images: ctest's own log, which grows while tests run at the
# same time, is of another size at the restore.
for descriptor in /proc/self/fd/*; do
	descriptor=${descriptor##*/}
	((descriptor < 3 || descriptor == 255)) || eval "exec $descriptor>&-"
done

# wait_until SECONDS COMMAND...: polls, as there is nothing to wait on for what a foreign process does. SECONDS is far from
# what it takes on a machine with nothing else to do: others are busier. Needs a function fail.
wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || fail "waited in vain for: $*"
		sleep 0.02
	done
}

# Not even a zombie, which would keep its id from the restored process.
is_gone() { [ ! -e "/proc/$1" ]; }
