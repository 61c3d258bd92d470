/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_CHECKPOINT_GPU_IMAGES_H
#define REKINDLE_STORE_CHECKPOINT_GPU_IMAGES_H

#include "store/gpu_image.h"

/*
 * The GPU images of the checkpoint in a folder: those that its manifest lists, whatever else lies there; without a
 * manifest all that are there. By pid and id; the caller frees *names.
 */
int checkpoint_gpu_images(int folder, struct gpu_image_name **names, size_t *count, struct error_text *error);
/* Does the checkpoint there have a GPU image with this id? Says so, too, where the manifest cannot be read. */
bool checkpoint_has_gpu_image(int folder, const uint8_t id[16]);
/* Are the contents of some GPU image that lies in images in no file of it, but in a pool? */
bool gpu_images_are_in_pool(int images);
/*
 * Of a dump that no pool has checked: every GPU image that lies in images, see gpu_image_check_on_disk. Returns 0, or a
 * negative errno code for the first one that is not good.
 */
int gpu_images_check_on_disk(int images, unsigned int threads, struct error_text *error);

#endif
