/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_MEMORY_MEMORY_HASHES_H
#define REKINDLE_POOL_MEMORY_MEMORY_HASHES_H

#include "hash/chunk_hash.h"
#include "pool/memory/held_memory.h"
#include "store/gpu_image.h"

/*
 * The hashes of device memory that an image is of, chunk by chunk, computed on the GPU in a few milliseconds: whether it is
 * still what it was.
 */

/* All-zero: none. In the order of the image's allocations and of their chunks. */
struct memory_hashes {
	struct chunk_hash *chunks;
	size_t count;
};

/* Asked between some chunks and the next ones: not 0 is a reason to stop there. */
struct hash_look {
	int (*look)(const void *context, struct error_text *error);
	const void *context;
};

/* memory: one for each allocation of the image, mapped here. look: NULL for none. Whoever makes them frees them. */
int memory_hashes_make(const struct gpu_image *image, const struct held_memory *memory, const struct hash_look *look,
		       struct memory_hashes *hashes, struct error_text *error);
bool memory_hashes_equal(const struct memory_hashes *one, const struct memory_hashes *other);
/* Are they those that the image has, as far as it has any? */
bool memory_hashes_are_of(const struct memory_hashes *hashes, const struct gpu_image *image);
void memory_hashes_free(struct memory_hashes *hashes);

#endif
