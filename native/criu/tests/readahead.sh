# Sourced by the tests that look at what is in the page cache. The kernel reads ahead of whoever reads, up to megabytes on
# some machines, so that a small image is half in the cache the moment after its first page was read.
readahead_file=

no_readahead() { # PATH: on its disk, until put_back_readahead
	local file kib
	[ -z "$readahead_file" ] || return 0
	file=/sys/class/bdi/$(stat -c %Hd:%Ld "$1")/read_ahead_kb
	kib=$(cat "$file" 2>/dev/null) && echo 0 2>/dev/null >"$file" || return 0
	readahead_file=$file readahead_kib=$kib
}

put_back_readahead() {
	[ -z "$readahead_file" ] || echo "$readahead_kib" >"$readahead_file"
	readahead_file=
}
