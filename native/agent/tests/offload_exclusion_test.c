/* SPDX-License-Identifier: MIT */
/* Device memory that must stay with the driver in a dump. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"

#include <cmocka.h>

#define HANDLE_TYPE_FABRIC 8 /* CU_MEM_HANDLE_TYPE_FABRIC */

/* A multicast object, a dma-buf: nobody could follow it to those who have it. */
static void memory_that_others_see_stays(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	int descriptor = -1;

	(void)state;
	assert_success(cuMemGetHandleForAddressRange(&descriptor, memory.address, 4 * MIB,
						     CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0));
	assert_nothing_to_offload();
	close(descriptor);
	drop_virtual_memory(&memory);
}

/* What came by a descriptor that no agent has given out. */
static void memory_of_a_stranger_ends_the_dump(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	CUmemGenericAllocationHandle imported;
	int descriptor = -1;

	(void)state;
	assert_success(
		cuMemExportToShareableHandle(&descriptor, memory.handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_int_equal(fcntl(descriptor, F_SETSIG, 0), 0);
	assert_success(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
						      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "imported device memory"));
	assert_success(cuMemRelease(imported));
	/* The owner saves it, whoever else may have it. */
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	agent_forget(&saved);
	close(descriptor);
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

static void assert_one_to_offload(void)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	agent_forget(&saved);
}

static void memory_that_others_were_refused_goes(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	int descriptor = -1;

	(void)state;
	inject("cuMemExportToShareableHandle=999,cuMemGetHandleForAddressRange=801@1");
	assert_int_equal(
		cuMemExportToShareableHandle(&descriptor, memory.handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
		CUDA_ERROR_UNKNOWN);
	/* Of this kind the agent follows none that the driver gives out. */
	assert_int_equal(cuMemExportToShareableHandle(&descriptor, memory.handle, HANDLE_TYPE_FABRIC, 0),
			 CUDA_ERROR_UNKNOWN);
	assert_int_equal(cuMemGetHandleForAddressRange(&descriptor, memory.address, 4 * MIB,
						       CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	inject("");
	assert_one_to_offload();
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

static void memory_of_a_range_that_others_see_stays(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	CUdeviceptr plain;
	int descriptor = -1;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	/* By a part of its second mapping. */
	assert_success(cuMemGetHandleForAddressRange(&descriptor, memory.address + 9 * MIB, MIB,
						     CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0));
	close(descriptor);
	assert_one_to_offload();
	assert_int_equal(saved.allocations[0].allocation.address, plain);
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
	assert_nothing_to_offload();
}

/* What is exported while a call that shares it is under way would be seen by others. */
static void *export_slowly(void *argument)
{
	const struct virtual_memory *memory = argument;
	int descriptor = -1;
	CUresult result;

	result = cuMemExportToShareableHandle(&descriptor, memory->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	close(descriptor);
	return (void *)(uintptr_t)result;
}

static void memory_that_is_just_being_shared_stays(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	pthread_t thread;
	void *result;

	(void)state;
	inject("cuMemExportToShareableHandle=held@1");
	assert_int_equal(pthread_create(&thread, NULL, export_slowly, &memory), 0);
	wait_until_held();
	assert_nothing_to_offload();
	inject("");
	pthread_join(thread, &result);
	assert_null(result);
	assert_one_to_offload();
	drop_virtual_memory(&memory);
}

/* Allocations for which the agent cannot make exportable memory leave nothing of the attempt. */
static void failed_attempts_leave_nothing(void **state)
{
	static const char *const rules[] = {
		"cuMemCreate=2@1",
		"cuMemCreate=2@3",
		"cuMemMap=1@1",
		"cuMemMap=1@3",
		"cuMemSetAccess=1@1",
		"cuMemAddressReserve=2@1",
		"cuMemGetAllocationGranularity=999@1",
	};
	size_t free_before = free_device_bytes(), ranges = rekindle_simcuda_reservations(), rule;
	unsigned int descriptors = count_descriptors(getpid());
	CUdeviceptr plain;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		inject(rules[rule]);
		assert_success(cuMemAlloc_v2(&plain, 8 * GIB));
		inject("");
		assert_int_equal(free_device_bytes(), free_before - 8 * GIB);
		assert_nothing_to_offload();
		assert_success(cuMemFree_v2(plain));
		assert_int_equal(free_device_bytes(), free_before);
		assert_int_equal(rekindle_simcuda_reservations(), ranges);
		assert_int_equal(count_descriptors(getpid()), descriptors);
	}
}

static void memory_that_cannot_be_made_exportable_stays(void **state)
{
	struct virtual_memory memory;
	CUdeviceptr plain;

	(void)state;
	/* The first attempt, with a descriptor, fails; the second, as asked, does not. */
	inject("cuMemCreate=801@1");
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	assert_nothing_to_offload();
	inject("cuMemCreate=2");
	assert_success(cuMemAlloc_v2(&plain, 6 * MIB));
	inject("cuMemMap=1");
	assert_success(cuMemFree_v2(plain));
	assert_success(cuMemAlloc_v2(&plain, 6 * MIB));
	assert_success(cuMemFree_v2(plain));
	inject("cuMemSetAccess=1");
	assert_success(cuMemAlloc_v2(&plain, 6 * MIB));
	assert_success(cuMemFree_v2(plain));
	inject("cuMemAddressReserve=2");
	assert_success(cuMemAlloc_v2(&plain, 6 * MIB));
	inject("");
	assert_nothing_to_offload();
	assert_success(cuMemFree_v2(plain));
	drop_virtual_memory(&memory);
}

static void *set_access_slowly(void *argument)
{
	const struct virtual_memory *memory = argument;
	CUmemAccessDesc access = driver_access();

	return (void *)(uintptr_t)cuMemSetAccess(memory->address, 4 * MIB, &access, 1);
}

static void memory_with_a_call_under_way_is_left_out(void **state)
{
	struct virtual_memory memory;
	pthread_t thread;
	void *result;

	(void)state;
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	inject("cuMemSetAccess=held@1");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	wait_until_held();
	assert_nothing_to_offload();
	inject("");
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	/* Restored memory could not be left to the driver: then there must be no dump. */
	cycle(1);
	inject("cuMemSetAccess=held@1");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	wait_until_held();
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "try again"));
	inject("");
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	cycle(1);
	drop_virtual_memory(&memory);
}

static void a_call_that_begins_after_the_export_stops_the_release(void **state)
{
	struct virtual_memory memory;
	pthread_t thread;
	void *result;

	(void)state;
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	assert_int_equal(agent_export(&saved, &reply), 0);
	inject("cuMemSetAccess=held@1");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	wait_until_held();
	assert_int_equal(agent_release(&reply), -EBUSY);
	assert_mapped();
	inject("");
	pthread_join(thread, &result);
	agent_forget(&saved);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_others_see_stays),
		cmocka_unit_test(memory_of_a_stranger_ends_the_dump),
		cmocka_unit_test(memory_that_others_were_refused_goes),
		cmocka_unit_test(memory_of_a_range_that_others_see_stays),
		cmocka_unit_test(memory_that_is_just_being_shared_stays),
		cmocka_unit_test(failed_attempts_leave_nothing),
		cmocka_unit_test(memory_that_cannot_be_made_exportable_stays),
		cmocka_unit_test(memory_with_a_call_under_way_is_left_out),
		cmocka_unit_test(a_call_that_begins_after_the_export_stops_the_release),
	};

	return cmocka_run_group_tests(tests, offload_start_with_agent, offload_end);
}
