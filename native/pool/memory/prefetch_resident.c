/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "pool/memory/prefetch.h"

/* What is in device memory or in pinned memory, or on its way there, for who asks. */

/* Returns whether there is any memory in it. */
static bool describe(struct prefetch *prefetch, struct pool_resident *resident)
{
	const struct prefetch_image *image;
	uint64_t released = 0;
	bool filled = true, failed = false;
	size_t i;

	*resident = (struct pool_resident){
		.number = prefetch->number,
		.since_nanoseconds = prefetch->since,
		.taken = !prefetch->options.ahead || prefetch->adopted,
		.parked = prefetch->parked,
		.tier = prefetch->pinned ? POOL_TIER_PINNED : POOL_TIER_DEVICE,
	};
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		image = &prefetch->images[i];
		if (!image->bytes)
			continue;
		filled &= image->state == PREFETCH_FILLED;
		failed |= image->state == PREFETCH_FAILED;
		if (image->released) {
			/* Only what is filled is taken. */
			released += image->bytes;
			continue;
		}
		resident->bytes += image->bytes;
		resident->images++;
	}
	pthread_mutex_unlock(&prefetch->lock);
	resident->state = failed ? POOL_RESIDENT_FAILED : filled ? POOL_RESIDENT_FILLED : POOL_RESIDENT_FILLING;
	resident->bytes_filled = filled ? resident->bytes : prefetch_bytes_done(prefetch) - released;
	snprintf(resident->directory, sizeof(resident->directory), "%s", prefetch->directory);
	return resident->images > 0;
}

bool prefetch_next_resident(struct pool *pool, uint64_t after, struct pool_resident *resident)
{
	struct pool_resident one;
	struct prefetch *prefetch;
	bool found = false;

	/* Under the lock nobody ends one. */
	pthread_mutex_lock(&pool->lock);
	for (prefetch = pool->prefetches; prefetch && prefetch->number > after; prefetch = prefetch->next) {
		if (!describe(prefetch, &one))
			continue;
		*resident = one;
		found = true;
	}
	pthread_mutex_unlock(&pool->lock);
	return found;
}
