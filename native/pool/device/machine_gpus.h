/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_MACHINE_GPUS_H
#define REKINDLE_POOL_DEVICE_MACHINE_GPUS_H

#include "pool/device/gpu_match.h"

/* The GPUs of a machine, this one or another, and whether a checkpoint finds room on them. */

#define FREE_BYTES_UNKNOWN UINT64_MAX

struct machine_gpus {
	struct machine_gpu {
		int device; /* its ordinal */
		uint8_t uuid[16];
		char name[96];
		uint64_t memory_bytes, free_bytes;
	} gpus[POOL_DEVICES_MAX];
	int count;
	bool simulated;
	int driver_version;
};

/* Starts the driver in this process, and makes no context. */
int machine_gpus_read(const struct settings *settings, struct machine_gpus *machine, struct error_text *error);

/*
 * What gpu_match_make says of the images on that machine, of which no driver is asked. -ENODEV and -ENOTSUP where none of
 * its GPUs will do, -ENOMEM where there is no room now, -EINVAL where the device map is wrong. What is not known to be free
 * counts as free.
 */
int machine_gpus_fit(const struct machine_gpus *machine, const struct gpu_image *const *images, size_t image_count,
		     const char *device_map, struct error_text *error);

#endif
