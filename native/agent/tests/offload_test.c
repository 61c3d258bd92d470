/* SPDX-License-Identifier: MIT */
/* Device memory leaves the process over the control socket and comes back, with every way in which that can fail. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/agent_client.h"
#include "agent/tests/driver.h"

#include <cmocka.h>

static char control_file[] = "/tmp/rekindle-agent-test-XXXXXX";
static struct saved_memory saved, other;
static struct agent_message reply;

/* Rules of injection from now on; "" for none. */
static void inject(const char *rules)
{
	static unsigned int generation;
	FILE *file = fopen(control_file, "w");

	assert_non_null(file);
	/* A length of its own each time, so that no change goes unnoticed. */
	fprintf(file, "%s%*s\n", rules, (int)(++generation % 500), "");
	fclose(file);
}

static int start(void **state)
{
	int descriptor = mkstemp(control_file);

	(void)state;
	if (descriptor < 0)
		return -1;
	close(descriptor);
	setenv("REKINDLE_SIMCUDA_CONTROL", control_file, 1);
	driver_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	return unlink(control_file);
}

/* ---- memory with contents that tell where they belong ---- */

static unsigned char expected_byte(CUdeviceptr address, size_t offset, unsigned int seed)
{
	return (unsigned char)((address >> 21) * 31 + offset * 7 + (offset >> 12) + seed);
}

static void fill(CUdeviceptr address, size_t bytes, unsigned int seed)
{
	unsigned char *contents = malloc(bytes);
	size_t index;

	for (index = 0; index < bytes; index++)
		contents[index] = expected_byte(address, index, seed);
	assert_success(cuMemcpyHtoD_v2(address, contents, bytes));
	free(contents);
}

static void check(CUdeviceptr address, size_t bytes, unsigned int seed)
{
	unsigned char *contents = calloc(1, bytes);
	size_t index;

	assert_success(cuMemcpyDtoH_v2(contents, address, bytes));
	for (index = 0; index < bytes; index++)
		if (contents[index] != expected_byte(address, index, seed))
			fail_msg("byte %zu of 0x%llx differs", index, address);
	free(contents);
}

struct virtual_memory {
	CUdeviceptr address;
	CUmemGenericAllocationHandle handle;
};

/* 4 MiB, mapped at address and at address + 8 MiB. */
static struct virtual_memory make_virtual_memory(int handle_types)
{
	CUmemAllocationProp properties = driver_properties(handle_types);
	CUmemAccessDesc access = driver_access();
	struct virtual_memory memory;

	assert_success(cuMemAddressReserve(&memory.address, 16 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(&memory.handle, 4 * MIB, &properties, 0));
	assert_success(cuMemMap(memory.address, 4 * MIB, 0, memory.handle, 0));
	assert_success(cuMemMap(memory.address + 8 * MIB, 4 * MIB, 0, memory.handle, 0));
	assert_success(cuMemSetAccess(memory.address, 4 * MIB, &access, 1));
	access.flags = 1; /* read only */
	assert_success(cuMemSetAccess(memory.address + 8 * MIB, 4 * MIB, &access, 1));
	fill(memory.address, 4 * MIB, 5);
	return memory;
}

static void drop_virtual_memory(const struct virtual_memory *memory)
{
	assert_success(cuMemUnmap(memory->address, 4 * MIB));
	assert_success(cuMemUnmap(memory->address + 8 * MIB, 4 * MIB));
	assert_success(cuMemRelease(memory->handle));
	assert_success(cuMemAddressFree(memory->address, 16 * MIB));
}

static unsigned long long access_at(CUdeviceptr address)
{
	CUmemAccessDesc access = driver_access();
	unsigned long long flags = 99;

	assert_success(cuMemGetAccess(&flags, &access.location, address));
	return flags;
}

static void assert_mapped(void)
{
	assert_int_equal(agent_find_page()->state, AGENT_STATE_MAPPED);
}

static void assert_nothing_to_offload(void)
{
	assert_int_equal(agent_export(&other, &reply), 0);
	assert_int_equal(other.count, 0);
}

/* Out and in again; what is exported afterwards is imported memory. */
static void cycle(size_t expected)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, expected);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_mapped();
	agent_forget(&saved);
}

/* ---- the page ---- */

