/* SPDX-License-Identifier: MIT */
/* Memory of the host that the driver makes on a NUMA node: it leaves the process and comes back as device memory does. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"

#include <cmocka.h>

#define BYTES (4 * MIB)

static CUmemLocation node(int number)
{
	return (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST_NUMA, number};
}

static CUmemGenericAllocationHandle create(CUmemLocation location)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_NONE);
	CUmemGenericAllocationHandle handle;

	properties.location = location;
	assert_success(cuMemCreate(&handle, BYTES, &properties, 0));
	return handle;
}

static void give(CUdeviceptr address, CUmemLocation location, int flags)
{
	CUmemAccessDesc access = {.location = location, .flags = flags};

	assert_success(cuMemSetAccess(address, BYTES, &access, 1));
}

static CUdeviceptr map(CUmemGenericAllocationHandle handle)
{
	CUdeviceptr address;

	assert_success(cuMemAddressReserve(&address, BYTES, 0, 0, 0));
	assert_success(cuMemMap(address, BYTES, 0, handle, 0));
	return address;
}

/* As NCCL makes it: for the device, and for the processor. */
static CUdeviceptr make(CUmemLocation location, CUmemGenericAllocationHandle *handle)
{
	CUdeviceptr address;

	*handle = create(location);
	address = map(*handle);
	give(address, driver_access().location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	give(address, node(0), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	return address;
}

static void drop(CUdeviceptr address, CUmemGenericAllocationHandle handle)
{
	assert_success(cuMemUnmap(address, BYTES));
	assert_success(cuMemAddressFree(address, BYTES));
	assert_success(cuMemRelease(handle));
}

static unsigned long long access_of(CUdeviceptr address, CUmemLocation location)
{
	unsigned long long flags = 99;

	assert_success(cuMemGetAccess(&flags, &location, address));
	return flags;
}

static void it_leaves_and_comes_back(void **state)
{
	CUmemGenericAllocationHandle handle, same;
	CUdeviceptr address = make(node(1), &handle), only_processor = map(handle);
	CUmemAllocationProp properties;
	int time;

	(void)state;
	give(only_processor, node(1), 1);
	fill(address, BYTES, 3);
	assert_true(agent_find_page()->needs_agent); /* the driver cannot bring it back */
	for (time = 0; time < 3; time++) {
		assert_int_equal(agent_export(&saved, &reply), 0);
		assert_int_equal(saved.count, 1);
		assert_int_equal(reply.count, 1);
		assert_int_equal(reply.last, 0); /* nobody else has it */
		assert_true(saved.allocations[0].on_host);
		assert_int_equal(saved.allocations[0].node, 1);
		assert_int_equal(saved.allocations[0].allocation.bytes, BYTES);
		agent_save(&saved);
		assert_int_equal(agent_release(&reply), 0);
		assert_int_equal(agent_map(&saved, 0, &reply), 0);
		agent_forget(&saved);
		assert_mapped();
		check(address, BYTES, (unsigned int)(3 + time));
		assert_int_equal(access_at(address), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
		assert_int_equal(access_of(address, node(0)), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
		assert_int_equal(access_at(only_processor), CU_MEM_ACCESS_FLAGS_PROT_NONE);
		assert_int_equal(access_of(only_processor, node(0)), 1);
		/* What one writes the other reads. */
		fill(address, BYTES, (unsigned int)(4 + time));
		assert_memory_equal((void *)(uintptr_t)address, (void *)(uintptr_t)only_processor, BYTES);
	}
	assert_success(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)address));
	assert_int_equal(same, handle);
	assert_success(cuMemGetAllocationPropertiesFromHandle(&properties, same));
	assert_int_equal(properties.location.type, CU_MEM_LOCATION_TYPE_HOST_NUMA);
	assert_int_equal(properties.location.id, 1);
	assert_success(cuMemRelease(same));
	assert_success(cuMemUnmap(only_processor, BYTES));
	assert_success(cuMemAddressFree(only_processor, BYTES));
	drop(address, handle);
	assert_nothing_to_offload();
	assert_false(agent_find_page()->needs_agent);
}

/* In messages of one node each, behind what is of devices. */
static void every_piece_says_its_node(void **state)
{
	static const int nodes[] = {1, 0, 0, 1, 1};
	CUmemGenericAllocationHandle handles[5];
	CUdeviceptr addresses[5], plain;
	int index;

	(void)state;
	for (index = 0; index < 5; index++)
		addresses[index] = make(node(nodes[index]), &handles[index]);
	assert_success(cuMemAlloc_v2(&plain, 3 * MIB));
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 6);
	assert_false(saved.allocations[0].on_host);
	assert_int_equal(saved.allocations[0].allocation.address, plain);
	for (index = 0; index < 5; index++) {
		assert_true(saved.allocations[index + 1].on_host);
		assert_int_equal(saved.allocations[index + 1].node, nodes[index]);
		assert_int_equal(saved.allocations[index + 1].allocation.address, addresses[index]);
	}
	agent_forget(&saved);
	for (index = 0; index < 5; index++)
		drop(addresses[index], handles[index]);
	assert_success(cuMemFree_v2(plain));
}

static bool descriptor_is_of_node(int descriptor, int number)
{
	char link[64], target[128] = "", expected[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	snprintf(expected, sizeof(expected), "simcuda-memory-of-node-%d", number);
	return readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, expected);
}

/* A restore on a machine that lacks the node has chosen another one. The process stays as it was made. */
static void a_node_that_is_gone(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp properties;
	CUdeviceptr address;

	(void)state;
	address = make(node(1), &handle);
	fill(address, BYTES, 6);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	saved.allocations[0].node = 0;
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	check(address, BYTES, 6);
	/* Where it has to be copied to fresh memory, that is made where it is now. */
	close_restored_descriptors();
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	assert_int_equal(saved.allocations[0].node, 1);
	assert_true(descriptor_is_of_node(saved.allocations[0].descriptor, 0));
	agent_forget(&saved);
	check(address, BYTES, 6);
	assert_success(cuMemGetAllocationPropertiesFromHandle(&properties, handle));
	assert_int_equal(properties.location.id, 1);
	drop(address, handle);
}

/* Others have it: its descriptor is kept, and what the other has imported is theirs. */
static void it_is_shared(void **state)
{
	CUmemGenericAllocationHandle handle, imported;
	CUdeviceptr address = make(node(0), &handle), theirs;
	int descriptor = -1;

	(void)state;
	fill(address, BYTES, 8);
	assert_success(cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_success(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
						      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(descriptor);
	theirs = map(imported);
	give(theirs, driver_access().location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	give(theirs, node(0), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_int_equal(reply.last, 1);
	assert_true(saved.allocations[0].on_host);
	agent_forget(&saved);
	drop(theirs, imported);
	drop(address, handle);
}

/* What the agent cannot take out ends the dump, as the driver would not bring it back. */
static void what_cannot_be_taken_out_ends_the_dump(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = make(node(0), &handle);
	int descriptor = -1;

	(void)state;
	assert_success(
		cuMemGetHandleForAddressRange(&descriptor, address, BYTES, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0));
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "4 MiB of the host's memory (cuMemCreate on NUMA node 0)"));
	agent_forget(&saved);
	close(descriptor);
	drop(address, handle);

	/* By no descriptor. */
	inject("cuMemCreate=1@1");
	address = make(node(0), &handle);
	inject("");
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "it cannot be exported"));
	agent_forget(&saved);
	drop(address, handle);
	assert_nothing_to_offload();
}

/* A call of the driver's that fails leaves a dump that is refused, and not one that the driver is left to. */
static void a_failed_export_is_not_left_to_the_driver(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = make(node(0), &handle);

	(void)state;
	fill(address, BYTES, 2);
	inject("cuMemExportToShareableHandle=999");
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	inject("");
	agent_forget(&saved);
	check(address, BYTES, 2);
	cycle(1);
	check(address, BYTES, 2);
	drop(address, handle);
}

/* Copied when the process stands: it is small, and the processor writes to it all the time. */
static void it_is_not_offered(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = make(node(0), &handle), plain;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 3 * MIB));
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	assert_int_equal(reply.bytes, 0);
	assert_int_equal(saved.allocations[0].allocation.address, plain);
	agent_forget(&saved);
	assert_success(cuMemFree_v2(plain));
	drop(address, handle);
}

/* With REKINDLE_AGENT_MINIMUM above its size: it is taken all the same, as it would spoil the driver's restore. */
static void the_minimum_is_for_device_memory(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = make(node(0), &handle), plain;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, BYTES));
	fill(address, BYTES, 7);
	cycle(1);
	check(address, BYTES, 7);
	assert_success(cuMemFree_v2(plain));
	drop(address, handle);
}

int main(void)
{
	const struct CMUnitTest below[] = {cmocka_unit_test(the_minimum_is_for_device_memory)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_leaves_and_comes_back),
		cmocka_unit_test(every_piece_says_its_node),
		cmocka_unit_test(a_node_that_is_gone),
		cmocka_unit_test(it_is_shared),
		cmocka_unit_test(what_cannot_be_taken_out_ends_the_dump),
		cmocka_unit_test(a_failed_export_is_not_left_to_the_driver),
		cmocka_unit_test(it_is_not_offered),
	};

	if (getenv("REKINDLE_AGENT_MINIMUM"))
		return cmocka_run_group_tests(below, offload_start, offload_end);
	return cmocka_run_group_tests(tests, offload_start, offload_end);
}
