/* SPDX-License-Identifier: MIT */
/* With several devices in use each of them gets access to what the agent backs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/tests/stand_in_pool.h"
#include "agent/tests/driver.h"

#include <cmocka.h>

static struct saved_memory saved;
static struct agent_message reply;
static CUcontext first, second;

static int start(void **state)
{
	(void)state;
	if (injection_start())
		return -1;
	first = driver_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	return injection_end();
}

static void assert_offloadable(size_t count)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, count);
	agent_forget(&saved);
}

/* How often access is asked for is told by the calls: the Nth fails. */
static void a_device_that_joins_gets_access_to_what_is_there(void **state)
{
	CUdeviceptr address;

	(void)state;
	/* One device: one call. */
	inject("cuMemSetAccess=999@2");
	assert_success(cuMemAlloc_v2(&address, 4 * MIB));
	assert_offloadable(1);
	/* A second one: another call for the memory that is there. */
	inject("cuMemSetAccess=999@1");
	assert_int_equal(cuDevicePrimaryCtxRetain(&second, 1), 999);
	inject("");
	assert_success(cuDevicePrimaryCtxRetain(&second, 1));
	/* Once granted it is not granted again. */
	inject("cuMemSetAccess=999@1");
	assert_success(cuDevicePrimaryCtxRetain(&second, 1));
	inject("");
	assert_offloadable(1);
	assert_success(cuMemFree_v2(address));
}

static void new_memory_is_for_both_devices(void **state)
{
	CUdeviceptr on_first, on_second;
	unsigned char seen = 0;

	(void)state;
	/* Where the second device cannot get access the driver allocates. */
	inject("cuMemSetAccess=999@2");
	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	inject("");
	assert_offloadable(0);
	assert_success(cuMemFree_v2(on_first));

	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	assert_success(cuCtxSetCurrent(second));
	assert_success(cuMemAlloc_v2(&on_second, 4 * MIB));
	assert_success(cuMemsetD8_v2(on_first, 0x31, 4 * MIB));
	assert_success(cuMemcpyDtoD_v2(on_second, on_first, 4 * MIB));
	assert_success(cuMemcpyDtoH_v2(&seen, on_second + MIB, 1));
	assert_int_equal(seen, 0x31);
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_memory_not_equal(&saved.allocations[0].allocation.device, &saved.allocations[1].allocation.device,
				sizeof(CUuuid));
	agent_forget(&saved);
	assert_success(cuMemFree_v2(on_second));
	/* Freed from another context than it was made in. */
	assert_success(cuMemFree_v2(on_first));
	assert_success(cuCtxSetCurrent(first));
	assert_offloadable(0);
}

/* ---- the way out and in ---- */

static int access_of(CUdeviceptr address, int device)
{
	CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
	unsigned long long flags = 99;

	assert_success(cuMemGetAccess(&flags, &location, address));
	return (int)flags;
}

static CUdeviceptr map_with_access(CUmemGenericAllocationHandle *handle, int device, int on_first, int on_second)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_NONE);
	CUmemAccessDesc access[2] = {driver_access(), driver_access()};
	CUdeviceptr address;

	properties.location.id = device;
	access[0].flags = on_first;
	access[1].location.id = 1;
	access[1].flags = on_second;
	assert_success(cuMemAddressReserve(&address, 4 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(handle, 4 * MIB, &properties, 0));
	assert_success(cuMemMap(address, 4 * MIB, 0, *handle, 0));
	assert_success(cuMemSetAccess(address, 4 * MIB, access, 2));
	return address;
}

/* Every combination that a program may have given, on memory of either device, and memory of cuMemAlloc. */
#define COMBINATIONS 9

struct accessed {
	CUdeviceptr address;
	CUmemGenericAllocationHandle handle;
	int access[2];
};

static const int all_access[] = {CU_MEM_ACCESS_FLAGS_PROT_NONE, CU_MEM_ACCESS_FLAGS_PROT_READ,
				 CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static void check_access(const struct accessed *memory, size_t count)
{
	for (size_t index = 0; index < count; index++)
		for (int device = 0; device < 2; device++)
			if (access_of(memory[index].address, device) != memory[index].access[device])
				fail_msg("memory %zu: device %d has access %d instead of %d", index, device,
					 access_of(memory[index].address, device), memory[index].access[device]);
}

static void access_of_each_device_comes_back(void **state)
{
	struct accessed memory[2 * COMBINATIONS + 2];
	size_t count = 0, mapped;
	unsigned char seen = 0;

	(void)state;
	for (int device = 0; device < 2; device++) {
		for (size_t index = 0; index < COMBINATIONS; index++) {
			struct accessed *one = &memory[count++];

			one->access[0] = all_access[index / 3];
			one->access[1] = all_access[index % 3];
			one->address = map_with_access(&one->handle, device, one->access[0], one->access[1]);
		}
	}
	mapped = count;
	for (int device = 0; device < 2; device++) {
		struct accessed *one = &memory[count++];

		assert_success(cuCtxSetCurrent(device ? second : first));
		assert_success(cuMemAlloc_v2(&one->address, 4 * MIB));
		assert_success(cuMemsetD8_v2(one->address, (unsigned char)(0x50 + device), 4 * MIB));
		one->access[0] = one->access[1] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	}
	check_access(memory, count);
	/* The second time it is imported memory, which fresh memory replaces. */
	for (int round = 0; round < 3; round++) {
		assert_int_equal(agent_export(&saved, &reply), 0);
		assert_int_equal(saved.count, count);
		check_access(memory, count);
		agent_save(&saved);
		assert_int_equal(agent_release(&reply), 0);
		if (round == 1) {
			/* One that fails for the second device only is not taken for done. */
			inject("cuMemSetAccess=999@2");
			assert_int_equal(agent_map(&saved, 0, &reply), -EIO);
			inject("");
		}
		assert_int_equal(agent_map(&saved, 0, &reply), 0);
		agent_forget(&saved);
		check_access(memory, count);
		/* From the other device each. */
		for (int device = 0; device < 2; device++) {
			assert_success(cuCtxSetCurrent(device ? first : second));
			assert_success(cuMemcpyDtoH_v2(&seen, memory[mapped + (size_t)device].address + MIB, 1));
			assert_int_equal(seen, 0x50 + device);
		}
	}
	for (size_t index = 0; index < mapped; index++) {
		assert_success(cuMemUnmap(memory[index].address, 4 * MIB));
		assert_success(cuMemRelease(memory[index].handle));
		assert_success(cuMemAddressFree(memory[index].address, 4 * MIB));
	}
	for (size_t index = mapped; index < count; index++)
		assert_success(cuMemFree_v2(memory[index].address));
	assert_success(cuCtxSetCurrent(first));
	assert_offloadable(0);
}

static void memory_of_a_reset_device_is_gone(void **state)
{
	CUdeviceptr on_first, on_second;

	(void)state;
	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	assert_success(cuCtxSetCurrent(second));
	assert_success(cuMemAlloc_v2(&on_second, 4 * MIB));
	assert_success(cuCtxSetCurrent(first));
	assert_offloadable(2);
	assert_success(cuDevicePrimaryCtxReset_v2(1));
	assert_offloadable(1);
	assert_int_not_equal(cuMemFree_v2(on_second), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(on_first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_joins_gets_access_to_what_is_there),
		cmocka_unit_test(new_memory_is_for_both_devices),
		cmocka_unit_test(access_of_each_device_comes_back),
		cmocka_unit_test(memory_of_a_reset_device_is_gone),
	};

	return cmocka_run_group_tests(tests, start, end);
}
