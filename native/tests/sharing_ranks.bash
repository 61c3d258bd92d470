# SPDX-License-Identifier: MIT
# The processes of sharing_test.bash and sharing_failure_test.bash: they map each other's device memory, by descriptors that
# they exported and imported, and by legacy handles.
. "$(dirname "$0")/harness.bash"

program=$build/bin/shared_memory_program

# start_ranks NAME COUNT [agent|plain]: sets $pid; the ranks' folders are NAME/0, NAME/1, ...
start_ranks() {
	local name=$1 count=$2 rank preloaded=("LD_PRELOAD=$preload")
	[ "${3:-agent}" = agent ] || preloaded=()
	mkdir "$name"
	(
		unset REKINDLE_CUDA_DRIVER
		exec env "${preloaded[@]}" LD_LIBRARY_PATH="$simcuda" setsid "$program" "$work/$name" "$count" \
			</dev/null >"$work/$name.log" 2>&1
	) &
	pid=$!
	disown
	for ((rank = 0; rank < count; rank++)); do wait_until 180 test -e "$name/$rank/ready"; done
}

# tell RANK COMMAND...: prints the answer
tell() {
	local folder=$1
	shift
	rm -f "$folder/answer"
	echo "$*" >"$folder/next"
	mv "$folder/next" "$folder/go"
	wait_until 360 test -e "$folder/answer"
	cat "$folder/answer"
}
must_tell() { local got; got=$(tell "$@"); [ "$got" = good ] || fail "rank $1 says to $2 $3: '$got'"; }
# reads VALUE RANK AREA
reads() { expect "$3 of rank $2" "$(tell "$2" read "$3")" "$1"; }

# hand_over FROM AREA TO AREA: by a descriptor
hand_over() {
	local got
	got=$(tell "$1" export "$2")
	[[ $got =~ ^[0-9]+\ [0-9]+$ ]] || fail "rank $1 exports $2: '$got'"
	# shellcheck disable=SC2086 # two words
	must_tell "$3" import "$4" $got
	must_tell "$1" close "${got#* }"
}

# hand_over_handle FROM AREA TO AREA: by a legacy handle
hand_over_handle() {
	local handle
	handle=$(tell "$1" share "$2")
	[ ${#handle} = 128 ] || fail "rank $1 shares $2: '$handle'"
	must_tell "$3" open "$4" "$handle"
}

# Both ways, by descriptors and by handles; memory of the host too, of which each has a piece that the other one has not.
start_pair() { # NAME
	start_ranks "$1" 2
	must_tell "$1/0" make mine 11
	must_tell "$1/1" make mine 22
	must_tell "$1/0" allocate plain 33
	hand_over "$1/0" mine "$1/1" theirs
	hand_over "$1/1" mine "$1/0" theirs
	hand_over_handle "$1/0" plain "$1/1" opened
	must_tell "$1/1" host ours 44
	must_tell "$1/0" host alone 55
	hand_over "$1/1" ours "$1/0" hosts
}

# What one writes the other reads, both ways.
check_pair() { # NAME
	local value
	must_tell "$1/0" check
	must_tell "$1/1" check
	reads "$(tell "$1/0" read mine)" "$1/1" theirs
	reads "$(tell "$1/1" read mine)" "$1/0" theirs
	reads "$(tell "$1/0" read plain)" "$1/1" opened
	reads 55 "$1/0" alone
	reads "$(tell "$1/1" read ours)" "$1/0" hosts
	value=$((RANDOM % 200 + 1))
	must_tell "$1/0" write mine "$value"
	reads "$value" "$1/1" theirs
	must_tell "$1/1" write theirs $((value + 1))
	reads $((value + 1)) "$1/0" mine
	must_tell "$1/0" write theirs $((value + 2))
	reads $((value + 2)) "$1/1" mine
	must_tell "$1/1" write opened $((value + 3))
	reads $((value + 3)) "$1/0" plain
	must_tell "$1/0" write hosts $((value + 4))
	reads $((value + 4)) "$1/1" ours
}

contents_of() { echo "$(tell "$1/0" read mine) $(tell "$1/1" read mine) $(tell "$1/0" read plain) $(tell "$1/1" read ours)"; }
remember() { contents=$(contents_of "$1"); }
is_as_remembered() { expect "the contents" "$(contents_of "$1")" "$contents"; }
