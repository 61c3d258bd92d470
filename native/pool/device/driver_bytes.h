/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_DRIVER_BYTES_H
#define REKINDLE_POOL_DEVICE_DRIVER_BYTES_H

#include <sys/types.h>

#include "pool/device/pool.h"
#include "store/gpu_image.h"

/*
 * Puts into an image, whose devices are the pool's, what the process holds on each beside the image's allocations (its
 * contexts, small allocations), as far as that is told: a restore elsewhere needs room for it too. The process holds all
 * of its memory still.
 */
void driver_bytes_note(const struct pool *pool, struct gpu_image *image, pid_t pid);

#endif
