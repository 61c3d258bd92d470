/* SPDX-License-Identifier: MIT */
#include "pool/device/gpu_match.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/device/gpu_choice.h"
#include "support/log.h"

static struct gpu_matched *find_old(const struct gpu_match *match, const uint8_t uuid[16])
{
	uint32_t i;

	for (i = 0; i < match->count; i++)
		if (!memcmp(match->gpus[i].old->uuid, uuid, 16))
			return &match->gpus[i];
	return NULL;
}

/* The GPUs of all images, each once, with what they hold. */
static int collect(const struct gpu_match_request *request, struct gpu_match *match, struct error_text *error)
{
	const struct gpu_image *image;
	struct gpu_matched *gpu;
	size_t capacity = 1, i;
	uint32_t k;

	for (i = 0; i < request->image_count; i++)
		capacity += request->images[i]->device_count;
	match->gpus = calloc(capacity, sizeof(*match->gpus));
	match->pairs = calloc(capacity, sizeof(*match->pairs));
	if (!match->gpus || !match->pairs)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < request->image_count; i++) {
		image = request->images[i];
		for (k = 0; k < image->device_count; k++) {
			if (!find_old(match, image->devices[k].uuid))
				match->gpus[match->count++].old = &image->devices[k];
			find_old(match, image->devices[k].uuid)->driver_bytes += image->devices[k].driver_bytes;
		}
		for (k = 0; k < image->allocation_count; k++) {
			gpu = find_old(match, image->devices[image->allocations[k].device].uuid);
			gpu->held = true;
			if (!image->allocations[k].on_host)
				gpu->bytes += image->allocations[k].bytes;
		}
	}
	return 0;
}

static bool is_taken(const struct gpu_match *match, const struct pool_device *device)
{
	uint32_t i;

	for (i = 0; i < match->count; i++)
		if (match->gpus[i].here == device)
			return true;
	return false;
}

static uint64_t needed(const struct gpu_matched *gpu)
{
	return gpu->bytes + gpu->driver_bytes;
}

/* As pool_device_free_bytes. */
static int free_of(const struct gpu_match_request *request, struct pool_device *device, bool may_warm, uint64_t *bytes,
		   struct error_text *error)
{
	if (!request->free_bytes)
		return pool_device_free_bytes(device, may_warm, bytes, error);
	*bytes = request->free_bytes[device - device->pool->devices];
	return 0;
}

/* A GPU on which not even a context finds room has none either. */
static bool has_room(const struct gpu_match_request *request, struct pool_device *device, const struct gpu_matched *gpu)
{
	struct error_text error;
	uint64_t free_bytes;

	if (!free_of(request, device, true, &free_bytes, &error))
		return free_bytes >= needed(gpu);
	log_debug("%s", error.text);
	return false;
}

/* The driver's own restore goes on beside the warming of the GPU: it does not wait for that to learn what is free. */
static bool seems_to_have_room(const struct gpu_match_request *request, struct pool_device *device,
			       const struct gpu_matched *gpu)
{
	uint64_t free_bytes;
	int result = free_of(request, device, false, &free_bytes, NULL);

	return result == -EAGAIN || (result == 0 && free_bytes >= needed(gpu));
}

static struct pool_device *find_substitute(struct pool *pool, const struct gpu_match_request *request,
					   const struct gpu_match *match, const struct gpu_matched *gpu, bool with_room)
{
	struct pool_device *device;
	int i;

	for (i = 0; i < pool->device_count; i++) {
		device = &pool->devices[i];
		if (gpu_is_of_type(device, gpu->old) && !is_taken(match, device) &&
		    (!with_room || has_room(request, device, gpu)))
			return device;
	}
	return NULL;
}

static int no_gpu(const struct pool *pool, const struct gpu_matched *gpu, struct error_text *error)
{
	return fail(error, -ENODEV,
		    "The image was made on a GPU \"%s\" with %llu MiB, and this machine has %s%s%s; restore it on a "
		    "machine with the same type of GPU",
		    gpu->old->name, (unsigned long long)(gpu->old->memory_bytes >> 20),
		    pool->device_count ? "\"" : "none", pool->device_count ? pool->devices[0].name : "",
		    pool->device_count ? "\" or too few of them" : "");
}

/* Says why another one is taken. */
static void note_move(struct gpu_match *match, const struct gpu_matched *gpu, const char *why)
{
	size_t length = strlen(match->moved);
	char name[DEVICE_NAME_TEXT_MAX];

	gpu_name_write(gpu->here->uuid.bytes, name);
	snprintf(match->moved + length, sizeof(match->moved) - length,
		 "%sGPU %d (%s) stands for GPU %d of the dump, %s", length ? "; " : "", gpu->here->device, name,
		 gpu->old->ordinal, why);
}

/* Is there another one at all that could stand for it? Whether the same one has room does not matter where not. */
static bool has_other(struct pool *pool, const struct gpu_match *match, const struct gpu_matched *gpu)
{
	const struct gpu_matched *owner;
	struct pool_device *device;
	int i;

	for (i = 0; i < pool->device_count; i++) {
		device = &pool->devices[i];
		owner = find_old(match, device->uuid.bytes);
		if (gpu_is_of_type(device, gpu->old) && !is_taken(match, device) && !(owner && owner->held))
			return true;
	}
	return false;
}

/* Those that hold something and that nobody chose: the same one first, and only then others for the rest. */
static int place_held(struct pool *pool, const struct gpu_match_request *request, struct gpu_match *match,
		      struct error_text *error)
{
	struct pool_device *same, *other;
	struct gpu_matched *gpu;
	uint32_t i;

