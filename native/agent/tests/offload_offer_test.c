/* SPDX-License-Identifier: MIT */
/* OFFER: what is handed out of a process that goes on as if nobody had asked. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"

#include <cmocka.h>

static void it_is_what_an_export_would_be(void **state)
{
	struct virtual_memory memory;
	CUdeviceptr plain[2];
	size_t index;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain[0], 6 * MIB));
	assert_success(cuMemAlloc_v2(&plain[1], MIB)); /* too small */
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain[0], 6 * MIB, 1);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(agent_export(&other, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_int_equal(other.count, 2);
	for (index = 0; index < 2; index++)
		assert_memory_equal(&saved.allocations[index].allocation, &other.allocations[index].allocation,
				    sizeof(struct agent_allocation));
	agent_save(&saved);
	agent_save(&other);
	for (index = 0; index < 2; index++)
		assert_memory_equal(saved.allocations[index].contents, other.allocations[index].contents,
				    saved.allocations[index].allocation.bytes);
	assert_mapped();
	agent_forget(&saved);
	agent_forget(&other);
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain[0]));
	assert_success(cuMemFree_v2(plain[1]));
	assert_nothing_to_offload();
}

static void what_is_freed_afterwards_is_nobodys(void **state)
{
	CUdeviceptr plain, next;
	uint64_t id;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	id = saved.allocations[0].allocation.allocation_id;
	assert_success(cuMemFree_v2(plain));
	assert_success(cuMemAlloc_v2(&next, 4 * MIB));
	fill(next, 4 * MIB, 3);
	assert_int_equal(agent_export(&other, &reply), 0);
	assert_int_equal(other.count, 1);
	assert_int_not_equal(other.allocations[0].allocation.allocation_id, id);
	agent_save(&saved);
	agent_save(&other);
	agent_forget(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(reply.count, 1);
	assert_int_equal(agent_map(&other, 0, &reply), 0);
	check(next, 4 * MIB, 3);
	agent_forget(&other);
	assert_success(cuMemFree_v2(next));
	assert_nothing_to_offload();
}

/* Where its descriptor is gone it can be exported only when fresh memory is in its place: the process has to stand for that. */
static void memory_of_before_a_restore_may_be_left_out(void **state)
{
	CUdeviceptr old, fresh;

	(void)state;
	assert_success(cuMemAlloc_v2(&old, 4 * MIB));
	fill(old, 4 * MIB, 1);
	cycle(1);
	close_restored_descriptors();
	assert_success(cuMemAlloc_v2(&fresh, 2 * MIB));
	fill(fresh, 2 * MIB, 2);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	assert_int_equal(reply.bytes, 4 * MIB);
	assert_int_equal(saved.allocations[0].allocation.address, fresh);
	assert_true(agent_find_page()->needs_agent);
	assert_int_equal(agent_find_page()->out_of_place, 0);
	agent_save(&saved);
	agent_forget(&saved);
	cycle(2);
	check(old, 4 * MIB, 1);
	check(fresh, 2 * MIB, 2);
	assert_success(cuMemFree_v2(old));
	assert_success(cuMemFree_v2(fresh));
	assert_nothing_to_offload();
}

/* Where memory is away there is nothing to offer, and that is no reason not to bring it back. */
static void nothing_is_offered_of_released_memory(void **state)
{
	CUdeviceptr plain;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	fill(plain, 4 * MIB, 7);
	assert_int_equal(agent_export(&other, &reply), 0);
	agent_save(&other);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_offer(&saved, &reply), -EBUSY);
	assert_int_equal(agent_map(&other, 0, &reply), 0);
	check(plain, 4 * MIB, 7);
	agent_forget(&other);
	assert_success(cuMemFree_v2(plain));
	assert_nothing_to_offload();
}

static atomic_bool at_work;
static atomic_uint rounds;

static void *allocate_and_free(void *context)
{
	CUdeviceptr address;

	assert_success(cuCtxSetCurrent(context));
	while (atomic_load(&at_work)) {
		assert_success(cuMemAlloc_v2(&address, 2 * MIB));
		assert_success(cuMemsetD8_v2(address, 0x5a, 2 * MIB));
		assert_success(cuMemFree_v2(address));
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

/* Nobody is stopped: threads come and go in all of the calls that the agent looks after. */
static void the_program_allocates_and_frees_meanwhile(void **state)
{
	pthread_t threads[3];
	CUdeviceptr plain[20];
	unsigned int before;
	CUcontext context;
	size_t index;

	(void)state;
	assert_success(cuCtxGetCurrent(&context));
	for (index = 0; index < 20; index++)
		assert_success(cuMemAlloc_v2(&plain[index], 2 * MIB));
	atomic_store(&at_work, true);
	for (index = 0; index < 3; index++)
		assert_int_equal(pthread_create(&threads[index], NULL, allocate_and_free, context), 0);
	for (before = atomic_load(&rounds); atomic_load(&rounds) < before + 50;) {
		assert_int_equal(agent_offer(&saved, &reply), 0);
		assert_in_range(saved.count, 20, 23);
		agent_forget(&saved);
	}
	atomic_store(&at_work, false);
	for (index = 0; index < 3; index++)
		pthread_join(threads[index], NULL);
	cycle(20);
	for (index = 0; index < 20; index++)
		assert_success(cuMemFree_v2(plain[index]));
	assert_nothing_to_offload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_what_an_export_would_be),
		cmocka_unit_test(what_is_freed_afterwards_is_nobodys),
		cmocka_unit_test(memory_of_before_a_restore_may_be_left_out),
		cmocka_unit_test(nothing_is_offered_of_released_memory),
		cmocka_unit_test(the_program_allocates_and_frees_meanwhile),
	};

	return cmocka_run_group_tests(tests, offload_start, offload_end);
}
