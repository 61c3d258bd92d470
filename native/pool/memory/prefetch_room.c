/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * How long memory may take to come free on a full GPU, or half of the operator's limit where that is less: what ends just
 * now frees it at once, and for what goes on running there is no use in waiting.
 */
#define ROOM_TIMEOUT_NS (3 * UINT64_C(1000000000))
/* Likewise, before another GPU is taken. */
#define MOVE_TIMEOUT_NS UINT64_C(1000000000)

bool prefetch_is_cancelled(struct prefetch *prefetch)
{
	bool cancelled;

	pthread_mutex_lock(&prefetch->lock);
	cancelled = prefetch->cancelled;
	pthread_mutex_unlock(&prefetch->lock);
	return cancelled;
}

/* Well within the limit of a step, so that who waits for the memory learns what is wrong with it. */
static uint64_t room_timeout(const struct pool *pool)
{
	uint64_t half = pool->settings.timeout_seconds * UINT64_C(500000000);

	return half < ROOM_TIMEOUT_NS ? half : ROOM_TIMEOUT_NS;
}

static bool is_idle(struct prefetch *prefetch)
{
	bool idle = true;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		idle &= prefetch->images[i].state >= PREFETCH_FILLED;
	pthread_mutex_unlock(&prefetch->lock);
	return idle;
}

/* Takes the one that was used before all others out of the list. */
static struct prefetch *take_oldest(struct pool *pool, bool only_idle, bool only_parked)
{
	struct prefetch **at, **found = NULL, *oldest = NULL;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at; at = &(*at)->next_kept)
		if ((!only_idle || is_idle(*at)) && (!only_parked || (*at)->parked))
			found = at;
	if (found) {
		oldest = *found;
		*found = oldest->next_kept;
	}
	pthread_mutex_unlock(&pool->lock);
	return oldest;
}

static void drop(struct prefetch *kept, const char *why)
{
	log_warning("%s: %llu MiB of %s that were %s are dropped", why, (unsigned long long)(kept->bytes >> 20),
		    kept->directory, kept->parked ? "parked" : "filled ahead");
	prefetch_end(kept);
}

bool prefetch_drop_one_kept(struct pool *pool, bool only_idle)
{
	struct prefetch *oldest = take_oldest(pool, only_idle, false);

	if (!oldest)
		return false;
	drop(oldest, "The GPU is needed");
	return true;
}

static uint64_t count_parked(struct pool *pool)
{
	const struct prefetch *kept;
	uint64_t bytes = 0;

	pthread_mutex_lock(&pool->lock);
	for (kept = pool->kept; kept; kept = kept->next_kept)
		if (kept->parked)
			bytes += kept->bytes;
	pthread_mutex_unlock(&pool->lock);
	return bytes;
}

int prefetch_keep_to_budget(struct pool *pool, uint64_t bytes, struct error_text *error)
{
	uint64_t budget = pool->settings.park_budget;
	struct prefetch *oldest;

	if (budget && bytes > budget)
		return fail(error, -ENOSPC, "its %llu MiB are more than REKINDLE_PARK_BUDGET of the pool, %llu MiB",
			    (unsigned long long)(bytes >> 20), (unsigned long long)(budget >> 20));
	while (budget && count_parked(pool) + bytes > budget && (oldest = take_oldest(pool, false, true)))
		drop(oldest, "More is parked than REKINDLE_PARK_BUDGET");
	return 0;
}

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
	struct pool *pool = prefetch->pool;
	uint64_t wanted, free_bytes;
	int i;

	for (i = 0; i < pool->device_count; i++) {
		wanted = driver_bytes(prefetch, &pool->devices[i]);
		while (wanted && !pool_device_free_bytes(&pool->devices[i], false, &free_bytes, NULL) &&
		       free_bytes < wanted && prefetch_drop_one_kept(pool, false))
			;
	}
}

/*
 * Where the GPU is full, what is kept for later makes room. Else a process that was just dumped and killed may hold its
 * memory for a moment more.
 */
int prefetch_make_room(struct prefetch *prefetch, struct held_memory *memory, struct error_text *error)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	uint64_t deadline = 0;
	int result;

	for (;;) {
		result = held_memory_create(memory, error);
		if (result != -ENOMEM || !(prefetch->options.goes_first || prefetch->options.ahead))
			return result;
		if (prefetch_drop_one_kept(prefetch->pool, prefetch->options.ahead))
			continue;
		if (prefetch->options.ahead)
			return result;
		if (deadline == 0)
			deadline = monotonic_nanoseconds() + room_timeout(prefetch->pool);
		if (monotonic_nanoseconds() > deadline || prefetch_is_cancelled(prefetch))
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
	bool lacks_room;
	int result;

	for (;;) {
		result = match_images(prefetch, match, error);
		lacks_room = result ? result == -ENOMEM : match->for_room;
		if (!lacks_room || !prefetch->options.goes_first)
			return result;
		if (!prefetch_drop_one_kept(prefetch->pool, false)) {
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
