/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_GPU_CHOICE_H
#define REKINDLE_POOL_DEVICE_GPU_CHOICE_H

#include "pool/device/gpu_match.h"
#include "settings/device_map.h"

/* Puts the GPUs of a device map into a match of which nothing is placed yet. Model and memory of each are compared. */
int gpu_choice_apply(struct pool *pool, const char *device_map, struct gpu_match *match, struct error_text *error);

/* Can it stand for that one? */
bool gpu_is_of_type(const struct pool_device *device, const struct gpu_image_device *old);
/* A UUID as nvidia-smi prints it. */
void gpu_name_write(const uint8_t uuid[16], char text[DEVICE_NAME_TEXT_MAX]);

#endif
