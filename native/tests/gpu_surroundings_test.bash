#!/bin/bash
# SPDX-License-Identifier: MIT
# What is around a process with device memory: who runs CRIU and how, where the process lives, whose pool is used, what others
# have done with its CUDA, whose images are restored.
. "$(dirname "$0")/harness.bash"

# rpc TYPE OPTION...: one request to `criu swrk`, options in protobuf's text format
rpc() {
	local type=$1 images
	images=$(dirname "$criu")/../images
	[ -e "$images/rpc.proto" ] || images=$("$REKINDLE_TEST_SOURCE/criu/provide-criu.sh" --source-only | tail -n1)/images
	shift
	protoc -I "$images" --encode=criu_req "$images/rpc.proto" >request <<-END
		type: $type
		opts {
			images_dir_fd: -1 images_dir: "$PWD/image" log_level: 4 config_file: "$PWD/criu.conf"
			$*
		}
	END
	python3 "$REKINDLE_TEST_SOURCE/criu/tests/swrk.py" "$criu" <request >answer
	protoc -I "$images" --decode=criu_resp "$images/rpc.proto" <answer >answer.text
	grep -q "success: true" answer.text || { cat answer.text; fail "$type through RPC failed"; }
}

# The way of runc, Podman and go-criu; the folder of plugins comes from a configuration file.
test_through_rpc() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	mkdir image
	echo "libdir $plugin" >criu.conf
	rpc DUMP "pid: $pid log_file: 'dump.log'"
	wait_until 60 is_gone "$pid"
	expect_mode image offload
	rm image/stats-rekindle.json
	rpc RESTORE "log_file: 'restore.log'"
	check_worker worker "$before"
	expect_mode image offload
	rpc DUMP "pid: $pid leave_running: true log_file: 'dump.log'"
	check_worker worker "$before"
}

test_with_a_lasting_pool() {
	local first
	export CRIU_CUDA_CONTEXT_POOL=1
	start_worker worker agent
	cycle worker image1
	expect "the pool of the restore" "$(json image1/stats-rekindle.json pool_warm)" true
	first=$(pool_pid)
	[ -n "$first" ] || fail "the pool did not stay"
	expect_line image1/dump.log "started the pool"
	! grep -q "started the pool" image1/restore.log || fail "the restore started another pool"
	cycle worker image2
	expect_mode image2 offload
	expect "the pool of the second restore" "$(json image2/stats-rekindle.json pool_warm)" true
	expect "the pool of the second cycle" "$(pool_pid)" "$first"
	expect "mode of the socket" "$(stat -c %a "$REKINDLE_POOL_SOCKET")" 600
	# It answers to a private run's setting as well: who listens is used.
	CRIU_CUDA_CONTEXT_POOL=0 cycle worker image3
	expect "the pool of the third cycle" "$(pool_pid)" "$first"
}

test_a_lasting_pool_ends_when_idle() {
	export CRIU_CUDA_CONTEXT_POOL=1 REKINDLE_POOL_IDLE=1
	start_worker worker agent
	cycle worker image
	wait_until 90 no_pool
	# And the next run starts another one in its place.
	cycle worker image2
	expect_mode image2 offload
}

test_two_plugins_at_once_share_one_lasting_pool() {
	local one two first second
	export CRIU_CUDA_CONTEXT_POOL=1
	start_worker one agent
	one=$pid first=$(ask one checksum)
	start_worker two agent
	two=$pid second=$(ask two checksum)
	dump "$one" image1 &
	dump "$two" image2 || fail "the second dump failed"
	wait $! || fail "the first dump failed"
	expect "pools that run" "$(processes_named rekindled | wc -l)" 1
	restore image1 &
	restore image2 || { show_log image2/restore.log; fail "the second restore failed"; }
	wait $! || { show_log image1/restore.log; fail "the first restore failed"; }
	check_worker one "$first"
	check_worker two "$second"
}

test_restored_in_the_foreground() {
	local before criu_job
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	rm image/stats-rekindle.json
	# Without -d CRIU waits for the tree, and tells the plugin of the end only then.
	"$criu" restore -D image -L "$plugin" -v4 -o restore.log >restore.out 2>&1 </dev/null &
	criu_job=$!
	wait_until 60 test -e image/stats-rekindle.json
	check_worker worker "$before"
	expect_mode image offload
	is_running $criu_job || fail "CRIU ended before the tree"
	ask worker exit
	wait $criu_job || fail "CRIU says $? though the worker ended well"
	expect_mode image offload
	wait_until 60 no_pool
}

test_in_a_pid_namespace() {
	local outside
	# The first process of the namespace is what is dumped.
	unshare --pid --fork setsid sh -c 'exec env LD_PRELOAD="$1" LD_LIBRARY_PATH="$2" \
		"$3" --state worker --mib 24 --pieces 6 </dev/null >worker.log 2>&1' sh "$preload" "$simcuda" "$worker" 2>unshare.log &
	disown
	wait_until 60 test -s worker
	ask worker wait-ready
	expect "the worker's own id" "$(ask worker pid)" 1
	outside=$(processes_named rekindle-worker)
	local before
	before=$(ask worker checksum)
	must_dump "$outside" image
	wait_until 60 is_gone "$outside"
	expect_mode image offload
	must_restore image
	check_worker worker "$before"
	expect "the worker's own id" "$(ask worker pid)" 1
	expect_mode image offload
	outside=$(processes_named rekindle-worker)
	must_dump "$outside" image2 --leave-running
	check_worker worker "$before"
}

