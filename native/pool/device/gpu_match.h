/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_GPU_MATCH_H
#define REKINDLE_POOL_DEVICE_GPU_MATCH_H

#include "pool/device/pool.h"
#include "store/gpu_image.h"

/*
 * Which GPU of this machine stands for each one of the machine of the dump, for all images of a run alike: the one that
 * was chosen; else the same one where it is there and has room; else another of the same type that no other GPU of the
 * images needs. The driver takes each GPU at most once.
 */
struct gpu_match_request {
	const struct gpu_image *const *images;
	size_t image_count;
	const char *device_map; /* see settings/device_map.h; "" for no choice */
	bool by_room;		/* without a choice: another one where the same one is full */
	/*
	 * Of a machine that is only told about, what is free of each device of the pool: no driver is asked then, and each GPU
	 * that is to hold something has to have room. NULL: of this machine.
	 */
	const uint64_t *free_bytes;
};

/* A GPU of the machine of the dump. */
struct gpu_matched {
	const struct gpu_image_device *old;
	uint64_t bytes;		  /* of allocations that the images hold on it, all together */
	uint64_t driver_bytes;	  /* that the driver needs beside them, as far as it is known */
	bool held;		  /* there are such */
	bool chosen;		  /* by the device map */
	bool no_room;		  /* the same one is here and full */
	struct pool_device *here; /* what stands for it; NULL for none, only where it holds nothing */
};

struct gpu_match {
	struct gpu_matched *gpus;
	uint32_t count;
	CUcheckpointGpuPair *pairs; /* for the driver's restore; pair_count 0 where every GPU is the same one */
	unsigned int pair_count;
	bool for_room;	 /* some have no_room */
	char moved[768]; /* which of those that hold something are others, and why; "" for none */
};

/*
 * Fails, with what is there and what is needed, where a GPU that holds allocations has none to stand for it (-ENODEV), and
 * where the choice cannot be met: -EINVAL, -ENOTSUP for another type, -ENOMEM where the chosen one has no room. Looks for room only on
 * GPUs that are to hold something, which may warm them. The driver must be ready. The images must outlive it.
 */
int gpu_match_make(struct pool *pool, const struct gpu_match_request *request, struct gpu_match *match,
		   struct error_text *error);
/* What stands for the GPU of the dump with that UUID, or NULL. */
struct pool_device *gpu_match_find(const struct gpu_match *match, const uint8_t uuid[16]);
void gpu_match_free(struct gpu_match *match);

#endif
