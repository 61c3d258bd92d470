/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "copy/copy_engine.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MEBIBYTE 1048576u
#define CHUNK_BYTES (4 * MEBIBYTE)
#define CHUNKS 9u
#define LAST_BYTES (2 * MEBIBYTE + 8192) /* a last chunk that is no whole number of blocks */
#define BYTES ((CHUNKS - 1) * CHUNK_BYTES + LAST_BYTES)
#define ZERO_CHUNK 3u

static struct cuda_driver real_driver;
static struct cuda_driver driver; /* the same with functions exchanged by a test */
static CUcontext context;

struct fixture {
	struct copy_engine *engine;
	CUdeviceptr device;
	int file;
	unsigned char *contents;
	struct copy_chunk chunks[CHUNKS];
	struct copy_request request;
};

static int set_up_with(void **state, unsigned int workers, size_t ring_bytes)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error_text error;
	uint32_t i;

	driver = real_driver;
	assert_int_equal(copy_engine_create(&fixture->engine, workers, ring_bytes, &error), 0);
	assert_int_equal(copy_engine_attach(fixture->engine, &driver, context, &error), 0);
	assert_int_equal(copy_engine_workers(fixture->engine), workers);
	assert_true(copy_engine_ring_bytes(fixture->engine) >= ring_bytes);
	assert_int_equal(driver.cuMemAlloc(&fixture->device, BYTES), CUDA_SUCCESS);
	fixture->file = memfd_create("copy-engine-test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fixture->file, BYTES), 0);
	fixture->contents = malloc(BYTES);
	for (i = 0; i < BYTES; i++)
		fixture->contents[i] = (unsigned char)((i * 2654435761u) >> 23);
	memset(fixture->contents + ZERO_CHUNK * CHUNK_BYTES, 0, CHUNK_BYTES);
	for (i = 0; i < CHUNKS; i++) {
		fixture->chunks[i] = (struct copy_chunk){
			.device_address = fixture->device + i * CHUNK_BYTES,
			.bytes = i + 1 < CHUNKS ? CHUNK_BYTES : LAST_BYTES,
			.file_offset = i * CHUNK_BYTES,
			.allocation_id = 5,
			.number = i,
		};
	}
	fixture->request = (struct copy_request){
		.file = fixture->file,
		.file_name = "test.img",
		.chunks = fixture->chunks,
		.chunk_count = CHUNKS,
		.verify = true,
	};
	*state = fixture;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, 4, 8 * MEBIBYTE);
}

static int set_up_small(void **state)
{
	return set_up_with(state, 7, 1); /* the smallest ring there is */
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	copy_engine_destroy(fixture->engine);
	real_driver.cuMemFree(fixture->device);
	close(fixture->file);
	free(fixture->contents);
	free(fixture);
	return 0;
}

static int run(struct fixture *fixture, enum copy_direction direction, struct error_text *error)
{
	struct copy_job *job;
	int result;

	fixture->request.direction = direction;
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, error), 0);
	assert_true(copy_job_wait(job, -1));
	result = copy_job_result(job, error);
	if (result == 0)
		assert_int_equal(copy_job_bytes_done(job), BYTES);
	copy_job_finish(job);
	return result;
}

static void fill_device(struct fixture *fixture, const unsigned char *contents)
{
	assert_int_equal(real_driver.cuMemcpyHtoD(fixture->device, contents, BYTES), CUDA_SUCCESS);
}

static void assert_device_equals(struct fixture *fixture)
{
	unsigned char *read = malloc(BYTES);

	assert_int_equal(real_driver.cuMemcpyDtoH(read, fixture->device, BYTES), CUDA_SUCCESS);
	assert_int_equal(memcmp(read, fixture->contents, BYTES), 0);
	free(read);
}

static void stores_and_loads_bit_for_bit(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	uint64_t to_device, from_device;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	for (i = 0; i < CHUNKS; i++) {
		assert_int_equal(fixture->chunks[i].zero, i == ZERO_CHUNK);
		if (i != ZERO_CHUNK)
			assert_int_equal(fixture->chunks[i].checksum,
					 XXH3_64bits(fixture->contents + i * CHUNK_BYTES, fixture->chunks[i].bytes));
	}
	/* The chunk of zeros is a hole of the file. */
	assert_int_equal(lseek(fixture->file, ZERO_CHUNK * CHUNK_BYTES, SEEK_DATA), (ZERO_CHUNK + 1) * CHUNK_BYTES);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
	copy_engine_totals(fixture->engine, &to_device, &from_device);
	assert_int_equal(to_device, BYTES);
	assert_int_equal(from_device, BYTES);
}