static void the_page_says_who_answers(void **state)
{
	const struct agent_page *page;
	CUdeviceptr address;
	char path[64], name[32] = "";
	FILE *file;

	(void)state;
	assert_null(agent_find_page());
	assert_success(cuMemAlloc_v2(&address, MIB));
	assert_success(cuMemFree_v2(address));
	assert_null(agent_find_page()); /* nothing to offload yet */
	assert_success(cuMemAlloc_v2(&address, 2 * MIB));
	for (int wait = 0; wait < 5000 && !(agent_find_page() && agent_find_page()->magic); wait++)
		usleep(1000);
	page = agent_find_page();
	assert_non_null(page);
	assert_int_equal(page->magic, AGENT_PAGE_MAGIC);
	assert_int_equal(page->protocol_version, AGENT_PROTOCOL_VERSION);
	assert_int_equal(page->state, AGENT_STATE_MAPPED);
	assert_int_equal(page->process_id, getpid());
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", page->thread_id);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(name, sizeof(name), file));
	fclose(file);
	assert_string_equal(name, "rekindle-agent\n");
	assert_success(cuMemFree_v2(address));
	assert_nothing_to_offload();
}

/* ---- the way out and in ---- */

static void memory_leaves_and_comes_back(void **state)
{
	struct virtual_memory memory;
	CUdeviceptr plain[3], base;
	size_t bytes, free_before, free_released, total;
	CUmemGenericAllocationHandle same;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain[0], 3 * MIB));
	assert_success(cuMemAlloc_v2(&plain[1], MIB)); /* too small */
	assert_success(cuMemAlloc_v2(&plain[2], 20 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain[0], 3 * MIB, 1);
	fill(plain[1], MIB, 2);
	fill(plain[2], 20 * MIB, 3);
	assert_success(cuMemGetInfo_v2(&free_before, &total));

	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 3);
	assert_int_equal(reply.count, 3);
	assert_true(reply.nanoseconds > 0);
	assert_int_equal(saved.allocations[0].allocation.address, plain[0]);
	assert_int_equal(saved.allocations[0].allocation.bytes, 4 * MIB);
	assert_int_equal(saved.allocations[2].allocation.address, memory.address);
	/* Nothing has changed for the process. */
	assert_mapped();
	check(plain[0], 3 * MIB, 1);
	agent_save(&saved);

	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(reply.count, 3);
	assert_int_equal(reply.released_bytes, 28 * MIB);
	assert_int_equal(agent_find_page()->state, AGENT_STATE_RELEASED);
	assert_memory_equal(agent_find_page()->image_id, "0123456789abcdef", 16);
	assert_success(cuMemGetInfo_v2(&free_released, &total));
	assert_int_equal(free_released, free_before + 28 * MIB);

	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_mapped();
	check(plain[0], 3 * MIB, 1);
	check(plain[1], MIB, 2);
	check(plain[2], 20 * MIB, 3);
	check(memory.address, 4 * MIB, 5);
	/* Both mappings, each with its access, and the handle. */
	assert_int_equal(access_at(memory.address), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(access_at(memory.address + 8 * MIB), 1);
	assert_success(cuMemsetD8_v2(memory.address, 0x77, 1));
	assert_success(cuMemcpyDtoH_v2(&bytes, memory.address + 8 * MIB, 1));
	assert_int_equal(bytes & 0xff, 0x77);
	assert_success(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)memory.address));
	assert_int_equal(same, memory.handle);
	assert_success(cuMemRelease(same));
	assert_success(cuMemGetAddressRange_v2(&base, &bytes, plain[2] + MIB));
	assert_int_equal(bytes, 20 * MIB);

	agent_forget(&saved);
	drop_virtual_memory(&memory);
	for (int index = 0; index < 3; index++)
		assert_success(cuMemFree_v2(plain[index]));
	assert_nothing_to_offload();
	assert_success(cuMemGetInfo_v2(&bytes, &total));
	assert_true(bytes > free_before);
}

static void restored_memory_is_exported_again(void **state)
{
	struct virtual_memory memory;
	CUdeviceptr plain;
	int round;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 10 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 10 * MIB, 8);
	for (round = 0; round < 3; round++) {
		cycle(2);
		check(plain, 10 * MIB, 8);
		check(memory.address, 4 * MIB, 5);
	}
	/* Fresh memory stands in both places of the handle. */
	assert_success(cuMemsetD8_v2(memory.address, 0x44, 1));
	assert_success(cuMemcpyDtoH_v2(&round, memory.address + 8 * MIB, 1));
	assert_int_equal(round & 0xff, 0x44);
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
	assert_nothing_to_offload();
}

