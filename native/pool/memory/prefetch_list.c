/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <unistd.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"

/* All prefetches of a pool, of clients and of runs, the last one first: for who asks what is in device memory. */

void prefetch_note_origin(struct prefetch *prefetch, int folder)
{
	char link[64];
	ssize_t length;

	prefetch->since = monotonic_nanoseconds();
	snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
	length = readlink(link, prefetch->directory, sizeof(prefetch->directory));
	/* One that fills all of it may have been cut. */
	if (length < 0 || (size_t)length >= sizeof(prefetch->directory))
		length = 0;
	prefetch->directory[length] = '\0';
}

void prefetch_list(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;

	pthread_mutex_lock(&pool->lock);
	prefetch->number = ++pool->last_prefetch;
	prefetch->next = pool->prefetches;
	pool->prefetches = prefetch;
	pthread_mutex_unlock(&pool->lock);
}

void prefetch_unlist(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;
	struct prefetch **at;

	pthread_mutex_lock(&pool->lock);
	while (prefetch->lookers)
		pthread_cond_wait(&pool->changed, &pool->lock);
	for (at = &pool->prefetches; *at && *at != prefetch; at = &(*at)->next)
		;
	if (*at)
		*at = prefetch->next;
	pthread_mutex_unlock(&pool->lock);
}

void prefetch_note_adoption(struct prefetch *prefetch)
{
	size_t i;

	pthread_mutex_lock(&prefetch->pool->lock);
	prefetch->adopted = true;
	pthread_mutex_unlock(&prefetch->pool->lock);
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		prefetch->images[i].was_resident = prefetch->images[i].state == PREFETCH_FILLED;
	pthread_mutex_unlock(&prefetch->lock);
	prefetch_hurry(prefetch);
	prefetch_begin_exports(prefetch);
}
