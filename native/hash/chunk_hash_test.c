/* SPDX-License-Identifier: MIT */
#include "hash/chunk_hash.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define BYTES (16 * CHUNK_HASH_UNIT)

static unsigned char data[BYTES];

static int set_up(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < BYTES; i++)
		data[i] = (unsigned char)((i * 2654435761u) >> 23);
	return 0;
}

static struct chunk_hash hash_of(const void *bytes, size_t count)
{
	struct chunk_hash hash = {0, 0};

	chunk_hash_add(&hash, bytes, count, 0);
	return hash;
}

/* It stands in memory only, and not in images, and yet must not change by mistake: the kernel's text is committed. */
static void it_is_what_it_was(void **state)
{
	struct chunk_hash hash = hash_of(data, BYTES);

	(void)state;
	assert_int_equal(hash.low, UINT64_C(0x60f62b9ba1d505e1));
	assert_int_equal(hash.high, UINT64_C(0xbe6babebf9bc64cf));
}

static void parts_may_come_in_any_order(void **state)
{
	struct chunk_hash whole = hash_of(data, BYTES), parts = {0, 0};

	(void)state;
	chunk_hash_add(&parts, data + 3 * CHUNK_HASH_UNIT, 13 * CHUNK_HASH_UNIT, 3 * CHUNK_HASH_UNIT);
	chunk_hash_add(&parts, data, CHUNK_HASH_UNIT, 0);
	chunk_hash_add(&parts, data + CHUNK_HASH_UNIT, 2 * CHUNK_HASH_UNIT, CHUNK_HASH_UNIT);
	assert_true(chunk_hash_equals(&whole, &parts));
}

static void one_bit_anywhere_changes_both_halves(void **state)
{
	struct chunk_hash before = hash_of(data, BYTES), after;
	uint32_t bit;

	(void)state;
	for (bit = 0; bit < BYTES * 8; bit += 61) {
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		after = hash_of(data, BYTES);
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_not_equal(before.low, after.low);
		assert_int_not_equal(before.high, after.high);
	}
}

/* As where pages or rows of a matrix change places. */
static void contents_that_moved_are_others(void **state)
{
	static const size_t sizes[] = {8, 16, 128, 512, CHUNK_HASH_UNIT};
	struct chunk_hash before = hash_of(data, BYTES), after;
	unsigned char kept[CHUNK_HASH_UNIT];
	size_t i, size;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size = sizes[i];
		memcpy(kept, data, size);
		memcpy(data, data + size, size);
		memcpy(data + size, kept, size);
		after = hash_of(data, BYTES);
		assert_int_not_equal(before.low, after.low);
		assert_int_not_equal(before.high, after.high);
		set_up(state);
	}
}

static void zeros_of_other_sizes_are_others(void **state)
{
	static const unsigned char zeros[4 * CHUNK_HASH_UNIT];
	struct chunk_hash hashes[5];
	size_t i, j;

	(void)state;
	for (i = 0; i < 5; i++)
		hashes[i] = hash_of(zeros, i * CHUNK_HASH_UNIT);
	for (i = 0; i < 5; i++)
		for (j = 0; j < i; j++)
			assert_false(chunk_hash_equals(&hashes[i], &hashes[j]));
}

/* Every bit of the result is one in about half of all cases. */
static void the_bits_of_the_result_are_balanced(void **state)
{
	enum { TRIES = 4096 };
	unsigned int ones[128] = {0}, bit;
	unsigned char tile[CHUNK_HASH_UNIT] = {0};
	struct chunk_hash hash;
	uint32_t i;

	(void)state;
	for (i = 0; i < TRIES; i++) {
		memcpy(tile, &i, sizeof(i));
		hash = hash_of(tile, sizeof(tile));
		for (bit = 0; bit < 128; bit++)
			ones[bit] += (unsigned int)((bit < 64 ? hash.low >> bit : hash.high >> (bit - 64)) & 1);
	}
	/* Six standard deviations. */
	for (bit = 0; bit < 128; bit++)
		assert_in_range(ones[bit], TRIES / 2 - 192, TRIES / 2 + 192);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_is_what_it_was),
		TEST(parts_may_come_in_any_order),
		TEST(one_bit_anywhere_changes_both_halves),
		TEST(contents_that_moved_are_others),
		TEST(zeros_of_other_sizes_are_others),
		TEST(the_bits_of_the_result_are_balanced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