static void large_and_many_allocations(void **state)
{
	CUdeviceptr large, small[150];
	size_t index;

	(void)state;
	assert_success(cuMemAlloc_v2(&large, GIB + 6 * MIB));
	fill(large + GIB - MIB, 4 * MIB, 6);
	for (index = 0; index < 150; index++) {
		assert_success(cuMemAlloc_v2(&small[index], 2 * MIB));
		fill(small[index], 4096, (unsigned int)index);
	}
	cycle(152); /* the large one in two pieces */
	check(large + GIB - MIB, 4 * MIB, 6);
	for (index = 0; index < 150; index++) {
		check(small[index], 4096, (unsigned int)index);
		assert_success(cuMemFree_v2(small[index]));
	}
	assert_success(cuMemFree_v2(large));
	assert_nothing_to_offload();
}

static void memory_without_a_mapping_or_a_handle(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_NONE);
	CUmemAccessDesc access = driver_access();
	CUmemGenericAllocationHandle unmapped, released;
	CUdeviceptr address;

	(void)state;
	assert_success(cuMemAddressReserve(&address, 8 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(&unmapped, 4 * MIB, &properties, 0));
	assert_success(cuMemCreate(&released, 4 * MIB, &properties, 0));
	assert_success(cuMemMap(address, 4 * MIB, 0, released, 0));
	assert_success(cuMemSetAccess(address, 4 * MIB, &access, 1));
	assert_success(cuMemRelease(released));
	fill(address, 4 * MIB, 1);
	/* Contents of memory that is not mapped count too. */
	assert_success(cuMemMap(address + 4 * MIB, 4 * MIB, 0, unmapped, 0));
	assert_success(cuMemSetAccess(address + 4 * MIB, 4 * MIB, &access, 1));
	fill(address + 4 * MIB, 4 * MIB, 2);
	assert_success(cuMemUnmap(address + 4 * MIB, 4 * MIB));
	cycle(2);
	cycle(2);
	assert_success(cuMemMap(address + 4 * MIB, 4 * MIB, 0, unmapped, 0));
	assert_success(cuMemSetAccess(address + 4 * MIB, 4 * MIB, &access, 1));
	check(address, 4 * MIB, 1);
	check(address + 4 * MIB, 4 * MIB, 2);
	assert_success(cuMemUnmap(address, 8 * MIB));
	assert_success(cuMemRelease(unmapped));
	assert_success(cuMemAddressFree(address, 8 * MIB));
	assert_nothing_to_offload();
}

/* ---- what must stay ---- */

static void memory_that_others_see_stays(void **state)
{
	struct virtual_memory memory;
	CUmemGenericAllocationHandle imported;
	int descriptor = -1;

	(void)state;
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	assert_success(
		cuMemExportToShareableHandle(&descriptor, memory.handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_nothing_to_offload();
	assert_success(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
						      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "imported device memory"));
	assert_success(cuMemRelease(imported));
	assert_nothing_to_offload();
	close(descriptor);
	drop_virtual_memory(&memory);
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
	inject("cuMemSetAccess=400ms");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	usleep(150000);
	assert_nothing_to_offload();
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	/* Restored memory could not be left to the driver: then there must be no dump. */
	inject("");
	cycle(1);
	inject("cuMemSetAccess=400ms");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	usleep(150000);
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "try again"));
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	inject("");
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
	inject("cuMemSetAccess=400ms");
	assert_int_equal(pthread_create(&thread, NULL, set_access_slowly, &memory), 0);
	usleep(150000);
	assert_int_equal(agent_release(&reply), -EBUSY);
	assert_mapped();
	pthread_join(thread, &result);
	inject("");
	agent_forget(&saved);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
}

/* ---- failures ---- */

