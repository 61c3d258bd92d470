#!/bin/bash
# SPDX-License-Identifier: MIT
# Restores on other GPUs than those of the dump: chosen, or because the same one is full or gone.
. "$(dirname "$0")/harness.bash"

# uuid N: of the simulated machine's device N, as nvidia-smi would print it
uuid() { printf 'GPU-53494d55-4c41-5445-442d-4750552d%02x%02x\n' $((0x30 + $1 / 10)) $((0x30 + $1 % 10)); }

# on GPUs NAME PID DEVICES: the worker uses those, as it is told by the driver, and its memory lies there
check_gpus() {
	local name=$1 pid=$2 wanted=() device
	shift 2
	for device; do wanted+=("$(uuid "$device")"); done
	expect "the GPUs of $name" "$(ask "$name" gpus)" "$(IFS=,; echo "${wanted[*]}")"
	expect "where the memory of $name lies" "$(grep -o 'simcuda-memory-of-device-[0-9]*' "/proc/$pid/maps" | sort -u | xargs)" \
		"$(for device; do echo "simcuda-memory-of-device-$device"; done | sort | xargs)"
}

# moves NAME MODE FOLDER MAP DEVICE...: dumps the worker $pid and restores it there; its contents are the same
moves() {
	local name=$1 mode=$2 folder=$3 map=$4 before
	shift 4
	rm -rf "$folder"
	before=$(ask "$name" checksum)
	must_dump "$pid" "$folder"
	REKINDLE_DEVICE_MAP=$map REKINDLE_SIMCUDA_VISIBLE=${machine:-} must_restore "$folder"
	expect "the mode" "$(json "$folder/stats-rekindle.json" processes.0.mode)" "$mode"
	check_worker "$name" "$before"
	check_gpus "$name" "$pid" "$@"
	# It works there: new contents, more memory and less.
	ask "$name" change
	ask "$name" allocate 8
	ask "$name" free 1
	check_gpus "$name" "$pid" "$@"
}

test_a_process_of_one_gpu_comes_back_on_another() {
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent
	check_gpus worker "$pid" 0
	moves worker offload first 0=1 1
	expect_line first/restore.log "GPU 1 \($(uuid 1)\) stands for GPU 0 of the dump, as was asked for"
	# What was moved is dumped as what it is now, and stays there.
	moves worker offload second "" 1
	! grep -q "stands for" second/restore.log || fail "it moved, and nobody asked for that"
	moves worker offload third "$(uuid 1)=$(uuid 0)" 0
	moves worker offload fourth 1 1
}

test_without_agent() {
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker plain
	moves worker native first 0=1 1
	moves worker native second "" 1
	moves worker native third 1=0 0
}

test_two_processes_swap_places() {
	local first second before=() generation map
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker one agent
	first=$pid
	start_worker two agent --gpus 1 --seed 5
	second=$pid
	check_gpus two "$second" 1
	for generation in 1 2; do
		before=("$(ask one checksum)" "$(ask two checksum)")
		rm -rf one.images two.images
		must_dump "$first" one.images
		must_dump "$second" two.images
		map=0=1,1=0
		REKINDLE_DEVICE_MAP=$map must_restore one.images
		REKINDLE_DEVICE_MAP=$map must_restore two.images
		check_worker one "${before[0]}"
		check_worker two "${before[1]}"
		check_gpus one "$first" $((generation % 2))
		check_gpus two "$second" $((1 - generation % 2))
		ask one change
		ask two change
	done
}

test_a_process_of_both_comes_back_swapped() {
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent --gpus 0,1 --pieces 9
	check_gpus worker "$pid" 0 1
	moves worker offload first 0=1,1=0 1 0
	moves worker offload second "" 1 0
	moves worker offload third 0=1,1=0 0 1
}

test_a_tree_comes_back_on_another() {
	local before
	export REKINDLE_SIMCUDA_DEVICES=3
	start_worker worker agent --children 1
	before="$(ask worker checksum) $(ask worker.1 checksum)"
	must_dump "$pid" image
	REKINDLE_DEVICE_MAP=2 must_restore image
	expect "the contents" "$(ask worker checksum) $(ask worker.1 checksum)" "$before"
	check_gpus worker "$pid" 2
	check_gpus worker.1 "$(ask worker.1 pid)" 2
}

# With a pool that lasts the GPU that is wanted may be cold, and the other one warm.
test_with_a_lasting_pool() {
	export REKINDLE_SIMCUDA_DEVICES=2 CRIU_CUDA_CONTEXT_POOL=1
	start_worker worker agent
	moves worker offload first 0=1 1
	moves worker offload second 1=0 0
}

