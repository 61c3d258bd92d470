/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_GPU_MATCH_H
#define REKINDLE_POOL_GPU_MATCH_H

#include "image/gpu_image.h"
#include "pool/pool.h"

/*
 * Which GPU of this machine stands for each one of the machine of the dump: the same one where it is there, otherwise
 * another of the same type that no other GPU of the image needs.
 */
struct gpu_match {
	struct pool_device **devices; /* one for each device of the image, NULL where there is none for it */
	CUcheckpointGpuPair *pairs;   /* for the driver's restore; pair_count 0 where every GPU is the same one */
	unsigned int pair_count;
};

/* Fails where a GPU that holds allocations of the image has none to stand for it. The driver must be ready. */
int gpu_match_make(struct pool *pool, const struct gpu_image *image, struct gpu_match *match, struct error_text *error);
void gpu_match_free(struct gpu_match *match);

#endif
