/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_WORKER_WORKER_SHARING_H
#define REKINDLE_WORKER_WORKER_SHARING_H

#include <stdbool.h>

#include "driver/cuda_driver.h"
#include "support/error_text.h"

/*
 * A piece of device memory, and one of the host's, that the root of a tree of workers makes and its children import. The root
 * writes a number to both with each of its steps, and the children take a step only when they read another one in each than the
 * last time: where it is no longer the same memory they stand still.
 */
struct worker_sharing {
	int ends[4]; /* two for each, on which the root hands descriptors over */
	unsigned int children;
	bool is_root;
	CUdeviceptr addresses[2]; /* of the device's, of the host's */
	unsigned char last[2];
};

/* Before the children are forked. */
int worker_sharing_prepare(struct worker_sharing *sharing, unsigned int children, struct error_text *error);
/* With CUDA, in each of them. */
int worker_sharing_start(struct worker_sharing *sharing, const struct cuda_driver *driver, CUdevice device,
			 bool is_root, struct error_text *error);
/* *goes_on: a step may be taken. */
int worker_sharing_step(struct worker_sharing *sharing, const struct cuda_driver *driver, bool *goes_on,
			struct error_text *error);

#endif
