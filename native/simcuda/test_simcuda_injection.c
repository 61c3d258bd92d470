/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/clock.h"

static char control_path[] = "/tmp/rekindle-simcuda-control-XXXXXX";

static CUresult allocate_and_free(void)
{
	CUdeviceptr address;
	CUresult result = driver.cuMemAlloc(&address, 4096);

	if (result == CUDA_SUCCESS)
		assert_success(driver.cuMemFree(address));
	return result;
}

static void rules_of_the_environment_hold(void **state)
{
	CUmemGenericAllocationHandle handle;

	(void)state;
	assert_int_equal(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0), CUDA_ERROR_OUT_OF_MEMORY);
	assert_success(driver.cuEventCreate(&(CUevent){NULL}, 0));
	assert_int_equal(driver.cuEventCreate(&(CUevent){NULL}, 0), CUDA_ERROR_UNKNOWN);
	assert_success(driver.cuEventCreate(&(CUevent){NULL}, 0));
	assert_int_equal(driver.cuCheckpointProcessLock(getpid(), NULL), CUDA_ERROR_NOT_READY);
}

static void a_changed_control_file_is_read_again(void **state)
{
	uint64_t before;

	(void)state;
	assert_success(allocate_and_free());
	write_control(control_path, "# the second call only\ncuMemAlloc=999@2\n");
	assert_success(allocate_and_free());
	assert_int_equal(allocate_and_free(), CUDA_ERROR_UNKNOWN);
	assert_success(allocate_and_free());
	write_control(control_path, "cuMemAlloc_v2=50ms\n");
	before = monotonic_nanoseconds();
	assert_success(allocate_and_free());
	assert_true(monotonic_nanoseconds() - before >= 50000000u);
	write_control(control_path, "cuMemAlloc=999\n");
	assert_int_equal(allocate_and_free(), CUDA_ERROR_UNKNOWN);
	assert_int_equal(unlink(control_path), 0);
	assert_success(allocate_and_free());
}

static void *allocate_in_a_thread(void *unused)
{
	(void)unused;
	return (void *)(uintptr_t)allocate_and_free();
}

static atomic_bool got_through;

static void *allocate_and_say_so(void *unused)
{
	(void)unused;
	allocate_and_free();
	atomic_store(&got_through, true);
	return NULL;
}

static void a_call_is_held_until_the_rules_change(void **state)
{
	pthread_t thread;

	(void)state;
	write_control(control_path, "cuMemAlloc=held@1\n");
	assert_int_equal(pthread_create(&thread, NULL, allocate_and_say_so, NULL), 0);
	wait_until_held(control_path);
	assert_false(atomic_load(&got_through));
	write_control(control_path, "");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(atomic_load(&got_through));
}

static void calls_that_are_alone_wait_for_each_other(void **state)
{
	uint64_t before = monotonic_nanoseconds();
	pthread_t threads[4];
	void *result;

	(void)state;
	write_control(control_path, "cuMemAlloc=20ms+");
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_in_a_thread, NULL), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_int_equal((uintptr_t)result, CUDA_ERROR_INVALID_CONTEXT);
	}
	assert_true(monotonic_nanoseconds() - before >= 79000000u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_of_the_environment_hold),
		cmocka_unit_test(a_changed_control_file_is_read_again),
		cmocka_unit_test(a_call_is_held_until_the_rules_change),
		cmocka_unit_test(calls_that_are_alone_wait_for_each_other),
	};
	int failed;

	control_begin(control_path);
	setenv("REKINDLE_SIMCUDA_FAIL", "cuMemCreate=2,cuEventCreate=999@2,cuCheckpointProcessLock=600", 1);
	failed = cmocka_run_group_tests(tests, open_driver_with_context, close_context);
	unlink(control_path);
	return failed;
}
