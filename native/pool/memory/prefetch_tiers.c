/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * What is kept, and makes room for others: from device memory to pinned memory of the host, where REKINDLE_PINNED_BUDGET
 * has room for it, and from there to nowhere but the images, which are on the disk. A restore takes what is in device memory;
 * what is in pinned memory it follows (prefetch_follow.c), so that it serves any number of restores.
 */

/* So long what is parked may take to be compared, before it is given up. */
#define CHECK_TIMEOUT_MS 3000
#define PAUSE_NS 20000000

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

/* And may make room for others: what is in no file stays until somebody takes or drops it. */
static bool is_on_device(struct prefetch *prefetch)
{
	return !prefetch->pinned && !prefetch->in_pool && !atomic_load(&prefetch->called_back);
}

static bool is_idle_on_device(struct prefetch *prefetch)
{
	return is_on_device(prefetch) && is_idle(prefetch);
}

static bool is_parked_on_device(struct prefetch *prefetch)
{
	return is_on_device(prefetch) && prefetch->parked;
}

static bool is_outdated(struct prefetch *prefetch)
{
	return atomic_load(&prefetch->is_outdated);
}

static bool is_idle_and_pinned(struct prefetch *prefetch)
{
	return prefetch->pinned && is_idle(prefetch);
}

static void give_up(struct prefetch *kept, const char *why)
{
	log_warning("%s: %llu MiB of %s that were %s are dropped", why, (unsigned long long)(kept->bytes >> 20),
		    kept->directory, kept->parked ? "parked" : "filled ahead");
	atomic_fetch_add(&kept->pool->given_up, 1);
	prefetch_end(kept);
}

/* Does the other one serve whoever this one does? */
static bool stands_for(const struct prefetch *other, const struct prefetch *prefetch)
{
	size_t i;

	if (other->count != prefetch->count || (prefetch->options.verify && !other->options.verify))
		return false;
	for (i = 0; i < prefetch->count; i++)
		if (memcmp(other->images[i].image->manifest_sum, prefetch->images[i].image->manifest_sum,
			   sizeof(prefetch->images[i].image->manifest_sum)))
			return false;
	return true;
}

/* Are the same images in pinned memory, where many can have them? */
static bool is_there_already(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;
	struct prefetch *other;

	pthread_mutex_lock(&pool->lock);
	for (other = pool->kept; other; other = other->next_kept)
		if (is_idle_and_pinned(other) && !atomic_load(&other->is_outdated) && !prefetch_has_failed(other) &&
		    stands_for(other, prefetch))
			break;
	pthread_mutex_unlock(&pool->lock);
	return other != NULL;
}

/* Whether all of it is there, and right. */
static bool is_whole(struct prefetch *prefetch)
{
	struct error_text error;
	size_t i;

	for (i = 0; i < prefetch->count; i++) {
		if (!prefetch->images[i].bytes)
			continue;
		if (prefetch_wait_state(prefetch, &prefetch->images[i], PREFETCH_FILLED,
					prefetch->parked ? CHECK_TIMEOUT_MS : 0, &error))
			return false;
	}
	return !prefetch_look_whether_gone(prefetch);
}

int prefetch_check_pinned_budget(const struct pool *pool, uint64_t bytes, struct error_text *error)
{
	uint64_t budget = pool->settings.pinned_budget;

	return bytes <= budget
		       ? 0
		       : fail(error, -ENOSPC,
			      "its %llu MiB are more than REKINDLE_PINNED_BUDGET of the pool, %llu MiB: start the pool with more",
			      (unsigned long long)(bytes >> 20), (unsigned long long)(budget >> 20));
}

