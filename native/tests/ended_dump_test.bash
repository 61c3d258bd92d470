#!/bin/bash
# A dump whose processes CRIU ends gives them nothing back: their checkpoint is in its place before, and is all there is of them.
. "$(dirname "$0")/harness.bash"

# was_brought_back FOLDER: some process of the dump there got its GPU back
was_brought_back() { grep -q '"phase":"driver_restore"' "$1/stats-rekindle.json"; }

# Nothing of it would succeed.
export REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999

test_it_is_not_brought_back() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	expect_line image/dump.log "process $pid ends, and needs no GPU any more"
	expect "succeeded" "$(json image/stats-rekindle.json succeeded)" true
	! was_brought_back image || fail "it was brought back"
	wait_until 60 no_pool
	unset REKINDLE_SIMCUDA_FAIL
	must_restore image
	check_worker worker "$before"
	# Over an older checkpoint, too.
	ask worker change
	before=$(ask worker checksum)
	must_dump "$pid" image
	! was_brought_back image || fail "it was brought back"
	must_restore image
	check_worker worker "$before"
}

test_without_the_agent() {
	local before
	start_worker worker plain
	before=$(ask worker checksum)
	must_dump "$pid" image
	! was_brought_back image || fail "it was brought back"
	unset REKINDLE_SIMCUDA_FAIL
	must_restore image
	check_worker worker "$before"
}

test_a_tree() {
	local name before
	start_worker worker agent --children 2
	for name in worker worker.1 worker.2; do ask $name wait-ready >/dev/null; done
	before=$(for name in worker worker.1 worker.2; do ask $name checksum; done)
	must_dump "$pid" image
	expect "the processes that ended" "$(grep -c "ends, and needs no GPU any more" image/dump.log)" 3
	! was_brought_back image || fail "one was brought back"
	unset REKINDLE_SIMCUDA_FAIL
	must_restore image
	expect "the checksums" "$(for name in worker worker.1 worker.2; do ask $name checksum; done)" "$before"
}

test_what_is_parked_is_taken_at_once() {
	local before
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	start_worker worker agent
	before=$(ask worker checksum)
	# Of the pool, whose calls fail as long as it lives.
	REKINDLE_SIMCUDA_FAIL=cuCheckpointProcessRestore=999@1 must_dump "$pid" image
	! was_brought_back image || fail "it was brought back"
	expect "what stays" "$(json image/stats-rekindle.json resident_bytes)" $((24 << 20))
	must_not_restore image # the one that fails
	must_restore image
	check_worker worker "$before"
}

test_who_lives_is_brought_back() {
	local before
	unset REKINDLE_SIMCUDA_FAIL
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image --leave-running
	was_brought_back image || fail "the statistics do not say so"
	check_worker worker "$before"
	dump "$pid" image --leave-stopped || fail "the dump failed"
	was_brought_back image || fail "the statistics do not say so"
	kill -CONT "$pid"
	check_worker worker "$before"
}

# Criu is killed when it has ended the process, before it hears from the pool that the run is over.
test_criu_is_killed_then() {
	local before dump_job
	unset REKINDLE_SIMCUDA_FAIL
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	start_worker worker agent
	ask worker change
	must_dump "$pid" image --leave-running
	ask worker change
	before=$(ask worker checksum)
	kill -TERM "$(pool_pid)"
	wait_until 60 no_pool
	REKINDLE_SIMCUDA_DELAY=cuMemUnmap=500ms "$criu" dump -t "$pid" -D image -L "$plugin" -v4 -o dump.log </dev/null \
		>dump.out 2>&1 &
	dump_job=$!
	wait_until 60 grep -Eqs "ends, and needs no GPU any more" image/dump.log image/.rekindle-new/dump.log
	kill -KILL $dump_job
	! wait $dump_job || fail "it was through already"
	wait_until 60 is_gone "$pid"
	# The pool comes to its end with it, and gives the folder up.
	wait_until 60 restore image
	check_worker worker "$before"
}

# Likewise: who has no part in what the pool does ends with the others, and not half of the tree goes on.
test_criu_is_killed_then_and_the_tree_ends_as_a_whole() {
	local before dump_job launcher
	unset REKINDLE_SIMCUDA_FAIL
	export REKINDLE_PARK=device CRIU_CUDA_CONTEXT_POOL=1
	(
		unset REKINDLE_CUDA_DRIVER
		exec setsid bash -c '"$@"; exec sleep infinity' launcher env LD_PRELOAD="$preload" LD_LIBRARY_PATH="$simcuda" "$worker" \
			--state "$work/worker" --mib 24 --pieces 6 </dev/null >"$work/worker.log" 2>&1
	) &
	launcher=$!
	disown
	wait_until 60 test -s worker
	ask worker wait-ready
	before=$(ask worker checksum)
	inject pool cuMemUnmap=held
	mkdir image
	REKINDLE_SIMCUDA_CONTROL=$work/pool.rules "$criu" dump -t $launcher -D image -L "$plugin" -v4 -o dump.log \
		</dev/null >dump.out 2>&1 &
	dump_job=$!
	wait_until 60 is_held pool
	expect_line image/dump.log "ends, and needs no GPU any more"
	kill -KILL $dump_job
	! wait $dump_job || fail "it was through already"
	inject pool
	wait_until 60 is_gone $launcher
	# The pool comes to its end with it, and gives the folder up.
	wait_until 60 restore image
	check_worker worker "$before"
}

run_tests "$@"