static void a_failed_export_leaves_everything(void **state)
{
	CUdeviceptr first, second;

	(void)state;
	assert_success(cuMemAlloc_v2(&first, 4 * MIB));
	assert_success(cuMemAlloc_v2(&second, 4 * MIB));
	fill(first, 4 * MIB, 1);
	fill(second, 4 * MIB, 2);
	/* One failure is met by sending what the batch holds and trying again. */
	inject("cuMemExportToShareableHandle=999@2,cuMemExportToShareableHandle=999@3");
	assert_int_equal(agent_export(&saved, &reply), -EIO);
	assert_non_null(strstr(reply.error.text, "999"));
	inject("cuDeviceGetUuid_v2=999");
	assert_int_equal(agent_export(&saved, &reply), -EIO);
	inject("");
	assert_mapped();
	cycle(2);
	/* The same failure on restored memory: the driver could not save it either. */
	inject("cuMemExportToShareableHandle=999@1");
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	inject("");
	check(first, 4 * MIB, 1);
	check(second, 4 * MIB, 2);
	cycle(2);
	assert_success(cuMemFree_v2(first));
	assert_success(cuMemFree_v2(second));
}

static void a_failure_while_restored_memory_is_replaced_leaves_it(void **state)
{
	static const char *const rules[] = {
		"cuMemCreate=2@1",	   "cuMemAddressReserve=2@1", "cuMemMap=999@1",	      "cuMemMap=999@2",
		"cuMemSetAccess=999@1",	   "cuMemSetAccess=999@2",    "cuStreamCreate=999@1", "cuMemcpyDtoDAsync=999@1",
		"cuStreamSynchronize=999", "cuMemUnmap=999@1",	      "cuMemUnmap=999@2",     "cuMemUnmap=999@3",
		"cuMemUnmap=999@4",	   "cuMemMap=999@3",	      "cuMemMap=999@4",	      "cuMemSetAccess=999@3",
		"cuMemSetAccess=999@4",
	};
	struct virtual_memory memory;
	size_t rule;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
		cycle(1);
		inject(rules[rule]);
		assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
		assert_non_null(strstr(reply.error.text, "CUDA error"));
		inject("");
		agent_forget(&saved);
		assert_mapped();
		check(memory.address, 4 * MIB, 5);
		assert_int_equal(access_at(memory.address + 8 * MIB), 1);
		/* And the next attempt works. */
		cycle(1);
		check(memory.address, 4 * MIB, 5);
		drop_virtual_memory(&memory);
	}
	assert_nothing_to_offload();
}

static void a_failed_release_is_mended_by_map(void **state)
{
	static const char *const rules[] = {"cuMemUnmap=999@1", "cuMemUnmap=999@2", "cuMemUnmap=999@3",
					    "cuMemRelease=999@1", "cuMemRelease=999@2"};
	struct virtual_memory memory;
	CUdeviceptr plain;
	size_t rule;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		assert_int_equal(agent_export(&saved, &reply), 0);
		agent_save(&saved);
		inject(rules[rule]);
		assert_int_equal(agent_release(&reply), -EIO);
		inject("");
		assert_int_equal(agent_find_page()->state, AGENT_STATE_RELEASED);
		assert_int_equal(agent_map(&saved, 0, &reply), 0);
		assert_mapped();
		check(plain, 4 * MIB, 9);
		check(memory.address, 4 * MIB, 5);
		agent_forget(&saved);
	}
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
}

static void a_failed_map_says_so_and_can_be_repeated(void **state)
{
	static const char *const rules[] = {"cuMemImportFromShareableHandle=2@2", "cuMemMap=2@2", "cuMemMap=2@3",
					    "cuMemSetAccess=999@1", "cuMemSetAccess=999@3"};
	struct virtual_memory memory;
	CUdeviceptr plain;
	size_t rule;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		assert_int_equal(agent_export(&saved, &reply), 0);
		agent_save(&saved);
		assert_int_equal(agent_release(&reply), 0);
		inject(rules[rule]);
		assert_int_equal(agent_map(&saved, 0, &reply), -EIO);
		inject("");
		assert_int_equal(agent_find_page()->state, AGENT_STATE_RELEASED);
		assert_int_equal(agent_map(&saved, 0, &reply), 0);
		assert_mapped();
		check(plain, 4 * MIB, 9);
		check(memory.address, 4 * MIB, 5);
		assert_int_equal(access_at(memory.address + 8 * MIB), 1);
		agent_forget(&saved);
	}
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
}

