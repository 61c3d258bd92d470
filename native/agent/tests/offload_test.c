/* SPDX-License-Identifier: MIT */
/* Device memory leaves the process over the control socket and comes back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"

#include <cmocka.h>

/* ---- the page ---- */

static void the_page_says_who_answers(void **state)
{
	const struct agent_page *page;
	CUdeviceptr address;
	char path[64], name[32] = "";
	FILE *file;

	(void)state;
	page = agent_find_page();
	assert_non_null(page); /* since cuInit */
	assert_success(cuMemAlloc_v2(&address, MIB));
	assert_success(cuMemFree_v2(address));
	assert_int_equal(page->magic, AGENT_PAGE_MAGIC);
	assert_true(page->waiting); /* nothing to offload yet */
	assert_int_equal(page->thread_id, 0);
	assert_success(cuMemAlloc_v2(&address, 2 * MIB));
	assert_ptr_equal(agent_wait_for_page(), page);
	assert_string_equal(page->passed_over, "");
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
	assert_int_equal(reply.bytes, 28 * MIB);
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

/* ---- what requests leave ---- */

static void requests_leave_no_descriptors(void **state)
{
	CUdeviceptr plain[100];
	unsigned int descriptors;
	struct agent_message wrong = {.type = 77};
	size_t index, free_before, ranges;

	(void)state;
	for (index = 0; index < 100; index++)
		assert_success(cuMemAlloc_v2(&plain[index], 2 * MIB));
	cycle(100);
	free_before = free_device_bytes();
	ranges = rekindle_simcuda_reservations();
	descriptors = count_descriptors(getpid());
	assert_int_equal(count_restored_descriptors(), 100);
	for (index = 0; index < 3; index++) {
		if (index)
			close_restored_descriptors();
		/* Two batches each way, and the second time fresh memory for what was imported. */
		cycle(100);
		/* The agent has closed everything where it answers again. */
		assert_int_equal(agent_send_raw(&wrong, sizeof(wrong), &reply), -EPROTO);
		assert_int_equal(count_descriptors(getpid()), descriptors);
		assert_int_equal(free_device_bytes(), free_before);
		assert_int_equal(rekindle_simcuda_reservations(), ranges);
	}
	for (index = 0; index < 100; index++)
		assert_success(cuMemFree_v2(plain[index]));
	assert_nothing_to_offload();
}

/* The line of the simulated driver's log that the call left last; thread: of whom. */
static void last_call(FILE *log, const char *call, const char *thread, char line[256])
{
	char read[256], wanted[64];

	snprintf(wanted, sizeof(wanted), "(thread %s,", thread);
	line[0] = '\0';
	rewind(log);
	while (fgets(read, sizeof(read), log))
		if (strstr(read, call) && strstr(read, wanted))
			strcpy(line, read);
}

/* A context that stays current on the agent's thread could not be destroyed as its owner wants it. */
static void the_agents_thread_keeps_no_context(void **state)
{
	static const char *const rules[] = {"", "cuMemcpyDtoDAsync=999@1", "cuStreamCreate=999@1",
					    "cuCtxSetCurrent=999@1"};
	FILE *log = tmpfile();
	int errors = dup(STDERR_FILENO);
	CUdeviceptr plain;
	size_t rule;

	(void)state;
	assert_non_null(log);
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	cycle(1);
	close_restored_descriptors(); /* fresh memory takes a copy */
	dup2(fileno(log), STDERR_FILENO);
	setenv("REKINDLE_SIMCUDA_LOG", "1", 1);
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		char line[256];

		inject(rules[rule]);
		agent_export(&saved, &reply);
		inject("");
		agent_forget(&saved);
		last_call(log, ": cuCtxSetCurrent: ", "rekindle-agent", line);
		if (!strstr(line, "context none"))
			fail_msg("%s: %s", rules[rule], line);
		cycle(1);
		close_restored_descriptors();
	}
	unsetenv("REKINDLE_SIMCUDA_LOG");
	dup2(errors, STDERR_FILENO);
	close(errors);
	fclose(log);
	assert_success(cuMemFree_v2(plain));
}

/* ---- children ---- */

/* The agent's thread is not in the child, and would never give the table free. */
static void a_child_of_the_middle_of_an_export_starts_afresh(void **state)
{
	CUdeviceptr plain;
	pid_t child;
	int status;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	inject("cuMemExportToShareableHandle=held@1");
	agent_export_and_go();
	wait_until_held();
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		signal(SIGALRM, SIG_DFL);
		alarm(20);
		_exit(cuMemFree_v2(plain) == CUDA_SUCCESS);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	inject("");
	cycle(1);
	assert_success(cuMemFree_v2(plain));
}

static void a_child_starts_afresh(void **state)
{
	CUdeviceptr plain, childs;
	int control, status;
	pid_t child;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	control = agent_wait_for_page()->control_descriptor;
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
		cmocka_unit_test(a_foreign_image_is_refused),
		cmocka_unit_test(a_pool_that_dies_does_not_confuse_the_next),
		cmocka_unit_test(requests_leave_no_descriptors),
		cmocka_unit_test(the_agents_thread_keeps_no_context),
		cmocka_unit_test(a_child_of_the_middle_of_an_export_starts_afresh),
		cmocka_unit_test(a_child_starts_afresh),
	};

	return cmocka_run_group_tests(tests, offload_start, offload_end);
}
