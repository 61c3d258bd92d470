/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_GPU_IMAGES_H
#define REKINDLE_API_GPU_IMAGES_H

#include <stddef.h>

#include "rekindle.h"
#include "store/checkpoint_manifest.h"
#include "store/gpu_image.h"

/* The manifests of a folder: the checkpoint's, NULL where it has none, and those of the GPU images. */
struct gpu_images {
	int folder;
	struct checkpoint_manifest *checkpoint;
	struct gpu_image **images;
	size_t count;
};

/* Files that the checkpoint's manifest lists are looked at. Undo with gpu_images_close; on a failure there is nothing to undo. */
int gpu_images_open(const char *directory, struct gpu_images *gpu, struct rekindle_error *error);
void gpu_images_close(struct gpu_images *gpu);

#endif
