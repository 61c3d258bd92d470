/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_HASH_CHUNK_HASH_H
#define REKINDLE_HASH_CHUNK_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A hash of 128 bits that processor and GPU compute alike, for the chunks of a GPU image. What it is good for, and how it is
 * computed: hash/hash_stripe.h.
 */

#define CHUNK_HASH_UNIT 4096u

/* All zero at first. */
struct chunk_hash {
	uint64_t low, high;
};

/* Adds a part of the chunk, in whatever order they come; `at` and `bytes` are multiples of CHUNK_HASH_UNIT. */
void chunk_hash_add(struct chunk_hash *hash, const void *data, size_t bytes, uint64_t at);

static inline bool chunk_hash_equals(const struct chunk_hash *one, const struct chunk_hash *other)
{
	return one->low == other->low && one->high == other->high;
}

#endif