static void released_memory_is_left_alone_by_the_process(void **state)
{
	CUmemAccessDesc access = driver_access();
	CUmemGenericAllocationHandle handle;
	struct virtual_memory memory;
	CUdeviceptr plain, fresh;
	int descriptor;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	/* As if the one who stopped the process had died here. */
	assert_int_equal(cuMemFree_v2(plain), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemUnmap(memory.address, 4 * MIB), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemRelease(memory.handle), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemMap(memory.address + 4 * MIB, 4 * MIB, 0, memory.handle, 0), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemSetAccess(memory.address, 4 * MIB, &access, 1), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0), CUDA_ERROR_ILLEGAL_STATE);
	assert_success(cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)memory.address));
	assert_success(cuMemAlloc_v2(&fresh, 4 * MIB));
	assert_success(cuMemFree_v2(fresh));
	assert_int_equal(agent_export(&other, &reply), -EOPNOTSUPP);
	assert_int_equal(agent_release(&reply), -EINVAL);
	/* Something is missing, then all is there. */
	assert_int_equal(agent_map(&saved, 1, &reply), -ENODATA);
	assert_int_equal(agent_find_page()->state, AGENT_STATE_RELEASED);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_mapped();
	check(plain, 4 * MIB, 9);
	check(memory.address, 4 * MIB, 5);
	agent_forget(&saved);
	assert_success(cuMemRelease(handle));
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
}

static void a_foreign_image_is_refused(void **state)
{
	CUdeviceptr plain;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	fill(plain, 4 * MIB, 9);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	saved.allocations[0].allocation.allocation_id += 1000;
	assert_int_equal(agent_map(&saved, 0, &reply), -ENOENT);
	saved.allocations[0].allocation.allocation_id -= 1000;
	saved.allocations[0].allocation.bytes -= 2 * MIB;
	assert_int_equal(agent_map(&saved, 0, &reply), -EINVAL);
	saved.allocations[0].allocation.bytes += 2 * MIB;
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	check(plain, 4 * MIB, 9);
	agent_forget(&saved);
	assert_success(cuMemFree_v2(plain));
}

static void a_pool_that_dies_does_not_confuse_the_next(void **state)
{
	CUdeviceptr plain;
	struct agent_message wrong = {.type = 77};

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	fill(plain, 4 * MIB, 4);
	/* Whatever of the answers comes before, between and after the next requests. */
	agent_export_and_go();
	agent_export_and_go();
	assert_int_equal(agent_send_raw(&wrong, sizeof(wrong), &reply), -EPROTO);
	agent_export_and_go();
	assert_int_equal(agent_send_raw("short", 5, &reply), -EPROTO);
	agent_export_and_go();
	cycle(1);
	check(plain, 4 * MIB, 4);
	assert_success(cuMemFree_v2(plain));
}

/* ---- children ---- */

static void a_child_starts_afresh(void **state)
{
	int control = agent_find_page()->control_descriptor;
	CUdeviceptr plain, childs;
	int status;
	pid_t child;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	fill(plain, 4 * MIB, 4);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* No page, no socket, no device memory, and calls still end. */
		if (agent_find_page())
			_exit(1);
		if (fcntl(control, F_GETFD) >= 0)
			_exit(2);
		if (cuMemAlloc_v2(&childs, 4 * MIB) == CUDA_SUCCESS || cuMemFree_v2(plain) == CUDA_SUCCESS)
			_exit(3);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	cycle(1);
	check(plain, 4 * MIB, 4);
	assert_success(cuMemFree_v2(plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_page_says_who_answers),
		cmocka_unit_test(memory_leaves_and_comes_back),
		cmocka_unit_test(restored_memory_is_exported_again),
		cmocka_unit_test(large_and_many_allocations),
		cmocka_unit_test(memory_without_a_mapping_or_a_handle),
		cmocka_unit_test(memory_that_others_see_stays),
		cmocka_unit_test(memory_that_cannot_be_made_exportable_stays),
		cmocka_unit_test(memory_with_a_call_under_way_is_left_out),
		cmocka_unit_test(a_call_that_begins_after_the_export_stops_the_release),
		cmocka_unit_test(a_failed_export_leaves_everything),
		cmocka_unit_test(a_failure_while_restored_memory_is_replaced_leaves_it),
		cmocka_unit_test(a_failed_release_is_mended_by_map),
		cmocka_unit_test(a_failed_map_says_so_and_can_be_repeated),
		cmocka_unit_test(released_memory_is_left_alone_by_the_process),
		cmocka_unit_test(a_foreign_image_is_refused),
		cmocka_unit_test(a_pool_that_dies_does_not_confuse_the_next),
		cmocka_unit_test(a_child_starts_afresh),
	};

	return cmocka_run_group_tests(tests, start, end);
}
