/* SPDX-License-Identifier: MIT */
/* Requests that fail in the middle: what they leave, and that the next one mends it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"

#include <cmocka.h>

/* What the process holds: memory of the device, address ranges, descriptors but for those of what came back. */
struct holdings {
	size_t free, ranges;
	unsigned int descriptors;
};

static struct holdings holdings(void)
{
	return (struct holdings){free_device_bytes(), rekindle_simcuda_reservations(),
				 count_descriptors(getpid()) - (unsigned int)count_restored_descriptors()};
}

/* The agent closes what a request brought after its reply: it waits for the next one where it has closed everything. */
static void assert_holdings(struct holdings before, const char *after)
{
	struct agent_message wrong = {.type = 77};
	struct holdings now;

	agent_send_raw(&wrong, sizeof(wrong), &reply);
	now = holdings();
	if (now.free != before.free)
		fail_msg("%s: %zd bytes of device memory are lost", after, (ssize_t)(before.free - now.free));
	if (now.ranges != before.ranges)
		fail_msg("%s: addresses are lost", after);
	if (now.descriptors != before.descriptors)
		fail_msg("%s: %d descriptors are lost", after, (int)(now.descriptors - before.descriptors));
}

static void a_failed_export_leaves_everything(void **state)
{
	CUdeviceptr first, second;
	struct holdings before;

	(void)state;
	assert_success(cuMemAlloc_v2(&first, 4 * MIB));
	assert_success(cuMemAlloc_v2(&second, 4 * MIB));
	fill(first, 4 * MIB, 1);
	fill(second, 4 * MIB, 2);
	before = holdings();
	/* One failure is met by sending what the batch holds and trying again. */
	inject("cuMemExportToShareableHandle=999@2,cuMemExportToShareableHandle=999@3");
	assert_int_equal(agent_export(&saved, &reply), -EIO);
	assert_non_null(strstr(reply.error.text, "999"));
	agent_forget(&saved);
	inject("cuDeviceGetUuid_v2=999");
	assert_int_equal(agent_export(&saved, &reply), -EIO);
	inject("");
	agent_forget(&saved);
	assert_mapped();
	assert_holdings(before, "an export that failed");
	cycle(2);
	/* The same failure on restored memory, which is to be replaced: the driver could not save it either. */
	close_restored_descriptors();
	inject("cuMemExportToShareableHandle=999@1");
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	inject("");
	agent_forget(&saved);
	check(first, 4 * MIB, 1);
	check(second, 4 * MIB, 2);
	assert_holdings(before, "an export of restored memory that failed");
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
	struct holdings before;
	size_t rule;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
		cycle(1);
		close_restored_descriptors();
		before = holdings();
		inject(rules[rule]);
		assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
		assert_non_null(strstr(reply.error.text, "CUDA error"));
		inject("");
		agent_forget(&saved);
		assert_mapped();
		/* But for a scratch mapping that could not be unmapped. */
		if (strcmp(rules[rule], "cuMemUnmap=999@1") != 0 && strcmp(rules[rule], "cuMemUnmap=999@2") != 0)
			assert_holdings(before, rules[rule]);
		check(memory.address, 4 * MIB, 5);
		assert_int_equal(access_at(memory.address + 8 * MIB), 1);
		/* And the next attempt works. */
		cycle(1);
		assert_holdings(before, rules[rule]);
		check(memory.address, 4 * MIB, 5);
		drop_virtual_memory(&memory);
	}
	assert_nothing_to_offload();
}

/* What one of them leaves for the next, as they are mapped in one place each, is nobody's when the export is over. */
static void a_failure_at_the_second_of_three_leaves_all(void **state)
{
	static const char *const rules[] = {
		"cuMemCreate=2@2",	   "cuMemAddressReserve=2@2",	"cuMemMap=999@3",	"cuMemSetAccess=999@3",
		"cuMemcpyDtoDAsync=999@2", "cuStreamSynchronize=999@2", "cuMemUnmap=999@3",	"cuMemUnmap=999@4",
		"cuMemMap=999@4",	   "cuMemSetAccess=999@4",	"cuCtxSetCurrent=999@3"};
	static const size_t sizes[] = {4 * MIB, 4 * MIB, 6 * MIB};
	CUdeviceptr plain[3];
	struct holdings before;
	unsigned int i;
	size_t rule;

	(void)state;
	for (i = 0; i < 3; i++) {
		assert_success(cuMemAlloc_v2(&plain[i], sizes[i]));
		fill(plain[i], sizes[i], i);
	}
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		cycle(3);
		close_restored_descriptors();
		before = holdings();
		inject(rules[rule]);
		/* Without its own context there is that of the device. */
		assert_int_equal(agent_export(&saved, &reply), strstr(rules[rule], "cuCtx") ? 0 : -EOPNOTSUPP);
		inject("");
		agent_forget(&saved);
		assert_mapped();
		/* But for a scratch mapping that could not be unmapped. */
		if (strcmp(rules[rule], "cuMemUnmap=999@3") != 0)
			assert_holdings(before, rules[rule]);
		for (i = 0; i < 3; i++)
			check(plain[i], sizes[i], i);
		cycle(3);
		close_restored_descriptors();
		assert_holdings(before, rules[rule]);
	}
	for (i = 0; i < 3; i++) {
		check(plain[i], sizes[i], i);
		assert_success(cuMemFree_v2(plain[i]));
	}
}

