/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_SHARED_IMAGES_H
#define REKINDLE_POOL_RUN_SHARED_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/gpu_image.h"

/*
 * The GPU images of processes that share device memory belong together: whoever brings one of these back learns from the
 * images of the others that its memory is theirs as well, and finds it there where its owner has ended. So none of them
 * goes before each of those processes has its memory, or has ended.
 */
struct shared_images {
	struct gpu_image_name *names;	/* of those that are in the folder; owned */
	size_t count;			/* 1: it shares with nobody; 0: the folder has no such image */
	bool needed;			/* of several: a process of them lacks its memory, or that cannot be told */
	struct gpu_image_holder holder; /* whose the first one is, as the dump saw it; pid 0: not known */
};

/* The image with this id, which comes first, and all that belong together with it. Returns 0 or a negative errno code. */
int shared_images_find(int folder, const uint8_t id[16], struct shared_images *images, struct error_text *error);
bool shared_images_have(const struct shared_images *images, const uint8_t id[16]);
void shared_images_free(struct shared_images *images);

#endif
