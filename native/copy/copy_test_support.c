/* SPDX-License-Identifier: MIT */
#include "copy/copy_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "copy/page_cache.h"

struct cuda_driver real_driver;
struct cuda_driver driver; /* the same with functions exchanged by a test */
CUcontext context;

/* What the file system does; linked with --wrap for each of these. */

ssize_t __real_pread(int file, void *buffer, size_t bytes, off_t offset);
ssize_t __real_pwrite(int file, const void *buffer, size_t bytes, off_t offset);
bool __real_file_is_cold(int file, uint64_t offset, uint64_t bytes);
int __real_file_open_direct(int file);

struct disk disk;

static bool is_interrupted(void)
{
	if (atomic_load(&disk.interruptions) <= 0 || atomic_fetch_sub(&disk.interruptions, 1) <= 0)
		return false;
	errno = EINTR;
	return true;
}

static size_t limited(size_t bytes)
{
	size_t most = (size_t)atomic_load(&disk.at_most);

	return most && bytes > most ? most : bytes;
}

ssize_t __wrap_pread(int file, void *buffer, size_t bytes, off_t offset)
{
	if (is_interrupted())
		return -1;
	atomic_fetch_add(file == atomic_load(&disk.direct) ? &disk.direct_reads : &disk.reads, 1);
	if (file == atomic_load(&disk.direct) && disk.direct_fails) {
		errno = EINVAL;
		return -1;
	}
	return __real_pread(file, buffer, limited(bytes), offset);
}

ssize_t __wrap_pwrite(int file, const void *buffer, size_t bytes, off_t offset)
{
	return is_interrupted() ? -1 : __real_pwrite(file, buffer, limited(bytes), offset);
}

bool __wrap_file_is_cold(int file, uint64_t offset, uint64_t bytes)
{
	return disk.cold || __real_file_is_cold(file, offset, bytes);
}

int __wrap_file_open_direct(int file)
{
	char path[64];

	if (!disk.cold)
		return __real_file_open_direct(file);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	atomic_store(&disk.direct, open(path, O_RDONLY | O_CLOEXEC));
	assert_true(atomic_load(&disk.direct) >= 0);
	return atomic_load(&disk.direct);
}

static int set_up_with(void **state, unsigned int workers, size_t ring_bytes)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error_text error;
	uint32_t i;

	driver = real_driver;
	memset(&disk, 0, sizeof(disk));
	disk.direct = -1;
	assert_int_equal(copy_engine_create(&fixture->engine, workers, ring_bytes, &error), 0);
	assert_int_equal(copy_engine_attach(fixture->engine, &driver, context, &error), 0);
	assert_int_equal(copy_engine_workers(fixture->engine), workers);
	assert_true(copy_engine_ring_bytes(fixture->engine) >= ring_bytes);
	assert_int_equal(driver.cuMemAlloc(&fixture->device, BYTES), CUDA_SUCCESS);
	fixture->file.name = "test.img";
	fixture->file.descriptor = memfd_create("copy-engine-test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fixture->file.descriptor, BYTES), 0);
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
		.files = &fixture->file,
		.file_count = 1,
		.chunks = fixture->chunks,
		.chunk_count = CHUNKS,
		.verify = true,
	};
	*state = fixture;
	return 0;
}

int set_up(void **state)
{
	return set_up_with(state, 4, 8 * MEBIBYTE);
}

int set_up_small(void **state)
{
	return set_up_with(state, 7, 1); /* the smallest ring there is */
}

int tear_down(void **state)
{
	struct fixture *fixture = *state;

	copy_engine_destroy(fixture->engine);
	real_driver.cuMemFree(fixture->device);
	close(fixture->file.descriptor);
	free(fixture->contents);
	free(fixture);
	return 0;
}

int run(struct fixture *fixture, enum copy_direction direction, struct error_text *error)
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

void fill_device(struct fixture *fixture, const unsigned char *contents)
{
	assert_int_equal(real_driver.cuMemcpyHtoD(fixture->device, contents, BYTES), CUDA_SUCCESS);
}

void assert_device_equals(struct fixture *fixture)
{
	unsigned char *read = malloc(BYTES);

	assert_int_equal(real_driver.cuMemcpyDtoH(read, fixture->device, BYTES), CUDA_SUCCESS);
	assert_int_equal(memcmp(read, fixture->contents, BYTES), 0);
	free(read);
}

int open_driver(void **state)
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

int close_driver(void **state)
{
	(void)state;
	real_driver.cuDevicePrimaryCtxRelease(0);
	return 0;
}