/* With the tiers' lock. */
static int keep_to_pinned_budget(struct pool *pool, uint64_t bytes, struct error_text *error)
{
	uint64_t budget = pool->settings.pinned_budget;
	struct prefetch *oldest;
	int result = prefetch_check_pinned_budget(pool, bytes, error);

	if (result)
		return result;
	/* What is of no use any more goes first. */
	if (atomic_load(&pool->pinned_bytes) + bytes > budget)
		prefetch_look_for_gone(pool);
	while (atomic_load(&pool->pinned_bytes) + bytes > budget && (oldest = prefetch_take_oldest(pool, is_outdated)))
		prefetch_end(oldest);
	while (atomic_load(&pool->pinned_bytes) + bytes > budget &&
	       (oldest = prefetch_take_oldest(pool, is_idle_and_pinned)))
		give_up(oldest, "More is pinned than REKINDLE_PINNED_BUDGET");
	if (atomic_load(&pool->pinned_bytes) + bytes > budget)
		return fail(error, -ENOSPC,
			    "REKINDLE_PINNED_BUDGET of the pool, %llu MiB, has no room for %llu MiB beside what is "
			    "being filled: wait for that, or drop it",
			    (unsigned long long)(budget >> 20), (unsigned long long)(bytes >> 20));
	return 0;
}

/* From now on it counts as what is there. */
static void note_pinned(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;

	pthread_mutex_lock(&pool->lock);
	prefetch->pinned = true;
	atomic_store(&prefetch->called_back, false);
	atomic_fetch_add(&pool->pinned_bytes, prefetch->bytes);
	pthread_mutex_unlock(&pool->lock);
}

int prefetch_reserve_pinned(struct prefetch *prefetch, struct error_text *error)
{
	int result = keep_to_pinned_budget(prefetch->pool, prefetch->bytes, error);

	if (result == 0)
		note_pinned(prefetch);
	return result;
}

/*
 * With the tiers' lock. It is in no list; where that succeeds it is in that of what is kept afterwards, and somebody may end
 * it at any time.
 */
static int move(struct prefetch *kept, const struct room_wait *wait, const char *why, struct error_text *error)
{
	int result = keep_to_pinned_budget(kept->pool, kept->bytes, error);

	if (result == 0)
		result = prefetch_pin(kept, wait, error);
	if (result)
		return result;
	note_pinned(kept);
	log_info("%s: %llu MiB of %s are in pinned memory now", why, (unsigned long long)(kept->bytes >> 20),
		 kept->directory);
	prefetch_keep_this(kept);
	return 0;
}

enum outcome { MOVED, STAYS, GIVEN_UP };

/* STAYS: nobody wants its room any more, or somebody wants it where it is, and it is in the list as it was. */
static enum outcome make_way(struct prefetch *kept, const struct room_wait *wait, const char *why)
{
	struct pool *pool = kept->pool;
	struct error_text error;
	int result;

	if (kept->bytes > pool->settings.pinned_budget || !is_whole(kept))
		return GIVEN_UP;
	result = move(kept, wait, why, &error);
	if (result == 0) {
		atomic_fetch_add(&pool->moved_to_pinned, 1);
		return MOVED;
	}
	if (result == -ECANCELED) {
		prefetch_keep_this(kept);
		return STAYS;
	}
	log_warning("%s", error.text);
	return GIVEN_UP;
}

/* Until somebody else has moved what he moves. False: that takes too long. */
static bool wait_for_others(struct pool *pool, const struct room_wait *wait)
{
	const struct timespec until = {.tv_sec = (time_t)(wait->deadline / 1000000000u),
				       .tv_nsec = (long)(wait->deadline % 1000000000u)};
	int result;

	atomic_fetch_add(&pool->room_waits, 1);
	result = pthread_mutex_clocklock(&pool->tiers_lock, CLOCK_MONOTONIC, &until);
	atomic_fetch_sub(&pool->room_waits, 1);
	if (result == 0)
		pthread_mutex_unlock(&pool->tiers_lock);
	return result == 0;
}

/*
 * False: nothing fits, or nobody wants the room. What is given up ends without the lock: its thread may be making room for
 * itself, and wait for that.
 */
static bool free_one(struct pool *pool, bool (*fits)(struct prefetch *prefetch), struct room_wait *wait,
		     const char *why)
{
	enum outcome outcome = GIVEN_UP;
	struct prefetch *oldest;
	bool there = false;

	prefetch_room_wait_begin(pool, wait);
	if (wait->prefetch && prefetch_is_cancelled(wait->prefetch))
		return false;
	if (pthread_mutex_trylock(&pool->tiers_lock) == 0) {
		oldest = prefetch_take_oldest_to_move(pool, fits);
		there = oldest && is_there_already(oldest);
		if (oldest && !there)
			outcome = make_way(oldest, wait, why);
		prefetch_moves_no_more(pool);
		pthread_mutex_unlock(&pool->tiers_lock);
	} else if (wait_for_others(pool, wait)) {
		/* There may be enough now. */
		return true;
	} else {
		oldest = prefetch_take_oldest(pool, fits);
	}
	if (there)
		prefetch_end(oldest);
	else if (oldest && outcome == GIVEN_UP)
		give_up(oldest, why);
	return oldest != NULL;
}

