/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_HASH_DEVICE_HASH_H
#define REKINDLE_HASH_DEVICE_HASH_H

#include "driver/cuda_driver.h"
#include "hash/chunk_hash.h"
#include "support/error_text.h"

/*
 * The hash of chunks that lie in device memory, computed there: 15 GiB in about 5 ms on an H100, which is what the memory
 * itself can be read at. The context in which it was opened is current on the calling thread for all of these.
 */
struct device_hash;

/* Loads the kernel. Fails where the device is too old for it, or the driver has no compiler for it. */
int device_hash_open(struct device_hash **hash, const struct cuda_driver *driver, struct error_text *error);

struct device_chunk {
	CUdeviceptr address;
	uint64_t bytes; /* a multiple of CHUNK_HASH_UNIT */
};

/* Waits until all of them are computed. What writes to the memory meanwhile makes the result no hash of anything. */
int device_hash_chunks(struct device_hash *hash, const struct device_chunk *chunks, size_t count,
		       struct chunk_hash *hashes, struct error_text *error);

/* NULL is allowed. */
void device_hash_close(struct device_hash *hash);

#endif
