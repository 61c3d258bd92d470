/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_MEMORY_IMAGE_CHECK_H
#define REKINDLE_POOL_MEMORY_IMAGE_CHECK_H

#include <stdint.h>

#include "store/gpu_image.h"

/*
 * Flushes a GPU image to the disk and reads it back from there, in the background: CRIU dumps host memory meanwhile, and
 * the pool still holds the memory that the image is of. The run is good only when the check has ended well.
 */

struct image_check;

/* Takes over image and data, also where it fails: *check is NULL then. */
int image_check_start(struct gpu_image *image, struct gpu_image_data data, unsigned int threads,
		      struct image_check **check, struct error_text *error);
/* Waits timeout_ms at most: -EINPROGRESS while it goes on, then its result, as often as it is asked. */
int image_check_wait(struct image_check *check, int timeout_ms, struct error_text *error);
uint64_t image_check_bytes_done(const struct image_check *check);
void image_check_times(struct image_check *check, uint64_t *began, uint64_t *ended);
/* Cancels it where it goes on, and lets go of everything. NULL is allowed. */
void image_check_end(struct image_check *check);

#endif