bool prefetch_free_device(struct pool *pool, bool only_idle, struct room_wait *wait)
{
	return free_one(pool, only_idle ? is_idle_on_device : is_on_device, wait, "The GPU is needed");
}

bool prefetch_free_pinned(struct pool *pool)
{
	struct prefetch *oldest = prefetch_take_oldest(pool, is_idle_and_pinned);

	if (oldest)
		give_up(oldest, "Memory of the host is needed");
	return oldest != NULL;
}

static bool is_parked_in_no_file(struct prefetch *prefetch)
{
	return prefetch->parked && prefetch->in_pool;
}

static uint64_t count(struct pool *pool, bool (*fits)(struct prefetch *prefetch))
{
	struct prefetch *kept;
	uint64_t bytes = 0;

	pthread_mutex_lock(&pool->lock);
	for (kept = pool->kept; kept; kept = kept->next_kept)
		if (fits(kept))
			bytes += kept->bytes;
	pthread_mutex_unlock(&pool->lock);
	return bytes;
}

int prefetch_check_park_budget(struct pool *pool, uint64_t bytes, struct error_text *error)
{
	uint64_t budget = pool->settings.park_budget, stays = count(pool, is_parked_in_no_file);

	if (!budget || bytes + stays <= budget)
		return 0;
	if (!stays)
		return fail(error, -ENOSPC, "its %llu MiB are more than REKINDLE_PARK_BUDGET of the pool, %llu MiB",
			    (unsigned long long)(bytes >> 20), (unsigned long long)(budget >> 20));
	return fail(
		error, -ENOSPC,
		"its %llu MiB, and %llu MiB that are parked and in no file, are more than REKINDLE_PARK_BUDGET of the "
		"pool, %llu MiB: restore or drop those",
		(unsigned long long)(bytes >> 20), (unsigned long long)(stays >> 20),
		(unsigned long long)(budget >> 20));
}

int prefetch_keep_to_budget(struct pool *pool, uint64_t bytes, struct error_text *error)
{
	uint64_t budget = pool->settings.park_budget;
	struct room_wait wait = {.deadline = 0};
	int result = prefetch_check_park_budget(pool, bytes, error);

	if (result)
		return result;
	while (budget && count(pool, is_parked_in_no_file) + count(pool, is_parked_on_device) + bytes > budget &&
	       free_one(pool, is_parked_on_device, &wait, "More is parked than REKINDLE_PARK_BUDGET"))
		;
	return 0;
}

int prefetch_move_to_pinned(struct prefetch *prefetch, struct error_text *error)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct room_wait wait = {.prefetch = prefetch, .yields = true};
	struct pool *pool = prefetch->pool;
	bool there = false;
	int result = 0;
	size_t i;

	/* Whoever has the lock may wait for the end of this thread. */
	while (pthread_mutex_trylock(&pool->tiers_lock)) {
		if (prefetch_is_cancelled(prefetch))
			return 0;
		nanosleep(&pause, NULL);
	}
	/* To make room, somebody else may have moved it. */
	if (!prefetch->pinned && prefetch_take_this(prefetch)) {
		there = is_there_already(prefetch);
		prefetch_room_wait_begin(pool, &wait);
		if (!there)
			result = move(prefetch, &wait, "As was asked for", error);
		if (result == -ECANCELED) {
			/* Somebody wants it where it is. */
			prefetch_keep_this(prefetch);
			result = 0;
		}
		/* Nobody is given it any more, and somebody ends it soon. */
		for (i = 0; result && i < prefetch->count; i++)
			prefetch_set_state(prefetch, &prefetch->images[i], PREFETCH_FAILED, result, error);
		if (there || result) {
			atomic_store(&prefetch->is_outdated, true);
			prefetch_keep_this(prefetch);
		}
	}
	pthread_mutex_unlock(&pool->tiers_lock);
	return result;
}
