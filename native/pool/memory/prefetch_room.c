/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/* How long memory may take to come free before another GPU is taken. */
#define MOVE_TIMEOUT_NS UINT64_C(1000000000)

/* All images together: how much of this GPU the driver needs. */
static uint64_t driver_bytes(const struct prefetch *prefetch, const struct pool_device *device)
{
	const struct gpu_image *image;
	uint64_t bytes = 0;
	uint32_t at;
	size_t i;

	for (i = 0; i < prefetch->count; i++) {
		image = prefetch->images[i].image;
		for (at = 0; at < image->device_count; at++)
			if (!memcmp(image->devices[at].uuid, device->uuid.bytes, sizeof(image->devices[at].uuid)))
				bytes += image->devices[at].driver_bytes;
	}
	return bytes;
}

void prefetch_make_room_for_driver(struct prefetch *prefetch)
{
	struct room_wait wait = {.prefetch = prefetch};
	struct pool *pool = prefetch->pool;
	uint64_t wanted, free_bytes;
	int i;

	for (i = 0; i < pool->device_count; i++) {
		wanted = driver_bytes(prefetch, &pool->devices[i]);
		while (wanted && !pool_device_free_bytes(&pool->devices[i], false, &free_bytes, NULL) &&
		       free_bytes < wanted && prefetch_free_device(pool, false, &wait))
			;
	}
}

/* Of what is kept; what is on the devices leaves the machine as full as it is. */
static bool free_some(struct prefetch *prefetch, const struct held_memory *memory, struct room_wait *wait)
{
	return memory->on_host ? prefetch_free_pinned(prefetch->pool)
			       : prefetch_free_device(prefetch->pool, prefetch->options.ahead, wait);
}

/*
 * Where a GPU is full, what is kept for later makes room. Else a process that was just dumped and killed may hold its
 * memory for a moment more.
 */
int prefetch_make_room(struct prefetch *prefetch, struct held_memory *memory, struct error_text *error)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	struct room_wait wait = {.prefetch = prefetch};
	int result;

	for (;;) {
		result = held_memory_create(memory, error);
		if (result != -ENOMEM || !(prefetch->options.goes_first || prefetch->options.ahead))
			return result;
		prefetch_room_wait_begin(prefetch->pool, &wait);
		if (free_some(prefetch, memory, &wait))
			continue;
		if (prefetch->options.ahead)
			return result;
		if (monotonic_nanoseconds() > wait.deadline || prefetch_is_cancelled(prefetch))
			return result;
		nanosleep(&pause, NULL);
	}
}

static int match_images(struct prefetch *prefetch, struct gpu_match *match, struct error_text *error)
{
	const struct gpu_image **images = calloc(prefetch->count + 1, sizeof(*images));
	struct gpu_match_request request = {
		.images = images,
		.image_count = prefetch->count,
		.device_map = prefetch->device_map,
		.by_room = prefetch->options.may_move,
	};
	size_t i;
	int result;

	if (!images)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < prefetch->count; i++)
		images[i] = prefetch->images[i].image;
	result = gpu_match_make(prefetch->pool, &request, match, error);
	free(images);
	return result;
}

/* Where a GPU is full, what is kept makes room, and what ends just now; only then is it another one, or a failure. */
static int match_with_room(struct prefetch *prefetch, struct gpu_match *match, struct error_text *error)
{
	uint64_t deadline = monotonic_nanoseconds() + MOVE_TIMEOUT_NS;
	const struct timespec pause = {.tv_nsec = 20000000};
	struct room_wait wait = {.prefetch = prefetch};
	bool lacks_room;
	int result;

	for (;;) {
		result = match_images(prefetch, match, error);
		lacks_room = result ? result == -ENOMEM : match->for_room;
		if (!lacks_room || !prefetch->options.goes_first)
			return result;
		if (!prefetch_free_device(prefetch->pool, false, &wait)) {
			/* Whoever chose a GPU learns at once that it is full. */
			if (result || monotonic_nanoseconds() > deadline || prefetch_is_cancelled(prefetch))
				return result;
			nanosleep(&pause, NULL);
		}
		gpu_match_free(match);
	}
}

int prefetch_match_gpus(struct prefetch *prefetch, const struct gpu_match **match, struct error_text *error)
{
	int result;

	pthread_mutex_lock(&prefetch->gpus_lock);
	if (!prefetch->gpus_known) {
		result = pool_driver_prepare(prefetch->pool, &prefetch->gpus_error);
		if (result == 0)
			result = match_with_room(prefetch, &prefetch->gpus, &prefetch->gpus_error);
		if (result == 0 && prefetch->gpus.moved[0])
			log_warning("%s", prefetch->gpus.moved);
		prefetch->gpus_result = result;
		prefetch->gpus_known = true;
	}
	result = prefetch->gpus_result;
	if (result && error)
		*error = prefetch->gpus_error;
	*match = &prefetch->gpus;
	pthread_mutex_unlock(&prefetch->gpus_lock);
	return result;
}