static void one_worker_is_enough(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fixture->request.worker_limit = 1;
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static pthread_mutex_t copiers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t copiers[8];
static unsigned int copier_count;

/* Remembers which threads copy, and is slow enough for every worker to come by. */
static CUresult remembering_copy(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	unsigned int i;

	pthread_mutex_lock(&copiers_lock);
	for (i = 0; i < copier_count && !pthread_equal(copiers[i], pthread_self()); i++)
		;
	if (i == copier_count && copier_count < 8)
		copiers[copier_count++] = pthread_self();
	pthread_mutex_unlock(&copiers_lock);
	usleep(20000);
	return real_driver.cuMemcpyHtoDAsync(destination, source, bytes, stream);
}

static void half_of_the_workers_rest_while_others_need_the_link(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	_Atomic int others = 0;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	copy_engine_yield_to(fixture->engine, &others);
	driver.cuMemcpyHtoDAsync = remembering_copy;
	copier_count = 0;
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_int_equal(copier_count, 4);

	others = 1;
	copier_count = 0;
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_int_equal(copier_count, 2);
	assert_device_equals(fixture);
}

static void loads_a_file_on_disk_whose_pages_are_not_cached(void **state)
{
	char path[] = "copy-engine-XXXXXX";
	struct fixture *fixture = *state;
	struct error_text error;

	close(fixture->file);
	fixture->file = fixture->request.file = mkstemp(path);
	unlink(path);
	assert_int_equal(ftruncate(fixture->file, BYTES), 0);
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(fsync(fixture->file), 0);
	assert_int_equal(posix_fadvise(fixture->file, 0, 0, POSIX_FADV_DONTNEED), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static void jobs_run_one_after_the_other(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *jobs[CHUNKS];
	struct copy_request request;
	struct error_text error;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	for (i = 0; i < CHUNKS; i++) { /* a job of one chunk each; the last first */
		request = fixture->request;
		request.direction = COPY_FILE_TO_DEVICE;
		request.chunks = &fixture->chunks[CHUNKS - 1 - i];
		request.chunk_count = 1;
		assert_int_equal(copy_job_start(fixture->engine, &request, &jobs[i], &error), 0);
	}
	for (i = 0; i < CHUNKS; i++) {
		copy_job_wait(jobs[i], -1);
		assert_int_equal(copy_job_result(jobs[i], &error), 0);
		copy_job_finish(jobs[i]);
	}
	assert_device_equals(fixture);
}

static void empty_job_ends_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	struct copy_job *job;

	fixture->request.chunk_count = 0;
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
	assert_true(copy_job_wait(job, 0));
	assert_int_equal(copy_job_result(job, &error), 0);
	copy_job_finish(job);
}

static void damage_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(pwrite(fixture->file, "?", 1, 6 * CHUNK_BYTES + 5), 1);
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
	assert_int_equal(ftruncate(fixture->file, BYTES - 4096), 0);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), -ENODATA);
	assert_non_null(strstr(error.text, "test.img is truncated"));
	assert_non_null(strstr(error.text, "chunk 8"));
}

static void full_disk_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	int full = open("/dev/full", O_RDWR);

	fill_device(fixture, fixture->contents);
	fixture->request.file = full;
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "disk is full"));
	close(full);
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

static CUresult slow_copy(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	usleep(20000);
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

	driver.cuMemcpyHtoDAsync = slow_copy;
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
	copy_job_wait(first, -1);
	assert_int_equal(copy_job_result(first, &error), -ECANCELED);
	assert_non_null(strstr(error.text, "cancelled"));
	assert_true(atomic_load(&calls) < 30); /* of 35 */
	copy_job_finish(first);
	copy_job_finish(second);
}

static void unattached_engine_refuses_jobs(void **state)
{
	struct copy_request request = {.file_name = "test.img"};
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

static int open_driver(void **state)
{
	struct error_text error;

	(void)state;
	if (cuda_driver_open(&real_driver, getenv("REKINDLE_CUDA_DRIVER"), &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	assert_int_equal(real_driver.cuInit(0), CUDA_SUCCESS);
	assert_int_equal(real_driver.cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
	assert_int_equal(real_driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
	return 0;
}

static int close_driver(void **state)
{
	(void)state;
	real_driver.cuDevicePrimaryCtxRelease(0);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SMALL(name)                                                        \
	{                                                                       \
#name "_with_a_small_ring", name, set_up_small, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stores_and_loads_bit_for_bit),
		TEST_SMALL(stores_and_loads_bit_for_bit),
		TEST(one_worker_is_enough),
		TEST(half_of_the_workers_rest_while_others_need_the_link),
		TEST(loads_a_file_on_disk_whose_pages_are_not_cached),
		TEST(jobs_run_one_after_the_other),
		TEST(empty_job_ends_at_once),
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