# As in CRIU's own plugin: auto is for a machine whose GPUs have other UUIDs.
test_on_another_machine() {
	local machine=5,4
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent --gpus 0,1
	moves worker offload first auto 5 4
	export REKINDLE_SIMCUDA_VISIBLE=5,4
	machine=7,8
	moves worker offload second 0=1,1=0 8 7
	export REKINDLE_SIMCUDA_VISIBLE=7,8
	machine=3,9
	moves worker offload third "" 9 3
}

# refused SENTENCE MAP: and nothing of the tree has been made
refused() {
	local images
	images=$(cd image && sha256sum -- *.img)
	rm -f image/restore.log
	REKINDLE_DEVICE_MAP=$2 must_not_restore image
	expect_line image/restore.log "Error .*$1"
	expect_line image/stats-rekindle.json "$1"
	! grep -q "Forking task" image/restore.log || fail "criu has made processes before it refused"
	is_gone "$pid" || fail "a process is left"
	expect "the images" "$(cd image && sha256sum -- *.img)" "$images"
}

test_what_cannot_be_is_refused() {
	local before
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	refused 'REKINDLE_DEVICE_MAP=0:1 is not valid: \\?"0:1\\?" is not OLD=NEW' 0:1
	refused "The device map asks for GPU 2, and this machine has: 0 \($(uuid 0)\), 1 \($(uuid 1)\)" 0=2
	refused "The device map asks for GPU $(uuid 7), and this machine has: 0 \($(uuid 0)\), 1" "$(uuid 7)"
	refused "The device map names GPU 3 of the dump, whose machine had: 0 \($(uuid 0)\), 1" 3=1
	refused "The device map takes GPU 1 twice" 0=1,1=1
	REKINDLE_SIMCUDA_NAMES="SIMULATED GPU,OTHER GPU" \
		refused 'GPU 1 is a \\?"OTHER GPU\\?" with 65536 MiB, and GPU 0 of the dump, which it is to stand for, was a \\?"SIMULATED GPU\\?" with 65536 MiB' 0=1
	REKINDLE_SIMCUDA_USED=0,65520M \
		refused "GPU 1 \(SIMULATED GPU\), which the device map has for GPU 0 of the dump, has 16 MiB free, and 2[0-9] MiB are needed \(0 of them by the driver itself\): end what else uses it, or choose another one" 0=1
	must_restore image
	check_worker worker "$before"
	check_gpus worker "$pid" 0
}

# What the driver holds for the process beside its allocations is known from the dump.
test_room_for_the_driver() {
	local before
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent
	before=$(ask worker checksum)
	REKINDLE_SIMCUDA_PROCESS=$pid:500M must_dump "$pid" image
	REKINDLE_SIMCUDA_USED=0,65037M \
		refused "GPU 1 .* has 499 MiB free, and 500 MiB are needed \(476 of them by the driver itself\)" 0=1
	REKINDLE_SIMCUDA_USED=0,65036M REKINDLE_DEVICE_MAP=0=1 must_restore image
	check_worker worker "$before"
	check_gpus worker "$pid" 1
}

test_a_full_one_gives_way_to_an_equal_one() {
	local before
	export REKINDLE_SIMCUDA_DEVICES=3
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	REKINDLE_SIMCUDA_USED=65530M,0 REKINDLE_SIMCUDA_NAMES="SIMULATED GPU,OTHER GPU" must_restore image
	check_worker worker "$before"
	check_gpus worker "$pid" 2
	expect_line image/restore.log "Warn .*GPU 2 .* stands for GPU 0 of the dump, which has no room"
	expect_line image/rekindled.log "GPU 2 .* stands for GPU 0 of the dump, which has no room"
}

# The driver's own restore goes on beside it, also where another GPU could be taken.
test_looking_for_room_waits_for_no_cold_gpu() {
	local before
	export REKINDLE_SIMCUDA_DEVICES=2
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	REKINDLE_SIMCUDA_DELAY=cuDevicePrimaryCtxRetain=5000ms must_restore image
	check_worker worker "$before"
	python3 - image/stats-rekindle.json <<-'END' || fail "the driver's restore has waited for the GPU to be warm"
		import json, sys
		phases = json.load(open(sys.argv[1]))["processes"][0]["phases"]
		took = [phase["duration"] for phase in phases if phase["phase"] == "driver_restore"]
		sys.exit(len(took) != 1 or took[0] > 2.5e9)
	END
}

test_one_that_is_gone_gives_way_to_an_equal_one() {
	local before
	start_worker worker agent
	before=$(ask worker checksum)
	must_dump "$pid" image
	REKINDLE_SIMCUDA_VISIBLE=1 must_restore image
	check_worker worker "$before"
	check_gpus worker "$pid" 1
	expect_line image/restore.log "Warn .*GPU 0 .* stands for GPU 0 of the dump, which is not here"
}

run_tests "$@"
