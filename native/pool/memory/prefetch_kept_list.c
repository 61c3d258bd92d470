/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <sys/stat.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"

/* The list of what is kept, the one that was used last first. */

void prefetch_keep_this(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;
	struct prefetch **at;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at && (*at)->asked_for > prefetch->asked_for; at = &(*at)->next_kept)
		;
	prefetch->next_kept = *at;
	*at = prefetch;
	prefetch->was_kept = true;
	if (pool->moving == prefetch)
		pool->moving = NULL;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

bool prefetch_take_this(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;
	struct prefetch **at;
	bool found;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at && *at != prefetch; at = &(*at)->next_kept)
		;
	found = *at != NULL;
	if (found) {
		*at = prefetch->next_kept;
		pool->moving = prefetch;
	}
	pthread_mutex_unlock(&pool->lock);
	return found;
}

/* With the pool's lock. */
static struct prefetch *take_oldest(struct pool *pool, bool (*fits)(struct prefetch *prefetch))
{
	struct prefetch **at, **found = NULL, *oldest = NULL;

	for (at = &pool->kept; *at; at = &(*at)->next_kept)
		if (fits(*at))
			found = at;
	if (found) {
		oldest = *found;
		*found = oldest->next_kept;
	}
	return oldest;
}

struct prefetch *prefetch_take_oldest(struct pool *pool, bool (*fits)(struct prefetch *prefetch))
{
	struct prefetch *oldest;

	pthread_mutex_lock(&pool->lock);
	oldest = take_oldest(pool, fits);
	pthread_mutex_unlock(&pool->lock);
	return oldest;
}

struct prefetch *prefetch_take_oldest_to_move(struct pool *pool, bool (*fits)(struct prefetch *prefetch))
{
	struct prefetch *oldest;

	pthread_mutex_lock(&pool->lock);
	oldest = take_oldest(pool, fits);
	pool->moving = oldest;
	pthread_mutex_unlock(&pool->lock);
	return oldest;
}

void prefetch_moves_no_more(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->moving = NULL;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

void prefetch_note_use(struct pool *pool, uint64_t number)
{
	struct prefetch **at, *used;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at && (*at)->number != number; at = &(*at)->next_kept)
		;
	used = *at;
	if (used) {
		used->asked_for = monotonic_nanoseconds();
		*at = used->next_kept;
		used->next_kept = pool->kept;
		pool->kept = used;
	}
	pthread_mutex_unlock(&pool->lock);
}

/* Of what a server has, what is known here of it: one that hangs is nobody's to be waited for. */
static bool has_no_name(int file)
{
	struct statx status;

	return statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &status) == 0 && status.stx_nlink == 0;
}

bool prefetch_look_whether_gone(struct prefetch *prefetch)
{
	size_t i;

	/* Its data may be that of a newer one, too. */
	for (i = 0; prefetch->parked && i < prefetch->count; i++)
		if (prefetch->images[i].lock >= 0 && has_no_name(prefetch->images[i].lock))
			atomic_store(&prefetch->is_outdated, true);
	return atomic_load(&prefetch->is_outdated);
}

/* The one behind `at` that is parked, or NULL; nobody ends it until it is `at` here. NULL: the first one. */
static struct prefetch *next_to_look_at(struct pool *pool, struct prefetch *at)
{
	struct prefetch *next;

	pthread_mutex_lock(&pool->lock);
	for (next = at ? at->next : pool->prefetches; next && !next->parked; next = next->next)
		;
	if (next)
		next->lookers++;
	if (at) {
		at->lookers--;
		pthread_cond_broadcast(&pool->changed);
	}
	pthread_mutex_unlock(&pool->lock);
	return next;
}

void prefetch_look_for_gone(struct pool *pool)
{
	struct prefetch *at = NULL;

	while ((at = next_to_look_at(pool, at)))
		prefetch_look_whether_gone(at);
}

bool prefetch_any_kept(struct pool *pool)
{
	bool any;

	pthread_mutex_lock(&pool->lock);
	any = pool->kept || pool->moving;
	pthread_mutex_unlock(&pool->lock);
	return any;
}

bool prefetch_has_failed(struct prefetch *prefetch)
{
	bool failed = false;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		failed |= prefetch->images[i].state == PREFETCH_FAILED;
	pthread_mutex_unlock(&prefetch->lock);
	return failed;
}