/* Neither the fresh memory nor the old one stands everywhere: the page says so until it does. */
static void what_cannot_be_put_back_is_not_used(void **state)
{
	static const char *const rules[] = {
		"cuMemMap=999@3,cuMemMap=999@4",
		"cuMemMap=999@4,cuMemMap=999@5",
		"cuMemMap=999@4,cuMemMap=999@6",
		"cuMemUnmap=999@4,cuMemUnmap=999@5",
		"cuMemSetAccess=999@3,cuMemSetAccess=999@4",
	};
	CUmemAccessDesc access = driver_access();
	struct virtual_memory memory;
	struct holdings before;
	size_t rule;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
		cycle(1);
		close_restored_descriptors();
		before = holdings();
		inject(rules[rule]);
		assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
		if (!strstr(reply.error.text, "so did putting"))
			fail_msg("%s: %s", rules[rule], reply.error.text);
		inject("");
		agent_forget(&saved);
		assert_int_equal(cuMemSetAccess(memory.address, 16 * MIB, &access, 1), CUDA_ERROR_ILLEGAL_STATE);
		assert_int_equal(agent_find_page()->out_of_place, 1);
		/* The next attempt brings it to its place. */
		assert_int_equal(agent_map(&saved, 0, &reply), 0);
		assert_int_equal(agent_find_page()->out_of_place, 0);
		check(memory.address, 4 * MIB, 5);
		cycle(1);
		assert_holdings(before, rules[rule]);
		check(memory.address, 4 * MIB, 5);
		assert_int_equal(access_at(memory.address + 8 * MIB), 1);
		drop_virtual_memory(&memory);
	}
	assert_nothing_to_offload();
}

static void a_failed_release_is_mended_by_map(void **state)
{
	static const char *const rules[] = {"cuMemUnmap=999@1", "cuMemUnmap=999@2", "cuMemUnmap=999@3",
					    "cuMemRelease=999@1", "cuMemRelease=999@2"};
	struct virtual_memory memory;
	struct holdings before;
	CUdeviceptr plain;
	size_t rule;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	before = holdings();
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
		assert_holdings(before, rules[rule]);
	}
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
}

static void a_failed_map_says_so_and_can_be_repeated(void **state)
{
	static const char *const rules[] = {"cuMemImportFromShareableHandle=2@2", "cuMemMap=2@2", "cuMemMap=2@3",
					    "cuMemSetAccess=999@1", "cuMemSetAccess=999@3"};
	struct virtual_memory memory;
	struct holdings before;
	CUdeviceptr plain;
	size_t rule;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	before = holdings();
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
		assert_holdings(before, rules[rule]);
	}
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
}

