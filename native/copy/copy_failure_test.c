/* SPDX-License-Identifier: MIT */
#include "copy/copy_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "copy/page_cache.h"

/* What is damaged, full, broken or given up ends a job with its reason. */

static void damage_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(pwrite(fixture->file.descriptor, "?", 1, 6 * CHUNK_BYTES + 5), 1);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "test.img is damaged"));
	assert_non_null(strstr(error.text, "allocation 5, chunk 6"));
	fixture->request.verify = false; /* asked not to look */
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
}

static void short_file_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(ftruncate(fixture->file.descriptor, BYTES - 4096), 0);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), -ENODATA);
	assert_non_null(strstr(error.text, "test.img is truncated"));
	assert_non_null(strstr(error.text, "chunk 8"));
}

static void full_disk_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	struct copy_file full = {.descriptor = open("/dev/full", O_RDWR), .name = "full.img"};

	fill_device(fixture, fixture->contents);
	fixture->request.files = &full;
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "disk is full"));
	close(full.descriptor);
}

/* Driver functions that fail, or take long, from some call on. */
static atomic_int calls, fail_from;

static CUresult failing_copy(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	if (atomic_fetch_add(&calls, 1) >= atomic_load(&fail_from))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	return real_driver.cuMemcpyHtoDAsync(destination, source, bytes, stream);
}

static CUresult failing_copy_back(void *destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	if (atomic_fetch_add(&calls, 1) >= atomic_load(&fail_from))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	return real_driver.cuMemcpyDtoHAsync(destination, source, bytes, stream);
}

static CUresult failing_wait(CUevent event)
{
	if (atomic_fetch_add(&calls, 1) >= atomic_load(&fail_from))
		return CUDA_ERROR_UNKNOWN;
	return real_driver.cuEventSynchronize(event);
}

static atomic_bool go_on;

static CUresult copy_that_waits(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	while (!atomic_load(&go_on))
		usleep(1000);
	atomic_fetch_add(&calls, 1);
	return real_driver.cuMemcpyHtoDAsync(destination, source, bytes, stream);
}

static void driver_failure_is_named_whenever_it_comes(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	int from;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	for (from = 0; from < 30; from += 7) {
		driver = real_driver;
		driver.cuMemcpyHtoDAsync = failing_copy;
		calls = 0;
		fail_from = from;
		assert_true(run(fixture, COPY_FILE_TO_DEVICE, &error) < 0);
		assert_non_null(strstr(error.text, "cuMemcpyHtoDAsync failed with CUDA_ERROR_ILLEGAL_ADDRESS"));
		driver.cuMemcpyDtoHAsync = failing_copy_back;
		calls = 0;
		assert_true(run(fixture, COPY_DEVICE_TO_FILE, &error) < 0);
		assert_non_null(strstr(error.text, "cuMemcpyDtoHAsync failed with CUDA_ERROR_ILLEGAL_ADDRESS"));
		driver = real_driver;
		driver.cuEventSynchronize = failing_wait;
		calls = 0;
		assert_true(run(fixture, COPY_DEVICE_TO_FILE, &error) < 0);
		assert_non_null(strstr(error.text, "cuEventSynchronize failed with CUDA_ERROR_UNKNOWN"));
	}
	/* The engine is none the worse for it. */
	driver = real_driver;
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static void cancelled_job_ends_soon(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *first, *second;
	struct error_text error;

	driver.cuMemcpyHtoDAsync = copy_that_waits;
	atomic_store(&go_on, false);
	calls = 0;
	fixture->request.direction = COPY_FILE_TO_DEVICE;
	fixture->request.verify = false;
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &first, &error), 0);
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &second, &error), 0);
	assert_false(copy_job_wait(first, 30));
	copy_job_cancel(second); /* not begun */
	assert_true(copy_job_wait(second, 0));
	assert_int_equal(copy_job_result(second, &error), -ECANCELED);
	copy_job_cancel(first);
	atomic_store(&go_on, true);
	copy_job_wait(first, -1);
	assert_int_equal(copy_job_result(first, &error), -ECANCELED);
	assert_non_null(strstr(error.text, "cancelled"));
	assert_true(atomic_load(&calls) < 30); /* of 35 */
	copy_job_finish(first);
	copy_job_finish(second);
}

static void unattached_engine_refuses_jobs(void **state)
{
	struct copy_request request = {.file_count = 0};
	struct copy_engine *engine;
	struct error_text error;
	struct copy_job *job;

	(void)state;
	assert_int_equal(copy_engine_create(&engine, 2, MEBIBYTE, &error), 0);
	assert_int_equal(copy_job_start(engine, &request, &job, &error), -EINVAL);
	copy_engine_destroy(engine);
}

static CUresult failing_register(void *pointer, size_t bytes, unsigned int flags)
{
	(void)pointer;
	(void)bytes;
	(void)flags;
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult failing_stream(CUstream *stream, unsigned int flags)
{
	(void)stream;
	(void)flags;
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static void failed_preparation_is_named(void **state)
{
	struct copy_engine *engine;
	struct error_text error;

	(void)state;
	driver = real_driver;
	driver.cuMemHostRegister = failing_register;
	assert_int_equal(copy_engine_create(&engine, 2, MEBIBYTE, &error), 0);
	assert_int_equal(copy_engine_attach(engine, &driver, context, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "pin"));
	copy_engine_destroy(engine);
	driver = real_driver;
	driver.cuStreamCreate = failing_stream;
	assert_int_equal(copy_engine_create(&engine, 2, MEBIBYTE, &error), 0);
	assert_int_equal(copy_engine_attach(engine, &driver, context, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "cuStreamCreate"));
	copy_engine_destroy(engine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(damage_is_named),
		TEST(short_file_is_named),
		TEST(full_disk_is_named),
		TEST(driver_failure_is_named_whenever_it_comes),
		TEST(cancelled_job_ends_soon),
		cmocka_unit_test(unattached_engine_refuses_jobs),
		cmocka_unit_test(failed_preparation_is_named),
	};

	return cmocka_run_group_tests(tests, open_driver, close_driver);
}
