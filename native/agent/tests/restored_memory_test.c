/* SPDX-License-Identifier: MIT */
/* The descriptors by which memory came back: what they are good for, and what they cost the program. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/offload_memory.h"
#include "protocol/share_mark.h"

#include <cmocka.h>

/* ---- offers and exports ---- */

static void what_came_back_is_offered(void **state)
{
	CUdeviceptr old, fresh;

	(void)state;
	assert_success(cuMemAlloc_v2(&old, 4 * MIB));
	cycle(1);
	assert_int_equal(count_restored_descriptors(), 1);
	assert_success(cuMemAlloc_v2(&fresh, 2 * MIB));
	fill(fresh, 2 * MIB, 2);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_int_equal(reply.bytes, 0);
	assert_int_equal(agent_find_page()->out_of_place, 0);
	/* It is that memory, not a copy of it. */
	fill(old, 4 * MIB, 1);
	assert_int_equal(saved.allocations[0].allocation.address, old);
	agent_save(&saved);
	fill(fresh, 2 * MIB, 3);
	assert_success(cuMemcpyHtoD_v2(fresh, saved.allocations[0].contents, 2 * MIB));
	agent_forget(&saved);
	check(old, 4 * MIB, 1);
	cycle(2);
	check(old, 4 * MIB, 1);
	assert_success(cuMemFree_v2(old));
	assert_success(cuMemFree_v2(fresh));
	assert_int_equal(count_restored_descriptors(), 0);
	assert_nothing_to_offload();
}

static void an_export_needs_no_fresh_memory(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);

	(void)state;
	cycle(1);
	inject("cuMemCreate=2,cuMemcpyDtoDAsync=999,cuMemExportToShareableHandle=999");
	assert_int_equal(agent_export(&saved, &reply), 0);
	inject("");
	assert_int_equal(saved.count, 1);
	assert_int_equal(reply.last, 0); /* it is not shared */
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	/* Whoever dumps the process now meets none. */
	assert_int_equal(count_restored_descriptors(), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_int_equal(count_restored_descriptors(), 1);
	agent_forget(&saved);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
	assert_int_equal(count_restored_descriptors(), 0);
	assert_nothing_to_offload();
}

static void a_failed_export_keeps_them(void **state)
{
	CUdeviceptr plain[2];

	(void)state;
	assert_success(cuMemAlloc_v2(&plain[0], 4 * MIB));
	assert_success(cuMemAlloc_v2(&plain[1], 4 * MIB));
	cycle(2);
	inject("cuDeviceGetUuid_v2=999@2");
	assert_int_equal(agent_export(&saved, &reply), -EOPNOTSUPP);
	inject("");
	agent_forget(&saved);
	assert_int_equal(count_restored_descriptors(), 2);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	agent_forget(&saved);
	assert_success(cuMemFree_v2(plain[0]));
	assert_int_equal(count_restored_descriptors(), 1);
	assert_success(cuMemFree_v2(plain[1]));
	assert_nothing_to_offload();
}

/*
 * Some of the memory is away, and comes back as other memory (from an image). What is exported by and by is what is in its
 * place then, also of what others have.
 */
static void a_release_that_fails_leaves_no_descriptor_of_what_is_gone(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	struct virtual_memory memory = make_virtual_memory((int)properties.requestedHandleTypes);
	CUdeviceptr plain, last;
	int descriptor;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	assert_success(cuMemAlloc_v2(&last, 4 * MIB));
	assert_success(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0));
	close(descriptor);
	cycle(3);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	inject("cuMemRelease=999@3");
	assert_int_equal(agent_release(&reply), -EIO);
	inject("");
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	fill(memory.address, 4 * MIB, 21);
	fill(plain, 4 * MIB, 22);
	fill(last, 4 * MIB, 23);
	cycle(3);
	check(memory.address, 4 * MIB, 21);
	check(plain, 4 * MIB, 22);
	check(last, 4 * MIB, 23);
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
	assert_success(cuMemFree_v2(last));
	assert_nothing_to_offload();
}

/* The pool of the first one has died, and the others have what the next one names; what nobody else has stays as it is. */
static void what_is_shared_is_what_the_last_map_names(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	struct virtual_memory memory = make_virtual_memory((int)properties.requestedHandleTypes);
	CUdeviceptr plain;
	int descriptor;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	fill(plain, 4 * MIB, 6);
	assert_success(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0));
	close(descriptor);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	fill(memory.address, 4 * MIB, 7);
	fill(plain, 4 * MIB, 8);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_int_equal(agent_find_page()->state, AGENT_STATE_MAPPED);
	agent_forget(&saved);
	check(memory.address, 4 * MIB, 5);
	check(plain, 4 * MIB, 8);
	/* And it is what is exported from now on. */
	fill(memory.address, 4 * MIB, 9);
	cycle(2);
	check(memory.address, 4 * MIB, 9);
	drop_virtual_memory(&memory);
	assert_success(cuMemFree_v2(plain));
	assert_nothing_to_offload();
}

