/* SPDX-License-Identifier: MIT */
#include "hash/chunk_hash.h"
#include "hash/hash_stripe.h"
#include "simcuda/simcuda.h"

/* What kernels do, on the thread of their stream. */

#define POINTER(address) ((void *)(uintptr_t)(address))

bool hash_carry_out(const struct operation *operation)
{
	const struct hash_chunk *chunks = operation->source;
	struct chunk_hash *results = operation->destination;

	if (!device_range_is_mapped(chunks, operation->value * sizeof(*chunks)) ||
	    !device_range_is_mapped(results, operation->value * sizeof(*results)))
		return false;
	for (unsigned int i = 0; i < operation->value; i++) {
		size_t bytes = (size_t)chunks[i].tiles * HASH_TILE_BYTES;

		if (bytes && !device_range_is_mapped(POINTER(chunks[i].address), bytes))
			return false;
		chunk_hash_add(&results[i], POINTER(chunks[i].address), bytes, 0);
	}
	return true;
}