	for (i = 0; i < match->count; i++) {
		gpu = &match->gpus[i];
		same = pool_device_find(pool, gpu->old->uuid);
		if (gpu->held && !gpu->here && same && !is_taken(match, same) &&
		    (!request->by_room || !has_other(pool, match, gpu) || seems_to_have_room(request, same, gpu)))
			gpu->here = same;
	}
	for (i = 0; i < match->count; i++) {
		gpu = &match->gpus[i];
		if (!gpu->held || gpu->here)
			continue;
		same = pool_device_find(pool, gpu->old->uuid);
		if (same && is_taken(match, same))
			same = NULL;
		other = find_substitute(pool, request, match, gpu, request->by_room);
		if (!other && !same)
			other = find_substitute(pool, request, match, gpu, false);
		if (!other && !same)
			return no_gpu(pool, gpu, error);
		/* Where nobody has room, who waits for it waits on the same one. */
		gpu->here = other ? other : same;
		gpu->no_room = same != NULL;
		match->for_room |= gpu->no_room;
	}
	return 0;
}

/* The driver wants one for each, used or not. */
static void place_unused(struct pool *pool, const struct gpu_match_request *request, struct gpu_match *match)
{
	struct pool_device *same;
	uint32_t i;

	for (i = 0; i < match->count; i++) {
		same = pool_device_find(pool, match->gpus[i].old->uuid);
		if (!match->gpus[i].here && same && !is_taken(match, same))
			match->gpus[i].here = same;
	}
	for (i = 0; i < match->count; i++)
		if (!match->gpus[i].here)
			match->gpus[i].here = find_substitute(pool, request, match, &match->gpus[i], false);
}

static bool is_same(const struct gpu_matched *gpu)
{
	return gpu->here && !memcmp(gpu->here->uuid.bytes, gpu->old->uuid, 16);
}

static void note_moves(struct pool *pool, struct gpu_match *match)
{
	const struct gpu_matched *gpu;
	uint32_t i;

	for (i = 0; i < match->count; i++) {
		gpu = &match->gpus[i];
		if (!gpu->here || is_same(gpu) || !(gpu->held || gpu->chosen))
			continue;
		if (gpu->chosen)
			note_move(match, gpu, "as was asked for");
		else if (!pool_device_find(pool, gpu->old->uuid))
			note_move(match, gpu, "which is not here");
		else
			note_move(match, gpu, gpu->no_room ? "which has no room" : "which another one has");
	}
}

static void make_pairs(struct gpu_match *match)
{
	CUcheckpointGpuPair *pair;
	bool same = true;
	uint32_t i;

	for (i = 0; i < match->count; i++)
		same &= is_same(&match->gpus[i]);
	for (i = 0; !same && i < match->count; i++) {
		if (!match->gpus[i].here)
			continue;
		pair = &match->pairs[match->pair_count++];
		memcpy(pair->oldUuid.bytes, match->gpus[i].old->uuid, 16);
		pair->newUuid = match->gpus[i].here->uuid;
	}
}

/* Of what was chosen, before anything is made there. */
static int check_room(const struct gpu_match_request *request, const struct gpu_match *match, struct error_text *error)
{
	const struct gpu_matched *gpu;
	uint64_t free_bytes;
	uint32_t i;
	int result;

	for (i = 0; i < match->count; i++) {
		gpu = &match->gpus[i];
		if (!gpu->held || !gpu->here || !(gpu->chosen || request->free_bytes))
			continue;
		result = free_of(request, gpu->here, true, &free_bytes, error);
		if (result)
			return result;
		if (free_bytes < needed(gpu))
			return fail(error, -ENOMEM,
				    "GPU %d (%s), which %s GPU %d of the dump, has %llu MiB free, and %llu MiB are "
				    "needed (%llu of them by the driver itself): end what else uses it, or choose "
				    "another one",
				    gpu->here->device, gpu->here->name,
				    gpu->chosen ? "the device map has for" : "is to stand for", gpu->old->ordinal,
				    (unsigned long long)(free_bytes >> 20), (unsigned long long)(needed(gpu) >> 20),
				    (unsigned long long)(gpu->driver_bytes >> 20));
	}
	return 0;
}

int gpu_match_make(struct pool *pool, const struct gpu_match_request *request, struct gpu_match *match,
		   struct error_text *error)
{
	int result;

	*match = (struct gpu_match){.gpus = NULL};
	result = collect(request, match, error);
	if (result == 0 && request->device_map[0])
		result = gpu_choice_apply(pool, request->device_map, match, error);
	if (result == 0)
		result = check_room(request, match, error);
	if (result == 0)
		result = place_held(pool, request, match, error);
	if (result == 0 && request->free_bytes)
		result = check_room(request, match, error);
	if (result) {
		gpu_match_free(match);
		return result;
	}
	place_unused(pool, request, match);
	make_pairs(match);
	note_moves(pool, match);
	return 0;
}

struct pool_device *gpu_match_find(const struct gpu_match *match, const uint8_t uuid[16])
{
	uint32_t i;

	for (i = 0; i < match->count; i++)
		if (!memcmp(match->gpus[i].old->uuid, uuid, 16))
			return match->gpus[i].here;
	return NULL;
}

void gpu_match_free(struct gpu_match *match)
{
	free(match->gpus);
	free(match->pairs);
	*match = (struct gpu_match){.gpus = NULL};
}
