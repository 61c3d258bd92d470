/* SPDX-License-Identifier: MIT */
#include "copy/copy_test_support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash/device_hash.h"

/* What copies from memory that is in use: hashes of what was written, and files that have something there already. */

static void expect_hashes_of_file(const struct fixture *fixture)
{
	char *read = malloc(CHUNK_BYTES);
	uint32_t i;

	for (i = 0; i < CHUNKS; i++) {
		const struct copy_chunk *chunk = &fixture->chunks[i];
		struct chunk_hash hash = {0, 0};

		assert_int_equal(pread(fixture->file.descriptor, read, chunk->bytes, (off_t)chunk->file_offset),
				 chunk->bytes);
		chunk_hash_add(&hash, read, chunk->bytes, 0);
		assert_true(chunk_hash_equals(&hash, &chunk->hash));
	}
	free(read);
}

static void the_hash_is_that_of_the_device(void **state)
{
	struct fixture *fixture = *state;
	struct device_chunk chunks[CHUNKS];
	struct chunk_hash hashes[CHUNKS];
	struct device_hash *hash;
	struct error_text error;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	fixture->request.hash = true;
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	expect_hashes_of_file(fixture);
	for (i = 0; i < CHUNKS; i++)
		chunks[i] = (struct device_chunk){fixture->chunks[i].device_address, fixture->chunks[i].bytes};
	assert_int_equal(device_hash_open(&hash, &driver, &error), 0);
	assert_int_equal(device_hash_chunks(hash, chunks, CHUNKS, hashes, &error), 0);
	device_hash_close(hash);
	for (i = 0; i < CHUNKS; i++)
		assert_true(chunk_hash_equals(&hashes[i], &fixture->chunks[i].hash));
}

/* As much as can be written while a test lasts. */
static atomic_bool writing;

static void *write_to_device(void *argument)
{
	struct fixture *fixture = argument;
	unsigned char value = 0;
	CUstream stream;

	assert_int_equal(real_driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
	assert_int_equal(real_driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	while (atomic_load(&writing)) {
		value++;
		assert_int_equal(real_driver.cuMemsetD8Async(fixture->device, value, BYTES, stream), CUDA_SUCCESS);
		assert_int_equal(real_driver.cuStreamSynchronize(stream), CUDA_SUCCESS);
	}
	real_driver.cuStreamDestroy(stream);
	return NULL;
}

static void the_hash_is_of_the_file_whatever_the_device_does(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	pthread_t thread;
	int round;

	fixture->request.hash = true;
	fixture->request.overwrite = true;
	for (round = 0; round < 5; round++) {
		atomic_store(&writing, true);
		assert_int_equal(pthread_create(&thread, NULL, write_to_device, fixture), 0);
		assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
		atomic_store(&writing, false);
		pthread_join(thread, NULL);
		expect_hashes_of_file(fixture);
	}
}

/* In the middle of a chunk, and one that is zero as a whole. */
static void zeros_go_over_what_was_there(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	memset(fixture->contents, 0x55, BYTES);
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	memset(fixture->contents + CHUNK_BYTES + 65536, 0, CHUNK_BYTES - 65536);
	memset(fixture->contents + 2 * CHUNK_BYTES, 0, CHUNK_BYTES);
	fill_device(fixture, fixture->contents);
	fixture->request.overwrite = true;
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_true(fixture->chunks[2].zero);
	assert_false(fixture->chunks[1].zero);
	memset(fixture->contents, 0x77, BYTES);
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	memset(fixture->contents, 0x55, BYTES);
	memset(fixture->contents + CHUNK_BYTES + 65536, 0, CHUNK_BYTES - 65536);
	memset(fixture->contents + 2 * CHUNK_BYTES, 0, CHUNK_BYTES);
	assert_device_equals(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_hash_is_that_of_the_device),
		TEST_SMALL(the_hash_is_that_of_the_device),
		TEST(the_hash_is_of_the_file_whatever_the_device_does),
		TEST(zeros_go_over_what_was_there),
		TEST_SMALL(zeros_go_over_what_was_there),
	};

	return cmocka_run_group_tests(tests, open_driver, close_driver);
}