/* Whoever asked for that has gone, and the process uses the memory, as others do: it is not taken from its place once more. */
static void what_is_shared_stays_when_nobody_waits(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	struct virtual_memory memory = make_virtual_memory((int)properties.requestedHandleTypes);
	struct agent_page *page = (struct agent_page *)(uintptr_t)agent_find_page();
	struct saved_memory nothing = {.count = 0};
	int descriptor;

	(void)state;
	assert_success(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0));
	close(descriptor);
	cycle(1);
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	page->withdrawn = 1;
	fill(memory.address, 4 * MIB, 7);
	assert_int_equal(agent_map(&saved, 0, &reply), -ECANCELED);
	assert_mapped();
	check(memory.address, 4 * MIB, 7);
	/* Whoever asks now gets it done: first of all that somebody waits again. */
	assert_int_equal(agent_map(&nothing, 0, &reply), 0);
	assert_int_equal(page->withdrawn, 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

/* ---- others are given them ---- */

static bool is_one_file(int one, int another)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, one, another) == 0;
}

static void it_is_shared_by_what_it_came_by(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	int first, second, generation;

	(void)state;
	cycle(1);
	for (generation = 0; generation < 3; generation++) {
		assert_success(cuMemExportToShareableHandle(&first, memory.handle, 1, 0));
		assert_success(cuMemExportToShareableHandle(&second, memory.handle, 1, 0));
		assert_true(is_one_file(first, second));
		assert_int_not_equal(share_mark_of(first), 0);
		assert_int_equal(count_restored_descriptors(), 0);
		assert_int_equal(agent_offer(&saved, &reply), 0);
		assert_int_equal(saved.count, 1);
		assert_true(is_one_file(saved.allocations[0].descriptor, first));
		agent_forget(&saved);
		assert_int_equal(agent_export(&saved, &reply), 0);
		assert_int_equal(saved.count, 1);
		assert_int_equal(reply.last, 1);
		assert_true(is_one_file(saved.allocations[0].descriptor, first));
		agent_forget(&saved);
		close(first);
		close(second);
		cycle(1);
		check(memory.address, 4 * MIB, 5);
	}
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

#define THREADS 8

static pthread_barrier_t barrier;

static void *export_it(void *argument)
{
	CUmemGenericAllocationHandle handle = *(CUmemGenericAllocationHandle *)argument;
	int descriptor = -1;

	pthread_barrier_wait(&barrier);
	if (cuMemExportToShareableHandle(&descriptor, handle, 1, 0) != CUDA_SUCCESS)
		return (void *)-1;
	return (void *)(intptr_t)descriptor;
}

static void threads_that_share_it_at_once_share_one_file(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	pthread_t threads[THREADS];
	void *descriptors[THREADS];
	int round, index;

	(void)state;
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (round = 0; round < 20; round++) {
		cycle(1);
		for (index = 0; index < THREADS; index++)
			assert_int_equal(pthread_create(&threads[index], NULL, export_it, &memory.handle), 0);
		for (index = 0; index < THREADS; index++)
			pthread_join(threads[index], &descriptors[index]);
		for (index = 0; index < THREADS; index++) {
			assert_true((intptr_t)descriptors[index] >= 0);
			assert_true(is_one_file((int)(intptr_t)descriptors[0], (int)(intptr_t)descriptors[index]));
		}
		for (index = 0; index < THREADS; index++)
			close((int)(intptr_t)descriptors[index]);
		drop_virtual_memory(&memory);
		memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	}
	drop_virtual_memory(&memory);
	pthread_barrier_destroy(&barrier);
	assert_nothing_to_offload();
}

static void set_limit(rlim_t limit)
{
	static rlim_t usual;
	struct rlimit numbers;

	getrlimit(RLIMIT_NOFILE, &numbers);
	if (!usual)
		usual = numbers.rlim_cur;
	numbers.rlim_cur = limit ? limit : usual;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &numbers), 0);
}

/* A call that fails takes nothing from the memory. */
static void no_number_is_left_to_share_it(void **state)
{
	struct virtual_memory memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	int lowest, descriptor;

	(void)state;
	cycle(1);
	lowest = dup(0);
	close(lowest);
	set_limit((rlim_t)lowest);
	assert_int_not_equal(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0), CUDA_SUCCESS);
	set_limit(0);
	assert_int_equal(count_restored_descriptors(), 1);
	assert_success(cuMemExportToShareableHandle(&descriptor, memory.handle, 1, 0));
	close(descriptor);
	cycle(1);
	check(memory.address, 4 * MIB, 5);
	drop_virtual_memory(&memory);
	assert_nothing_to_offload();
}

