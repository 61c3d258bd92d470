/* SPDX-License-Identifier: MIT */
/* Device memory shared with another process through legacy handles (cuIpcGetMemHandle). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "agent/tests/offload_memory.h"
#include "agent/tests/ipc_peer.h"
#include "inspect/inspection.h"

#include <cmocka.h>

/* ---- what programs do ---- */

static void check_sharing(size_t bytes)
{
	const struct process *peer = &processes[0];
	struct message message = {0};
	CUdeviceptr address = make_shared(bytes, &message), theirs;

	assert_success(cuMemsetD8_v2(address, 0x41, bytes));
	assert_int_equal(tell(peer, &message, OPEN), CUDA_SUCCESS);
	theirs = message.address;
	/* Read and written from both sides, at both ends. */
	assert_int_equal(tell(peer, &message, READ), CUDA_SUCCESS);
	assert_int_equal(message.value, 0x41);
	message.address = theirs + bytes - 1;
	message.value = 0x42;
	assert_int_equal(tell(peer, &message, WRITE), CUDA_SUCCESS);
	assert_int_equal(read_byte(address + bytes - 1), 0x42);
	assert_success(cuMemsetD8_v2(address, 0x43, bytes));
	assert_int_equal(tell(peer, &message, READ), CUDA_SUCCESS);
	assert_int_equal(message.value, 0x43);
	/* What was opened looks like one allocation. */
	message.address = theirs + bytes / 2;
	assert_int_equal(tell(peer, &message, RANGE), CUDA_SUCCESS);
	assert_int_equal(message.address, theirs);
	assert_int_equal(message.bytes, bytes);
	/* Closed by its beginning only, by no other function, and once. */
	assert_int_not_equal(tell(peer, &message, FREE), CUDA_SUCCESS);
	assert_int_not_equal(tell(peer, &message, SHARE), CUDA_SUCCESS);
	message.address = theirs + 4096;
	assert_int_not_equal(tell(peer, &message, CLOSE), CUDA_SUCCESS);
	message.address = theirs;
	assert_int_equal(tell(peer, &message, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(peer, &message, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(peer, &message, READ), CUDA_SUCCESS);
	assert_int_equal(read_byte(address), 0x43);
	assert_success(cuMemFree_v2(address));
}

static void another_process_reads_and_writes(void **state)
{
	(void)state;
	check_sharing(MIB); /* the driver's own */
	check_sharing(2 * MIB);
	check_sharing(5 * MIB + 123);
	check_sharing(GIB + 6 * MIB); /* two pieces */
}

static void a_handle_stands_for_the_allocation(void **state)
{
	struct message first = {0}, second = {0};
	CUdeviceptr address = make_shared(4 * MIB, &first);

	(void)state;
	assert_success(cuIpcGetMemHandle(&second.handle, address + MIB));
	assert_memory_equal(&first.handle, &second.handle, sizeof(first.handle));
	assert_int_equal(tell(&processes[0], &first, OPEN), CUDA_SUCCESS);
	/* In the same context once more: the same address, counted. */
	assert_int_equal(tell(&processes[0], &second, OPEN), CUDA_SUCCESS);
	assert_int_equal(first.address, second.address);
	assert_int_equal(tell(&processes[0], &first, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &second, READ), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &second, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(&processes[0], &second, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
	/* New memory has a new handle, at the same address too. */
	address = make_shared(4 * MIB, &second);
	assert_memory_not_equal(&first.handle, &second.handle, sizeof(first.handle));
	assert_int_equal(tell(&processes[0], &first, OPEN), CUDA_ERROR_INVALID_HANDLE);
	assert_success(cuMemFree_v2(address));
}

static void opened_memory_is_not_the_drivers_to_give(void **state)
{
	struct message message = {0};
	CUdeviceptr address = make_shared(4 * MIB, &message);
	CUpointer_attribute attribute = CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE;
	unsigned int capable = 0x7700;
	void *data = &capable;

	(void)state;
	assert_success(cuPointerGetAttribute(data, attribute, address + 100));
	assert_int_equal(capable, 1);
	capable = 0x7700;
	assert_success(cuPointerGetAttributes(1, &attribute, &data, address + 100));
	assert_int_equal(capable, 1);
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &message, ATTRIBUTE), CUDA_SUCCESS);
	assert_int_equal(message.value, 0);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
}

static void each_context_opens_for_itself(void **state)
{
	struct process *peer = &processes[2];
	struct message first = {0}, second = {0};
	CUdeviceptr address = make_shared(4 * MIB, &first);

	(void)state;
	second = first;
	assert_int_equal(tell(peer, &first, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(peer, &second, SECOND_CONTEXT), CUDA_SUCCESS);
	assert_int_equal(tell(peer, &second, OPEN), CUDA_SUCCESS);
	assert_int_not_equal(first.address, second.address);
	assert_int_equal(tell(peer, &first, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(peer, &second, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
}

/* ---- dumps ---- */

/* Told from outside, without a word to the process. */
static bool is_said_to_hold_imported_memory(pid_t pid)
{
	static const struct inspection_options options = {.known = false};
	struct inspection inspection;
	struct error_text error;
	bool is_said = false;

	assert_int_equal(inspection_run(&inspection, pid, &options, &error), 0);
	for (size_t i = 0; i < inspection.obstacle_count; i++)
		is_said |= inspection.obstacles[i].kind == OBSTACLE_IMPORTED_MEMORY;
	inspection_free(&inspection);
	return is_said;
}

static void shared_memory_is_its_owners_to_save(void **state)
{
	struct message message = {0}, exported = {0};
	CUdeviceptr shared = make_shared(4 * MIB, &message), own;

	(void)state;
	assert_success(cuMemAlloc_v2(&own, 6 * MIB));
	assert_success(cuMemsetD8_v2(shared, 0x21, 4 * MIB));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	/* The one who opened it hands over how it came, and can be dumped with its owner. */
	assert_false(is_said_to_hold_imported_memory(processes[0].id));
	assert_int_equal(tell(&processes[0], &exported, EXPORT), 0);
	assert_int_equal(exported.bytes, 1);
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_int_equal(reply.last, 1);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	assert_int_equal(read_byte(shared), 0x21);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	/* Imported memory by now: it is shared by the descriptor that it came with. */
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	message.value = 0x22;
	assert_int_equal(tell(&processes[0], &message, WRITE), CUDA_SUCCESS);
	assert_int_equal(read_byte(shared), 0x22);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &exported, EXPORT), 0);
	assert_int_equal(exported.bytes, 0);
	assert_success(cuMemFree_v2(shared));
	assert_success(cuMemFree_v2(own));
}

/* Out and in again: it is imported memory afterwards. */
static void leave_and_come_back(void)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
}

static void restored_memory_is_shared(void **state)
{
	struct message message = {0};
	CUdeviceptr address;
	CUipcMemHandle handle;
	unsigned int capable = 7, generation;

	(void)state;
	assert_success(cuMemAlloc_v2(&address, GIB + 4 * MIB)); /* two pieces */
	assert_success(cuMemsetD8_v2(address, 0x31, GIB + 4 * MIB));
	leave_and_come_back();
	assert_success(cuPointerGetAttribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, address));
	assert_int_equal(capable, 1);
	assert_success(cuIpcGetMemHandle(&handle, address));
	for (generation = 0; generation < 2; generation++) {
		message.handle = handle;
		assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
		assert_int_equal(tell(&processes[0], &message, READ), CUDA_SUCCESS);
		assert_int_equal(message.value, 0x31);
		message.address += GIB + MIB;
		message.value = 0x32;
		assert_int_equal(tell(&processes[0], &message, WRITE), CUDA_SUCCESS);
		assert_int_equal(read_byte(address + GIB + MIB), 0x32);
		message.address -= GIB + MIB;
		assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
		/* The handle is good in the next generation too, and the memory is shared as any other. */
		leave_and_come_back();
		assert_success(cuIpcGetMemHandle(&message.handle, address));
		assert_memory_equal(&message.handle, &handle, sizeof(handle));
	}
	assert_success(cuMemFree_v2(address));
}

static void restored_memory_without_its_descriptor_cannot_be_shared(void **state)
{
	CUdeviceptr address;
	CUipcMemHandle handle;

	(void)state;
	assert_success(cuMemAlloc_v2(&address, 4 * MIB));
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(cuIpcGetMemHandle(&handle, address), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	close_restored_descriptors();
	assert_int_equal(cuIpcGetMemHandle(&handle, address), CUDA_ERROR_INVALID_VALUE);
	/* The next dump puts fresh memory in its place, and what comes back after that can be shared. */
	leave_and_come_back();
	assert_success(cuIpcGetMemHandle(&handle, address));
	assert_success(cuMemFree_v2(address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_process_reads_and_writes),
		cmocka_unit_test(a_handle_stands_for_the_allocation),
		cmocka_unit_test(opened_memory_is_not_the_drivers_to_give),
		cmocka_unit_test(each_context_opens_for_itself),
		cmocka_unit_test(shared_memory_is_its_owners_to_save),
		cmocka_unit_test(restored_memory_is_shared),
		cmocka_unit_test(restored_memory_without_its_descriptor_cannot_be_shared),
	};

	return cmocka_run_group_tests(tests, ipc_peers_start, ipc_peers_end);
}