# A root folder with what the worker needs, and nothing of this machine mounted in it.
make_root() {
	local file
	mkdir -p "$1/proc" "$1/lib" "$1/dev"
	: >"$1/null"
	cp "$worker" "$1/worker"
	cp "$preload" "$1/lib/"
	cp "$simcuda"/libcuda.so.1 "$1/lib/"
	for file in $(ldd "$worker" "$preload" "$simcuda/libcuda.so.1" | sed -nE 's/^\t(.* => )?(\/[^ ]+) .*/\2/p' | sort -u); do
		mkdir -p "$1/$(dirname "$file")"
		cp -L "$file" "$1/$file"
	done
}

test_in_a_container() {
	local outside before
	make_root "$work/root"
	python3 "$REKINDLE_TEST_SOURCE/tests/in_container.py" "$work/root" /lib64/ld-linux-x86-64.so.2 \
		--preload /lib/librekindle-preload.so --library-path "/lib:$(dirname "$(ldd "$worker" | grep -oE '/[^ ]*libc\.so\.6')")" \
		/worker --state /state --mib 24 --pieces 6 &
	disown
	wait_until 60 test -s root/state
	ask root/state wait-ready
	expect "the worker's own id" "$(ask root/state pid)" 1
	outside=$(processes_named ld-linux-x86-64.so.2)
	before=$(ask root/state checksum)
	must_dump "$outside" image
	expect_mode image offload
	must_restore image --root "$work/root"
	check_worker root/state "$before"
	expect_mode image offload
}

# The user, or another tool, has locked or checkpointed the process before the dump.
cuda_state() { "$simcuda/bin/cuda-checkpoint" --get-state --pid "$pid"; }

test_locked_before_the_dump() {
	local kind before
	for kind in agent plain; do
		start_worker $kind $kind
		before=$(ask $kind checksum)
		"$simcuda/bin/cuda-checkpoint" --action lock --pid "$pid"
		must_dump "$pid" image-$kind --leave-running
		expect "the state after the dump" "$(cuda_state)" locked
		"$simcuda/bin/cuda-checkpoint" --action unlock --pid "$pid"
		check_worker $kind "$before"
		"$simcuda/bin/cuda-checkpoint" --action lock --pid "$pid"
		must_dump "$pid" image2-$kind
		# Who restores a process wants it running.
		must_restore image2-$kind
		expect "the state after the restore" "$(cuda_state)" running
		check_worker $kind "$before"
	done
}

test_checkpointed_before_the_dump() {
	local kind before
	for kind in agent plain; do
		start_worker $kind $kind
		before=$(ask $kind checksum)
		"$simcuda/bin/cuda-checkpoint" --action lock --pid "$pid"
		"$simcuda/bin/cuda-checkpoint" --action checkpoint --pid "$pid"
		must_dump "$pid" image-$kind --leave-running
		expect "the state after the dump" "$(cuda_state)" checkpointed
		must_dump "$pid" image2-$kind
		must_restore image2-$kind
		expect "the state after the restore" "$(cuda_state)" running
		check_worker $kind "$before"
	done
}

test_stock_image_is_restored_by_ours() {
	stock_plugin
	start_worker worker plain
	local before
	before=$(ask worker checksum)
	mkdir image
	CRIU_FAULT=138 PATH=$cuda_checkpoint:$PATH "$criu" dump -t "$pid" -D image -L "$work/stock" -v4 -o dump.log
	wait_until 60 is_gone "$pid"
	must_restore image
	check_worker worker "$before"
	expect_mode image native
}

test_image_without_a_list_of_plugins() {
	start_worker worker agent
	local before
	before=$(ask worker checksum)
	must_dump "$pid" image
	forget_plugins image
	must_restore image
	check_worker worker "$before"
	expect_mode image offload
}

test_native_image_of_ours_is_restored_by_stock() {
	stock_plugin
	start_worker worker plain
	local before
	before=$(ask worker checksum)
	must_dump "$pid" image
	CRIU_FAULT=138 PATH=$cuda_checkpoint:$PATH "$criu" restore -d -D image -L "$work/stock" -v4 -o restore.log ||
		{ show_log image/restore.log; fail "the stock plugin did not restore it"; }
	check_worker worker "$before"
}

# CRIU's own CUDA plugin, alone in $work/stock, and the cuda-checkpoint that it runs, over the simulated driver.
stock_plugin() {
	local built
	built=$(dirname "$(dirname "$criu")")/plugins/cuda/cuda_plugin.so
	[ -e "$built" ] ||
		built=$(dirname "$(dirname "$("$REKINDLE_TEST_SOURCE/criu/provide-criu.sh" --stock | tail -n1)")")/plugins/cuda/cuda_plugin.so
	mkdir stock
	cp "$built" stock/
	cuda_checkpoint=$simcuda/bin
	[ -x "$cuda_checkpoint/cuda-checkpoint" ] || fail "there is no cuda-checkpoint for the simulated driver"
}

run_tests "$@"
