/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
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

/*
 * Gives up what a client had filled ahead. False: there is nothing left. Not for the thread of such a one, which would wait
 * for itself.
 */
static bool drop_one_kept(struct pool *pool)
{
	struct prefetch *kept;

	pthread_mutex_lock(&pool->lock);
	kept = pool->kept;
	if (kept)
		pool->kept = kept->next_kept;
	pthread_mutex_unlock(&pool->lock);
	if (!kept)
		return false;
	log_warning("A restore needs the GPU: %llu MiB that were filled ahead are dropped",
		    (unsigned long long)(kept->bytes >> 20));
	prefetch_end(kept);
	return true;
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
		if (result != -ENOMEM || !prefetch->options.goes_first)
			return result;
		if (drop_one_kept(prefetch->pool))
			continue;
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
		if (!drop_one_kept(prefetch->pool)) {
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