/* As of a pool that waits for the contents, and dies. */
static void what_is_mapped_is_for_nobody_before_the_last(void **state)
{
	struct virtual_memory memory;
	struct holdings before;
	CUdeviceptr plain;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	fill(plain, 4 * MIB, 9);
	before = holdings();
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map_all_but_the_end(&saved, &reply), 0);
	assert_int_equal(agent_find_page()->state, AGENT_STATE_RELEASED);
	assert_int_equal(access_at(plain), CU_MEM_ACCESS_FLAGS_PROT_NONE);
	assert_int_equal(access_at(memory.address), CU_MEM_ACCESS_FLAGS_PROT_NONE);
	assert_int_equal(cuMemUnmap(memory.address, 4 * MIB), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(cuMemFree_v2(plain), CUDA_ERROR_ILLEGAL_STATE);
	/* Whoever comes next has memory of his own, of which nothing is needed any more. */
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_mapped();
	assert_int_equal(access_at(memory.address), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(access_at(memory.address + 8 * MIB), CU_MEM_ACCESS_FLAGS_PROT_READ);
	check(plain, 4 * MIB, 9);
	check(memory.address, 4 * MIB, 5);
	agent_forget(&saved);
	assert_holdings(before, "no failure");
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

/* ---- calls of the program that fail in the middle ---- */

static void memory_whose_freeing_fails_can_be_freed_again(void **state)
{
	static const char *const rules[] = {"cuCtxSynchronize=999@1", "cuMemUnmap=999@1", "cuMemUnmap=999@2",
					    "cuMemUnmap=999@3"};
	struct holdings before = holdings();
	CUdeviceptr plain, base;
	size_t rule, bytes;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		assert_success(cuMemAlloc_v2(&plain, 2 * GIB + 4 * MIB)); /* three pieces */
		inject(rules[rule]);
		assert_int_equal(cuMemFree_v2(plain), CUDA_ERROR_UNKNOWN);
		inject("");
		/* It is the program's still, and no other memory comes to its addresses. */
		assert_success(cuMemGetAddressRange_v2(&base, &bytes, plain));
		assert_int_equal(base, plain);
		assert_success(cuMemFree_v2(plain));
		assert_int_not_equal(cuMemFree_v2(plain), CUDA_SUCCESS);
		assert_holdings(before, rules[rule]);
		assert_nothing_to_offload();
	}
}

static void what_cannot_be_freed_with_its_context_keeps_nothing_else(void **state)
{
	CUcontext primary, context;
	struct holdings before;
	CUdeviceptr plain[3];
	size_t index;

	(void)state;
	assert_success(cuCtxGetCurrent(&primary));
	assert_success(cuCtxCreate_v2(&context, 0, 0));
	before = holdings();
	for (index = 0; index < 3; index++)
		assert_success(cuMemAlloc_v2(&plain[index], 4 * MIB));
	inject("cuMemUnmap=999@1");
	assert_success(cuCtxDestroy_v2(context));
	inject("");
	assert_success(cuCtxSetCurrent(primary));
	assert_int_equal(free_device_bytes(), before.free - 4 * MIB);
	/* The one that is left is there to be freed. */
	for (index = 0; index < 3; index++)
		cuMemFree_v2(plain[index]);
	assert_holdings(before, "a context whose memory could not be freed");
	assert_nothing_to_offload();
}

static void virtual_memory_whose_calls_fail_is_as_before(void **state)
{
	static const char *const rules[] = {"cuMemUnmap=999@1", "cuMemMap=999@1", "cuMemSetAccess=999@1"};
	CUmemGenericAllocationHandle handle;
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	CUmemAccessDesc access = {.location = driver_access().location, .flags = CU_MEM_ACCESS_FLAGS_PROT_NONE};
	struct holdings before = holdings();
	size_t rule;

	(void)state;
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		inject(rules[rule]);
		assert_int_equal(rule == 0   ? cuMemUnmap(memory.address, 4 * MIB)
				 : rule == 1 ? cuMemMap(memory.address + 4 * MIB, 4 * MIB, 0, memory.handle, 0)
					     : cuMemSetAccess(memory.address, 4 * MIB, &access, 1),
				 CUDA_ERROR_UNKNOWN);
		inject("");
		assert_holdings(before, rules[rule]);
		/* As it was, also where it comes from an image. */
		cycle(1);
		check(memory.address, 4 * MIB, 5);
		assert_int_equal(access_at(memory.address), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
		assert_int_equal(access_at(memory.address + 8 * MIB), CU_MEM_ACCESS_FLAGS_PROT_READ);
	}
	inject("cuMemRetainAllocationHandle=999,cuMemGetAllocationPropertiesFromHandle=999");
	assert_success(cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)memory.address));
	assert_success(cuMemRelease(handle));
	inject("");
	assert_holdings(before, "all of them");
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

/* Whoever asked lets the process run: what it uses stays where it is, until a MAP ends that. */
static void what_is_withdrawn_takes_nothing(void **state)
{
	struct agent_page *page = (struct agent_page *)(uintptr_t)agent_find_page();
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	struct holdings before = holdings();

	(void)state;
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	page->withdrawn = 1;
	assert_int_equal(agent_release(&reply), -ECANCELED);
	assert_mapped();
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	assert_int_equal(page->withdrawn, 0);
	check(memory.address, 4 * MIB, 5);
	assert_holdings(before, "a release that was withdrawn");
	/* Imported memory would be replaced by an export. */
	cycle(1);
	close_restored_descriptors();
	before = holdings();
	page->withdrawn = 1;
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	assert_non_null(strstr(reply.error.text, "nobody waits"));
	agent_forget(&saved);
	assert_int_equal(page->out_of_place, 0);
	check(memory.address, 4 * MIB, 5);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_int_equal(page->withdrawn, 0);
	assert_holdings(before, "an export that was withdrawn");
	cycle(1);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_export_leaves_everything),
		cmocka_unit_test(a_failure_while_restored_memory_is_replaced_leaves_it),
		cmocka_unit_test(a_failure_at_the_second_of_three_leaves_all),
		cmocka_unit_test(what_cannot_be_put_back_is_not_used),
		cmocka_unit_test(a_failed_release_is_mended_by_map),
		cmocka_unit_test(a_failed_map_says_so_and_can_be_repeated),
		cmocka_unit_test(memory_whose_freeing_fails_can_be_freed_again),
		cmocka_unit_test(what_cannot_be_freed_with_its_context_keeps_nothing_else),
		cmocka_unit_test(virtual_memory_whose_calls_fail_is_as_before),
		cmocka_unit_test(what_is_mapped_is_for_nobody_before_the_last),
		cmocka_unit_test(released_memory_is_left_alone_by_the_process),
		cmocka_unit_test(what_is_withdrawn_takes_nothing),
	};

	return cmocka_run_group_tests(tests, offload_start_with_agent, offload_end);
}
