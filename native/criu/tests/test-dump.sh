#!/bin/bash
# Images that several threads have written restore to what was dumped, on a disk and on a tmpfs, which is written in another
# way; what cannot be written fails the dump and changes nothing of the process.
. "$(dirname "$0")/lib.sh"

FAULTY=${FAULTY:-}
if [ -z "$FAULTY" ]; then
	FAULTY=$work/faulty.so
	${CC:-cc} -O2 -shared -fPIC -o "$FAULTY" "$tests/faulty.c" -ldl
fi

images=
at_exit() { [ -z "$images" ] || umount "$images"; }

on_tmpfs() { # MOUNT OPTIONS
	mkdir -p "$work/img"
	mount -t tmpfs -o "$1" none "$work/img" || skip "no tmpfs can be mounted"
	images=$work/img
}

off_tmpfs() {
	umount "$images"
	images=
}

written_by() { grep -aqE "page-writers: Wrote [0-9]+ pages with $1 threads?" "$work/img/dump.log"; }
no_writers() { ! grep -aq "page-writers: Wrote" "$work/img/dump.log" || fail "$1: written by threads"; }

cycle() { # WHAT MODE WRITERS criu options
	local what="$2, $1" writers=$3
	dump_zoo "$2" -v3 "${@:4}"
	written_by "$writers" || fail "$what: not written by $writers threads"
	restore || fail "$what: restore"
	check_zoo "$what"
	kill_zoo
	rm -rf "$work/img"/*
}

for place in disk tmpfs; do
	[ $place = disk ] || on_tmpfs size=1g
	for mode in mappings threads cow many; do
		cycle "2 threads, $place" $mode "[12]" --dump-threads 2
	done
	cycle "1 thread, $place" mappings 1 --dump-threads 1
	cycle "7 threads, $place" mappings 7 --dump-threads 7
	[ $place = disk ] || off_tmpfs
done

# The same pages in the same order, whoever writes them. The zoo waits, and is dumped as often as wanted.
start_zoo mappings
for threads in none 1 3; do
	mkdir "$work/img.$threads"
	options=()
	[ $threads = none ] || options=(--dump-threads $threads)
	"$CRIU" dump -t "$pid" -D "$work/img.$threads" -o dump.log -v1 --leave-running "${options[@]}" || fail "$threads: dump"
	wait_until 60 asleep "$pid"
done
python3 - "$work/img.none" "$work/img.1" "$work/img.3" <<-'END' || fail "the images differ"
	import glob, os, sys

	first, *others = sys.argv[1:]
	for name in sorted(map(os.path.basename, glob.glob(first + "/pages-*.img"))):
	    wanted = open(os.path.join(first, name), "rb").read()
	    for other in others:
	        got = open(os.path.join(other, name), "rb").read()
	        # A stack is not what it was, once its process has been let go on.
	        pages = sum(wanted[at:at + 4096] != got[at:at + 4096] for at in range(0, len(wanted), 4096))
	        print(name, len(wanted), "bytes,", pages, "pages differ")
	        assert len(wanted) == len(got) and pages <= 8, (name, other)
	END
echo "ok: the images are the same"
rm -rf "$work"/img.*

# No room for it. What could not be read or written is said, and the process goes on.
on_tmpfs size=1m
if "$CRIU" dump -t "$pid" -D "$work/img" -o "$work/full.log" -v3 --dump-threads 3; then fail "a full tmpfs: criu says success"; fi
grep -aq "Error .*page-writers: Can't write pages: No space left on device" "$work/full.log" ||
	fail "a full tmpfs: the log does not say so: $(grep -a Error "$work/full.log")"
# The log has one buffer for all threads.
said=$(grep -ac "Error .*page-writers: " "$work/full.log")
[ "$said" = 1 ] || fail "a full tmpfs: it is said $said times"
wait_until 60 asleep "$pid"
check_zoo "a full tmpfs"
kill_zoo
off_tmpfs
for what in "mapped:size=1g" "written:"; do
	[ $what = written: ] || on_tmpfs size=1g
	start_zoo mappings
	if LD_PRELOAD=$FAULTY FAULTY_MEMORY=5 "$CRIU" dump -t "$pid" -D "$work/img" -o "$work/lost.log" -v3 --dump-threads 3; then
		fail "memory that cannot be read, ${what%:*}: criu says success"
	fi
	grep -aqE "Error .*page-writers: Can't read memory of $pid at 0x[0-9a-f]+: Input/output error" "$work/lost.log" ||
		fail "memory that cannot be read, ${what%:*}: the log does not say so: $(grep -a Error "$work/lost.log")"
	wait_until 60 asleep "$pid"
	check_zoo "memory that cannot be read, ${what%:*}"
	kill_zoo
	[ $what = written: ] || off_tmpfs
	rm -rf "$work/img"/*
done

# A parent whose pages make way for those of this dump loses no more to one that fails than it does without threads.
left_of_parent() { # HOW criu options
	cp -r "$work/whole" "$work/parent"
	if "$CRIU" dump -t "$pid" -D "$work/img" -o "$work/$1.log" -v3 --prev-images-dir ../parent --auto-dedup "${@:2}"; then
		fail "a parent and a full tmpfs, $1: criu says success"
	fi
	grep -aq "Error .*: No space left on device" "$work/$1.log" || fail "a parent and a full tmpfs, $1: $(grep -a Error "$work/$1.log")"
	wait_until 60 asleep "$pid"
	(cd "$work/parent" && sha256sum pages-*.img) >"$work/$1.left"
	rm -rf "$work/parent" "$work/img"/*
}

start_zoo mappings
mkdir "$work/whole"
"$CRIU" dump -t "$pid" -D "$work/whole" -o dump.log -v1 --leave-running || fail "parent: dump"
wait_until 60 asleep "$pid"
# When it was made, which CRIU writes down for a parent only where the kernel tracks memory
python3 - "$work/whole/inventory.img" <<-'END'
	import struct, sys

	data = open(sys.argv[1], "rb").read()
	size, = struct.unpack_from("<I", data, 4)
	uptime, field = int(float(open("/proc/uptime").read().split()[0]) * 1e6), bytearray([8 << 3])
	while uptime > 0x7F:
	    field.append(uptime & 0x7F | 0x80)
	    uptime >>= 7
	field.append(uptime)
	open(sys.argv[1], "wb").write(data[:4] + struct.pack("<I", size + len(field)) + data[8:] + field)
	END
on_tmpfs size=1m
left_of_parent pipes
left_of_parent writers --dump-threads 3
grep -aq "Warn .*--dump-threads is ignored with --auto-dedup" "$work/writers.log" || fail "a parent: the log does not say so"
diff "$work/pipes.left" "$work/writers.left" || fail "a parent has lost more than without threads"
check_zoo "a parent and a full tmpfs"
kill_zoo
off_tmpfs
rm -rf "$work/whole"

# Who may not read the memory of others, as in a container whose filter forbids that, has the parasite.
FAULTY_MEMORY=0 LD_PRELOAD=$FAULTY dump_zoo mappings -v3 --dump-threads 3
no_writers "not allowed"
grep -aq "Warn .*--dump-threads is ignored" "$work/img/dump.log" || fail "not allowed: the log does not say so"
restore || fail "not allowed: restore"
check_zoo "not allowed"
kill_zoo
rm -rf "$work/img"

# The number: none for so little, and where there are few processors.
dump_zoo mappings -v3 --dump-threads 0
if (($(nproc) < 4)); then
	no_writers "automatic"
else
	written_by "[2-8]" || grep -aq "Dumping pages" "$work/img/dump.log" || fail "automatic: nothing was written"
fi
restore || fail "automatic: restore"
check_zoo "automatic"
kill_zoo
rm -rf "$work/img"

# What needs pipes has them.
start_zoo mappings
port=$((20000 + $$ % 20000))
"$CRIU" page-server -d -D "$work/img" --address 127.0.0.1 --port $port -o server.log -v1 || fail "page server"
all=$(tree "$pid")
"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v3 --dump-threads 3 --page-server --address 127.0.0.1 --port $port ||
	fail "page server: dump"
gone $all
no_writers "page server"
grep -aq "Warn .*--dump-threads is ignored with --page-server" "$work/img/dump.log" || fail "page server: the log does not say so"
restore || fail "page server: restore"
check_zoo "page server"
kill_zoo
rm -rf "$work/img"

if "$CRIU" check --feature mem_dirty_track >/dev/null 2>&1; then
	start_zoo mappings
	mkdir "$work/img/parent.d"
	all=$(tree "$pid")
	"$CRIU" pre-dump -t "$pid" -D "$work/img/parent.d" -o dump.log -v1 --track-mem --dump-threads 3 || fail "pre-dump"
	"$CRIU" dump -t "$pid" -D "$work/img" -o dump.log -v3 --track-mem --prev-images-dir parent.d --dump-threads 3 || fail "dump"
	gone $all
	restore || fail "pre-dump: restore"
	check_zoo "pre-dump"
	kill_zoo
else
	echo "SKIPPED: pre-dump (this kernel does not track memory)"
fi

for bad in "--dump-threads -1" "--dump-threads many" "--dump-threads"; do
	if "$CRIU" dump -t $$ -D "$work" -o bad.log $bad >"$work/out" 2>&1; then fail "$bad is taken"; fi
done
echo "ok: bad values"

# As on arm64, where the size of a page is known when CRIU runs.
tree=$(cd "$(dirname "$CRIU")/.." && pwd)
if [ "$(uname -m)" = x86_64 ] && [ -e "$tree/images/rpc.pb-c.h" ]; then
	echo 'unsigned long size_of_page(void);' >"$work/page.h"
	for source in page-readers page-writers usable-cpus; do
		(cd "$tree" && "${CC:-cc}" -fsyntax-only -w -D_GNU_SOURCE -DCONFIG_X86_64 -include "$work/page.h" \
			"-DPAGE_SIZE=size_of_page()" -iquote include -iquote criu/include -iquote criu/arch/x86/include \
			-iquote images -iquote . -I compel/include/uapi "criu/$source.c") || fail "$source.c wants a constant page size"
	done
	echo "ok: any size of a page"
fi
