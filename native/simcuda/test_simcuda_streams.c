/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/clock.h"

static char control_path[] = "/tmp/rekindle-simcuda-control-XXXXXX";

/* Work that takes until the test lets it end. */
static atomic_bool may_end;

static void wait_until_it_may_end(void *unused)
{
	(void)unused;
	while (!atomic_load(&may_end))
		usleep(1000);
}

static void occupy(CUstream stream)
{
	OTHER_FUNCTION(cuLaunchHostFunc, (CUstream, CUhostFn, void *));

	atomic_store(&may_end, false);
	assert_success(cuLaunchHostFunc(stream, wait_until_it_may_end, NULL));
}

static unsigned int own_threads(void)
{
	DIR *threads = opendir("/proc/self/task");
	unsigned int count = 0;
	struct dirent *entry;

	assert_non_null(threads);
	while ((entry = readdir(threads)))
		count += entry->d_name[0] != '.';
	closedir(threads);
	return count;
}

/* First of all tests: nothing has used the default stream. A pool asks it whether a device is lost. */
static void a_question_to_the_default_stream_starts_no_thread(void **state)
{
	unsigned int before = own_threads();

	(void)state;
	assert_success(driver.cuStreamQuery(NULL));
	assert_int_equal(own_threads(), before);
	assert_success(driver.cuMemsetD8Async(0, 0, 0, NULL));
	assert_int_equal(own_threads(), before + 1);
	assert_success(driver.cuStreamQuery(NULL));
}

static void copies_from_pinned_memory_run_later(void **state)
{
	CUdeviceptr address;
	CUstream stream;
	uint32_t *pinned;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuMemHostAlloc((void **)&pinned, 4096, 0));
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	occupy(stream);
	*pinned = 1;
	assert_success(driver.cuMemcpyHtoDAsync(address, pinned, 4096, stream));
	assert_int_equal(driver.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	/* A caller that uses the buffer again too early is found out. */
	*pinned = 2;
	atomic_store(&may_end, true);
	assert_success(driver.cuStreamSynchronize(stream));
	assert_success(driver.cuStreamQuery(stream));
	assert_int_equal(read_word(address), 2);
	assert_success(driver.cuStreamDestroy(stream));
	assert_success(driver.cuMemFreeHost(pinned));
	assert_success(driver.cuMemFree(address));
}

static void registered_memory_counts_as_pinned(void **state)
{
	uint32_t *memory = aligned_alloc(4096, 4096);
	CUdeviceptr address;
	CUstream stream;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	assert_success(driver.cuMemHostRegister(memory, 4096, 0));
	assert_int_equal(driver.cuMemHostRegister(memory, 4096, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	occupy(stream);
	*memory = 5;
	assert_success(driver.cuMemcpyHtoDAsync(address, memory, 4096, stream));
	*memory = 6;
	atomic_store(&may_end, true);
	assert_success(driver.cuStreamSynchronize(stream));
	assert_int_equal(read_word(address), 6);
	assert_success(driver.cuMemHostUnregister(memory));
	assert_int_equal(driver.cuMemHostUnregister(memory), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	assert_success(driver.cuStreamDestroy(stream));
	assert_success(driver.cuMemFree(address));
	free(memory);
}

static void events_order_streams(void **state)
{
	OTHER_FUNCTION(cuStreamWaitEvent, (CUstream, CUevent, unsigned int));
	CUstream first, second;
	CUdeviceptr address;
	CUevent event;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
	assert_success(driver.cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
	assert_success(driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	assert_success(driver.cuEventQuery(event));
	occupy(first);
	assert_success(driver.cuMemsetD8Async(address, 1, 4096, first));
	assert_success(driver.cuEventRecord(event, first));
	assert_success(cuStreamWaitEvent(second, event, 0));
	assert_success(driver.cuMemsetD8Async(address, 2, 4096, second));
	assert_int_equal(driver.cuEventQuery(event), CUDA_ERROR_NOT_READY);
	assert_int_equal(driver.cuStreamQuery(second), CUDA_ERROR_NOT_READY);
	atomic_store(&may_end, true);
	assert_success(driver.cuEventSynchronize(event));
	assert_success(driver.cuStreamSynchronize(second));
	assert_int_equal(read_word(address), 0x02020202);
	assert_success(driver.cuEventDestroy(event));
	assert_int_equal(driver.cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
	assert_success(driver.cuStreamDestroy(first));
	assert_success(driver.cuStreamDestroy(second));
	assert_success(driver.cuMemFree(address));
}

static void the_default_stream_waits_for_blocking_streams(void **state)
{
	CUdeviceptr address;
	CUstream stream;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuStreamCreate(&stream, 0));
	occupy(stream);
	assert_success(driver.cuMemsetD8Async(address, 1, 4096, stream));
	assert_success(driver.cuMemsetD8Async(address, 2, 4096, NULL));
	assert_int_equal(driver.cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
	atomic_store(&may_end, true);
	assert_success(driver.cuCtxSynchronize());
	assert_int_equal(read_word(address), 0x02020202);
	assert_success(driver.cuStreamDestroy(stream));
	assert_success(driver.cuMemFree(address));
}

static void a_queue_longer_than_the_ring_is_worked_off(void **state)
{
	CUdeviceptr address;
	CUstream stream;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	for (unsigned int i = 0; i <= 1000; i++)
		assert_success(driver.cuMemsetD8Async(address, (unsigned char)i, 4096, stream));
	assert_success(driver.cuStreamSynchronize(stream));
	assert_int_equal(read_word(address) & 0xff, 1000 & 0xff);
	assert_success(driver.cuStreamDestroy(stream));
	assert_success(driver.cuMemFree(address));
}

static void an_injected_delay_is_spent_on_the_stream(void **state)
{
	uint64_t before = monotonic_nanoseconds();
	CUdeviceptr address;
	CUstream stream;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OTHER_FUNCTION(cuMemsetD32Async, (CUdeviceptr, unsigned int, size_t, CUstream));
	write_control(control_path, "cuMemsetD32Async=held@1,cuMemsetD32Async=50ms@2\n");
	/* No other function is, and this one returns. */
	assert_success(driver.cuMemcpyDtoHAsync(&(uint32_t){0}, address, 4, stream));
	assert_success(cuMemsetD32Async(address, 8, 1024, stream));
	wait_until_held(control_path);
	assert_int_equal(driver.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	assert_success(cuMemsetD32Async(address, 9, 1024, stream));
	write_control(control_path, "");
	assert_success(driver.cuStreamSynchronize(stream));
	assert_true(monotonic_nanoseconds() - before >= 50000000u);
	assert_int_equal(read_word(address), 9);
	assert_success(driver.cuStreamDestroy(stream));
	assert_success(driver.cuMemFree(address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_to_the_default_stream_starts_no_thread),
		cmocka_unit_test(copies_from_pinned_memory_run_later),
		cmocka_unit_test(registered_memory_counts_as_pinned),
		cmocka_unit_test(events_order_streams),
		cmocka_unit_test(the_default_stream_waits_for_blocking_streams),
		cmocka_unit_test(a_queue_longer_than_the_ring_is_worked_off),
		cmocka_unit_test(an_injected_delay_is_spent_on_the_stream),
	};
	int failed;

	control_begin(control_path);
	failed = cmocka_run_group_tests(tests, open_driver_with_context, close_context);
	unlink(control_path);
	return failed;
}
