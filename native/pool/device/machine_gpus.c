/* SPDX-License-Identifier: MIT */
#include "pool/device/machine_gpus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "driver/gpu_memory.h"

int machine_gpus_read(const struct settings *settings, struct machine_gpus *machine, struct error_text *error)
{
	const struct pool_device *device;
	struct machine_gpu *gpu;
	struct pool *pool;
	int result = pool_create(&pool, settings, error);

	if (result)
		return result;
	result = pool_driver_prepare(pool, error);
	if (result)
		goto out;
	machine->count = pool->device_count;
	machine->simulated = pool->driver.simulated;
	machine->driver_version = pool->driver.version;
	for (int i = 0; i < pool->device_count; i++) {
		device = &pool->devices[i];
		gpu = &machine->gpus[i];
		gpu->device = device->device;
		memcpy(gpu->uuid, device->uuid.bytes, sizeof(gpu->uuid));
		memcpy(gpu->name, device->name, sizeof(gpu->name));
		gpu->memory_bytes = device->memory_bytes;
		if (!gpu_memory_free(&pool->driver, &device->uuid, &gpu->free_bytes))
			gpu->free_bytes = FREE_BYTES_UNKNOWN;
	}
out:
	pool_destroy(pool);
	return result;
}

/* A pool without a driver, with the devices that it would find on that machine. */
static int stand_for(const struct machine_gpus *machine, struct pool **pool, uint64_t *free_bytes,
		     struct error_text *error)
{
	const struct settings settings = {.streams = 1};
	struct pool_device *device;
	int result = pool_create(pool, &settings, error);

	if (result)
		return result;
	(*pool)->device_count = machine->count;
	for (int i = 0; i < machine->count; i++) {
		device = &(*pool)->devices[i];
		device->pool = *pool;
		device->device = machine->gpus[i].device;
		memcpy(device->uuid.bytes, machine->gpus[i].uuid, sizeof(device->uuid.bytes));
		memcpy(device->name, machine->gpus[i].name, sizeof(device->name));
		device->memory_bytes = machine->gpus[i].memory_bytes;
		free_bytes[i] = machine->gpus[i].free_bytes;
	}
	return 0;
}

/* Images that hold nothing do not say which GPU they need, but that they need one. */
static int check_any(const struct gpu_match *match, struct error_text *error)
{
	for (uint32_t i = 0; i < match->count; i++)
		if (match->gpus[i].here)
			return 0;
	if (!match->count)
		return 0;
	return fail(error, -ENODEV,
		    "The processes were on a GPU \"%s\" with %llu MiB, and none of these GPUs can stand for it",
		    match->gpus[0].old->name, (unsigned long long)(match->gpus[0].old->memory_bytes >> 20));
}

int machine_gpus_fit(const struct machine_gpus *machine, const struct gpu_image *const *images, size_t image_count,
		     const char *device_map, struct error_text *error)
{
	uint64_t free_bytes[POOL_DEVICES_MAX];
	const struct gpu_match_request request = {images, image_count, device_map, true, free_bytes};
	struct gpu_match match;
	struct pool *pool;
	int result;

	for (size_t i = 0; i < image_count; i++)
		if (images[i]->simulated != machine->simulated)
			return fail(error, -ENOTSUP, "The image is from a %s GPU, and these are %s ones",
				    images[i]->simulated ? "simulated" : "real",
				    machine->simulated ? "simulated" : "real");
	result = stand_for(machine, &pool, free_bytes, error);
	if (result)
		return result;
	result = gpu_match_make(pool, &request, &match, error);
	if (result == 0) {
		result = check_any(&match, error);
		gpu_match_free(&match);
	}
	pool_destroy(pool);
	return result;
}
