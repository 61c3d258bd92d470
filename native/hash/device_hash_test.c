/* SPDX-License-Identifier: MIT */
#include "hash/device_hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* On the simulated driver, or, with REKINDLE_TEST_REAL_DRIVER=1 and no other driver named, on a real one. */

#define MEBIBYTE 1048576u
#define BYTES (16 * MEBIBYTE)
#define CHUNKS 5u

static struct cuda_driver driver;
static CUdeviceptr memory;
static unsigned char *contents;
static struct device_hash *hash;

static const uint64_t sizes[CHUNKS] = {4 * MEBIBYTE, 2 * MEBIBYTE, CHUNK_HASH_UNIT, 3 * CHUNK_HASH_UNIT, 6 * MEBIBYTE};

static void make_chunks(struct device_chunk *chunks)
{
	CUdeviceptr at = memory;
	uint32_t i;

	for (i = 0; i < CHUNKS; i++) {
		chunks[i] = (struct device_chunk){at, sizes[i]};
		at += sizes[i];
	}
}

static void expect(const struct chunk_hash *hashes)
{
	unsigned char *at = contents;
	uint32_t i;

	for (i = 0; i < CHUNKS; i++) {
		struct chunk_hash own = {0, 0};

		chunk_hash_add(&own, at, sizes[i], 0);
		assert_int_equal(own.low, hashes[i].low);
		assert_int_equal(own.high, hashes[i].high);
		at += sizes[i];
	}
}

static void the_device_computes_what_the_processor_does(void **state)
{
	struct device_chunk chunks[CHUNKS];
	struct chunk_hash hashes[CHUNKS], again[CHUNKS];
	struct error_text error;

	(void)state;
	make_chunks(chunks);
	assert_int_equal(device_hash_chunks(hash, chunks, CHUNKS, hashes, &error), 0);
	expect(hashes);
	assert_int_equal(device_hash_chunks(hash, chunks, CHUNKS, again, &error), 0);
	assert_memory_equal(hashes, again, sizeof(hashes));
	assert_int_equal(device_hash_chunks(hash, chunks, 0, hashes, &error), 0);
}

static void a_changed_byte_shows_in_its_chunk(void **state)
{
	struct device_chunk chunks[CHUNKS];
	struct chunk_hash before[CHUNKS], after[CHUNKS];
	struct error_text error;
	uint32_t i;

	(void)state;
	make_chunks(chunks);
	assert_int_equal(device_hash_chunks(hash, chunks, CHUNKS, before, &error), 0);
	assert_int_equal(
		driver.cuMemsetD8(chunks[3].address + chunks[3].bytes - 1,
				  (unsigned char)(contents[chunks[3].address - memory + chunks[3].bytes - 1] ^ 1), 1),
		CUDA_SUCCESS);
	assert_int_equal(device_hash_chunks(hash, chunks, CHUNKS, after, &error), 0);
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(chunk_hash_equals(&before[i], &after[i]), i != 3);
	assert_int_equal(driver.cuMemcpyHtoD(memory, contents, BYTES), CUDA_SUCCESS);
}

/* More than a launch takes: each of them is a tile. */
static void many_chunks_take_several_launches(void **state)
{
	size_t count = 40000, i;
	struct device_chunk *chunks = calloc(count, sizeof(*chunks));
	struct chunk_hash *hashes = calloc(count, sizeof(*hashes));
	struct chunk_hash own;
	struct error_text error;

	(void)state;
	for (i = 0; i < count; i++)
		chunks[i] = (struct device_chunk){memory + i % 4096 * CHUNK_HASH_UNIT, CHUNK_HASH_UNIT};
	assert_int_equal(device_hash_chunks(hash, chunks, count, hashes, &error), 0);
	for (i = 0; i < count; i += 997) {
		own = (struct chunk_hash){0, 0};
		chunk_hash_add(&own, contents + i % 4096 * CHUNK_HASH_UNIT, CHUNK_HASH_UNIT, 0);
		assert_true(chunk_hash_equals(&own, &hashes[i]));
	}
	free(chunks);
	free(hashes);
}

static CUresult too_old(CUmodule *module, const void *image)
{
	(void)module;
	(void)image;
	return CUDA_ERROR_NOT_SUPPORTED;
}

static void without_the_kernel_it_says_so(void **state)
{
	struct cuda_driver older = driver;
	struct device_hash *other = NULL;
	struct error_text error;

	(void)state;
	older.cuModuleLoadData = too_old;
	assert_int_equal(device_hash_open(&other, &older, &error), -EOPNOTSUPP);
	assert_non_null(strstr(error.text, "cuModuleLoadData"));
	assert_null(other);
}

static int open_driver(void **state)
{
	const char *path = getenv("REKINDLE_TEST_REAL_DRIVER") ? NULL : getenv("REKINDLE_CUDA_DRIVER");
	struct error_text error;
	CUcontext context;
	uint32_t i;

	(void)state;
	if (cuda_driver_open(&driver, path, &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	assert_int_equal(driver.cuInit(0), CUDA_SUCCESS);
	assert_int_equal(driver.cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
	assert_int_equal(driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
	assert_int_equal(driver.cuMemAlloc(&memory, BYTES), CUDA_SUCCESS);
	contents = malloc(BYTES);
	for (i = 0; i < BYTES; i++)
		contents[i] = (unsigned char)((i * 2654435761u) >> 23);
	assert_int_equal(driver.cuMemcpyHtoD(memory, contents, BYTES), CUDA_SUCCESS);
	if (device_hash_open(&hash, &driver, &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	return 0;
}

static int close_driver(void **state)
{
	(void)state;
	device_hash_close(hash);
	free(contents);
	driver.cuMemFree(memory);
	driver.cuDevicePrimaryCtxRelease(0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_device_computes_what_the_processor_does),
		cmocka_unit_test(a_changed_byte_shows_in_its_chunk),
		cmocka_unit_test(many_chunks_take_several_launches),
		cmocka_unit_test(without_the_kernel_it_says_so),
	};

	return cmocka_run_group_tests(tests, open_driver, close_driver);
}