/* ---- the program's numbers ---- */

/* Many small pieces and few large ones, which are made last. */
static void few_can_be_kept(void **state)
{
	CUdeviceptr small[60], large[6];
	size_t index, offered = 0;

	(void)state;
	for (index = 0; index < 60; index++) {
		assert_success(cuMemAlloc_v2(&small[index], 2 * MIB));
		fill(small[index], 4096, (unsigned int)index);
	}
	for (index = 0; index < 6; index++)
		assert_success(cuMemAlloc_v2(&large[index], 4 * MIB));
	set_limit(256);
	cycle(66);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_in_range(saved.count, 6, 65);
	assert_int_equal(reply.bytes, (66 - saved.count) * 2 * MIB);
	for (index = 0; index < saved.count; index++)
		offered += saved.allocations[index].allocation.bytes == 4 * MIB;
	assert_int_equal(offered, 6);
	agent_forget(&saved);
	/* Of the others there is fresh memory, as it needs. */
	cycle(66);
	set_limit(0);
	for (index = 0; index < 60; index++) {
		check(small[index], 4096, (unsigned int)index);
		assert_success(cuMemFree_v2(small[index]));
	}
	for (index = 0; index < 6; index++)
		assert_success(cuMemFree_v2(large[index]));
	assert_nothing_to_offload();
}

/* The program closes what it did not open, and puts files of its own there: they stay its own, and are nobody's memory. */
static void numbers_that_are_the_programs_by_now(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	CUmemGenericAllocationHandle other_memory;
	CUdeviceptr plain[3];
	int numbers[RESTORED_MAX], own;
	size_t index;

	(void)state;
	for (index = 0; index < 3; index++) {
		assert_success(cuMemAlloc_v2(&plain[index], 4 * MIB));
		fill(plain[index], 4 * MIB, 30 + (unsigned int)index);
	}
	cycle(3);
	assert_int_equal(find_restored_descriptors(numbers), 3);
	/* As like them as can be: device memory of the same size that others have. */
	assert_success(cuMemCreate(&other_memory, 4 * MIB, &properties, 0));
	assert_success(cuMemExportToShareableHandle(&own, other_memory, 1, 0));
	for (index = 0; index < 3; index++)
		assert_int_equal(dup2(own, numbers[index]), numbers[index]);
	assert_int_equal(agent_offer(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	assert_int_equal(reply.bytes, 12 * MIB);
	agent_forget(&saved);
	cycle(4);
	for (index = 0; index < 3; index++) {
		assert_true(is_one_file(own, numbers[index]));
		check(plain[index], 4 * MIB, 30 + (unsigned int)index);
		close(numbers[index]);
	}
	/* And where they come to the numbers before the memory is freed. */
	assert_int_equal(find_restored_descriptors(numbers), 3);
	for (index = 0; index < 3; index++)
		assert_int_equal(dup2(own, numbers[index]), numbers[index]);
	for (index = 0; index < 3; index++) {
		assert_success(cuMemFree_v2(plain[index]));
		assert_true(is_one_file(own, numbers[index]));
		close(numbers[index]);
	}
	close(own);
	assert_success(cuMemRelease(other_memory));
	assert_nothing_to_offload();
}

static void a_child_has_none(void **state)
{
	CUdeviceptr plain;
	pid_t child;
	int status;

	(void)state;
	assert_success(cuMemAlloc_v2(&plain, 4 * MIB));
	cycle(1);
	assert_int_equal(count_restored_descriptors(), 1);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit((int)count_restored_descriptors());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(count_restored_descriptors(), 1);
	assert_success(cuMemFree_v2(plain));
	assert_nothing_to_offload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_came_back_is_offered),
		cmocka_unit_test(an_export_needs_no_fresh_memory),
		cmocka_unit_test(a_failed_export_keeps_them),
		cmocka_unit_test(a_release_that_fails_leaves_no_descriptor_of_what_is_gone),
		cmocka_unit_test(what_is_shared_is_what_the_last_map_names),
		cmocka_unit_test(what_is_shared_stays_when_nobody_waits),
		cmocka_unit_test(it_is_shared_by_what_it_came_by),
		cmocka_unit_test(threads_that_share_it_at_once_share_one_file),
		cmocka_unit_test(no_number_is_left_to_share_it),
		cmocka_unit_test(few_can_be_kept),
		cmocka_unit_test(numbers_that_are_the_programs_by_now),
		cmocka_unit_test(a_child_has_none),
	};

	return cmocka_run_group_tests(tests, offload_start, offload_end);
}
