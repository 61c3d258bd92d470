/* SPDX-License-Identifier: MIT */
#include "pool/gpu_match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_taken(const struct gpu_match *match, uint32_t count, const struct pool_device *device)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (match->devices[i] == device)
			return true;
	return false;
}

static bool holds_allocations(const struct gpu_image *image, uint32_t device)
{
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		if (image->allocations[i].device == device)
			return true;
	return false;
}

static struct pool_device *find_substitute(struct pool *pool, const struct gpu_image *image,
					   const struct gpu_match *match, uint32_t index)
{
	struct pool_device *device;
	int i;

	for (i = 0; i < pool->device_count; i++) {
		device = &pool->devices[i];
		if (!strcmp(device->name, image->devices[index].name) &&
		    device->memory_bytes >= image->devices[index].memory_bytes &&
		    !is_taken(match, image->device_count, device))
			return device;
	}
	return NULL;
}

int gpu_match_make(struct pool *pool, const struct gpu_image *image, struct gpu_match *match, struct error_text *error)
{
	bool same = true;
	uint32_t i;

	*match = (struct gpu_match){.devices = calloc(image->device_count + 1, sizeof(*match->devices)),
				    .pairs = calloc(image->device_count + 1, sizeof(*match->pairs))};
	if (!match->devices || !match->pairs) {
		gpu_match_free(match);
		return fail(error, -ENOMEM, "Out of memory");
	}
	for (i = 0; i < image->device_count; i++)
		match->devices[i] = pool_device_find(pool, image->devices[i].uuid);
	for (i = 0; i < image->device_count; i++) {
		if (match->devices[i])
			continue;
		same = false;
		match->devices[i] = find_substitute(pool, image, match, i);
		if (!match->devices[i] && holds_allocations(image, i)) {
			fail(error, -ENODEV,
			     "The image was made on a GPU \"%s\" with %llu MiB, and this machine has %s%s%s; restore "
			     "it on a "
			     "machine with the same type of GPU",
			     image->devices[i].name, (unsigned long long)(image->devices[i].memory_bytes >> 20),
			     pool->device_count ? "\"" : "none", pool->device_count ? pool->devices[0].name : "",
			     pool->device_count ? "\" or too few of them" : "");
			gpu_match_free(match);
			return -ENODEV;
		}
	}
	for (i = 0; !same && i < image->device_count; i++) {
		if (!match->devices[i])
			continue;
		memcpy(match->pairs[match->pair_count].oldUuid.bytes, image->devices[i].uuid, 16);
		match->pairs[match->pair_count].newUuid = match->devices[i]->uuid;
		match->pair_count++;
	}
	return 0;
}

void gpu_match_free(struct gpu_match *match)
{
	free(match->devices);
	free(match->pairs);
	*match = (struct gpu_match){.devices = NULL};
}
