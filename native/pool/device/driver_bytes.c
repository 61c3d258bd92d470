/* SPDX-License-Identifier: MIT */
#include "pool/device/driver_bytes.h"

#include "driver/gpu_memory.h"

/* Of the device itself: what an allocation of the host's is copied by holds nothing for it. */
static uint64_t allocated(const struct gpu_image *image, uint32_t device)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		if (image->allocations[i].device == device && !image->allocations[i].on_host)
			bytes += image->allocations[i].bytes;
	return bytes;
}

void driver_bytes_note(const struct pool *pool, struct gpu_image *image, pid_t pid)
{
	uint64_t held, own;
	uint32_t device;

	for (device = 0; device < image->device_count; device++) {
		if (!gpu_memory_of_process(&pool->driver, &pool->devices[device].uuid, pid, &held))
			continue;
		own = allocated(image, device);
		image->devices[device].driver_bytes = held > own ? held - own : 0;
	}
}
