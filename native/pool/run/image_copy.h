/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_IMAGE_COPY_H
#define REKINDLE_POOL_RUN_IMAGE_COPY_H

#include "pool/run/pool_run.h"

/* Device memory on its way into the files of an image, by the engines of all devices at once. */
struct image_copy {
	struct run *run;
	struct run_process *process;
	uint32_t phase; /* enum phase, that is shown meanwhile */
	struct gpu_image *image;
	const struct gpu_image_data *data;
	const struct held_memory *memory; /* of the image's allocations, mapped */
	bool hash, overwrite;		  /* see struct copy_request */

	/* By device. Of the chunks, wanted are copied: the first ones. */
	struct copy_chunk *chunks[POOL_DEVICES_MAX];
	uint32_t *owners[POOL_DEVICES_MAX]; /* of each chunk: the index of its allocation */
	size_t counts[POOL_DEVICES_MAX], wanted[POOL_DEVICES_MAX];
	struct copy_job *jobs[POOL_DEVICES_MAX];
	uint64_t bytes;	      /* of those wanted */
	uint64_t bytes_limit; /* of a copy that was begun: that will ever come */
};

/* All chunks that are not inherited, in the manifest's order, and all of them wanted. After this image_copy_free has to follow in any case. */
int image_copy_prepare(struct image_copy *copy, struct error_text *error);
/* Copies those that are wanted, until nobody wants the dump any more. */
int image_copy_run(struct image_copy *copy, struct error_text *error);

/*
 * The same, of allocations that come one after another, all of them wanted: image_copy_begin, image_copy_add for each in the
 * manifest's order with its memory mapped at that address, image_copy_tell now and then, as the copy begins with what it is
 * told of, and image_copy_end. image_copy_free ends it early, and leaves a copy that can be prepared, or begun, anew.
 */
void image_copy_begin(struct image_copy *copy, uint64_t bytes_limit);
int image_copy_add(struct image_copy *copy, uint32_t allocation, CUdeviceptr address, struct error_text *error);
void image_copy_tell(struct image_copy *copy);
int image_copy_end(struct image_copy *copy, struct error_text *error);
/* Ends what is under way. */
void image_copy_free(struct image_copy *copy);

/* What is known of all chunks then goes into the manifest. */
void image_copy_keep(const struct image_copy *copy);
/* A failure that the driver's own checkpoint would meet as well, or that means that nobody wants the dump any more. */
bool image_copy_failed_for_good(int result);

#endif
