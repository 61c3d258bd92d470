/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/memory/prefetch.h"
#include "store/checkpoint_gpu_images.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * What is kept for later restores. It is known by the sums of its images' manifests,
 * wherever the folder was moved or copied to. An id alone does not do: whoever wrote it into an image of his own would be
 * given the memory of another one.
 */

/* bytes: of device memory, of all together. */
static int load_sums(int folder, uint8_t (**sums_out)[16], size_t *count_out, uint64_t *bytes, struct error_text *error)
{
	struct gpu_image *image;
	uint8_t(*sums)[16];
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int result;

	*bytes = 0;
	result = checkpoint_gpu_images(folder, &names, &count, error);
	if (result)
		return result;
	sums = calloc(count + 1, sizeof(*sums));
	if (!sums)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		result = gpu_image_read(folder, &names[i], &image, error);
		if (result)
			break;
		memcpy(sums[i], image->manifest_sum, sizeof(sums[i]));
		*bytes += gpu_image_bytes(image);
		gpu_image_free(image);
	}
	free(names);
	if (result) {
		free(sums);
		return result;
	}
	*sums_out = sums;
	*count_out = count;
	return 0;
}

/* Images are in order of their pids on both sides. device_map: NULL for any; tier: FILES likewise. */
static bool is_of(const struct prefetch *prefetch, uint8_t (*sums)[16], size_t count, const char *device_map,
		  enum pool_tier tier)
{
	/* What is in no file stays where it is; any GPU will do ("auto") means that one, too. */
	const bool any_gpu = !device_map || (prefetch->in_pool && !strcmp(device_map, "auto"));
	size_t i;

	if (prefetch->count != count || (!any_gpu && strcmp(prefetch->device_map, device_map)))
		return false;
	if (tier != POOL_TIER_FILES && prefetch->pinned != (tier == POOL_TIER_PINNED))
		return false;
	for (i = 0; i < count; i++)
		if (memcmp(prefetch->images[i].image->manifest_sum, sums[i], sizeof(sums[i])))
			return false;
	return true;
}

/*
 * What is on its way to pinned memory, and is wanted here: it goes no further, and is in the list again as it was, unless it has
 * come there, or that takes longer than the limit. With the pool's lock.
 */
static void call_back(struct pool *pool, uint8_t (*sums)[16], size_t count, const char *device_map, enum pool_tier tier,
		      uint64_t limit_ns)
{
	uint64_t end = monotonic_nanoseconds() + limit_ns;
	const struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	struct prefetch *moving;

	while ((moving = pool->moving) && (!sums || is_of(moving, sums, count, device_map, tier))) {
		atomic_store(&moving->called_back, true);
		if (pthread_cond_clockwait(&pool->changed, &pool->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
			continue;
		if (pool->moving == moving)
			atomic_store(&moving->called_back, false);
		return;
	}
}

/* Half of the operator's limit: whoever waits for the reply has all of it. */
static uint64_t limit_of(const struct pool *pool)
{
	return pool->settings.timeout_seconds * UINT64_C(500000000);
}

/* Takes the first one out of the list that is of these sums (of any with sums NULL). */
static struct prefetch *take(struct pool *pool, uint8_t (*sums)[16], size_t count, const char *device_map,
			     enum pool_tier tier)
{
	struct prefetch **at, *found;

	pthread_mutex_lock(&pool->lock);
	call_back(pool, sums, count, device_map, tier, limit_of(pool));
	for (at = &pool->kept; *at && sums && !is_of(*at, sums, count, device_map, tier); at = &(*at)->next_kept)
		;
	found = *at;
	if (found)
		*at = found->next_kept;
	pthread_mutex_unlock(&pool->lock);
	return found;
}

/* Used from now on, where it is kept. One that has failed, or is to go anyway, is not, and is to be ended. */
static bool renew(struct pool *pool, uint8_t (*sums)[16], size_t count, const char *device_map, enum pool_tier tier,
		  struct prefetch **useless)
{
	struct prefetch **at, *found;

	pthread_mutex_lock(&pool->lock);
	call_back(pool, sums, count, device_map, tier, limit_of(pool));
	for (at = &pool->kept; *at && !is_of(*at, sums, count, device_map, tier); at = &(*at)->next_kept)
		;
	found = *at;
	if (found)
		*at = found->next_kept;
	if (found && (prefetch_has_failed(found) || atomic_load(&found->is_outdated))) {
		*useless = found;
		found = NULL;
	}
	if (found) {
		atomic_store(&found->called_back, false);
		found->asked_for = monotonic_nanoseconds();
		found->next_kept = pool->kept;
		pool->kept = found;
	}
	pthread_mutex_unlock(&pool->lock);
	return found != NULL;
}

/* Fails where it does not begin; else it is kept, or ended where somebody else was faster. */
static int begin(struct prefetch *made, uint8_t (*sums)[16], size_t count, enum pool_tier tier,
		 struct error_text *error)
{
	struct pool *pool = made->pool;
	struct prefetch *other;
	int result = tier == POOL_TIER_PINNED ? prefetch_reserve_pinned(made, error) : 0;

	if (result == 0)
		result = prefetch_begin(made, error);
	if (result)
		return result;
	pthread_mutex_lock(&pool->lock);
	for (other = pool->kept; other && !is_of(other, sums, count, made->device_map, tier); other = other->next_kept)
		;
	if (!other) {
		made->asked_for = monotonic_nanoseconds();
		made->next_kept = pool->kept;
		pool->kept = made;
	}
	pthread_mutex_unlock(&pool->lock);
	if (other)
		prefetch_end(made);
	return 0;
}

/*
 * The tiers' lock may be held for as long as others are moved, and no file is read under it. Somebody may have moved the same
 * one meanwhile.
 */
static int begin_pinned(struct prefetch *made, uint8_t (*sums)[16], size_t count, struct error_text *error)
{
	struct pool *pool = made->pool;
	struct prefetch *useless = NULL;
	int result = 0;
	bool there;

	pthread_mutex_lock(&pool->tiers_lock);
	there = renew(pool, sums, count, made->device_map, POOL_TIER_PINNED, &useless);
	if (!there)
		result = begin(made, sums, count, POOL_TIER_PINNED, error);
	pthread_mutex_unlock(&pool->tiers_lock);
	if (there)
		prefetch_free(made);
	prefetch_end(useless);
	return result;
}

int prefetch_keep(struct pool *pool, int folder, const char *device_map, enum pool_tier tier, uint64_t *bytes,
		  struct error_text *error)
{
	struct prefetch_options options = {
		.verify = pool->settings.checksums,
		.overlap = true,
		.may_move = tier != POOL_TIER_PINNED, /* which takes no room of a GPU */
		.ahead = true,
		.pinned = tier == POOL_TIER_PINNED,
		.device_map = device_map,
	};
	struct prefetch *made = NULL, *useless = NULL;
	uint8_t(*sums)[16] = NULL;
	size_t count = 0;
	int result;

	result = load_sums(folder, &sums, &count, bytes, error);
	if (result)
		return result;
	if (tier == POOL_TIER_FILES)
		tier = POOL_TIER_DEVICE;
	if (count == 0)
		result = fail(error, -ENOENT, "The folder holds no GPU image to prefetch");
	/* A second request finds it as it is, unless the first try failed. */
	if (result || renew(pool, sums, count, device_map, tier, &useless))
		goto out;
	prefetch_end(useless);
	result = prefetch_make(pool, folder, &options, &made, error);
	if (result)
		goto out;
	result = options.pinned ? begin_pinned(made, sums, count, error) : begin(made, sums, count, tier, error);
	if (result)
		prefetch_free(made);
out:
	free(sums);
	return result;
}

/* The result of the first image that failed, with its sentence; 0 where none did. *filled: all images are. */
static int look_at(struct prefetch *prefetch, bool *filled, struct error_text *error)
{
	const struct prefetch_image *image;
	int result = 0;
	size_t i;

	*filled = true;
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count && !result; i++) {
		image = &prefetch->images[i];
		*filled &= !image->bytes || image->state == PREFETCH_FILLED;
		if (image->state == PREFETCH_FAILED) {
			result = image->result;
			*error = image->error;
		}
	}
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

/* With the pool's lock. */
static int count_remaining(struct prefetch *kept, uint64_t *bytes, struct error_text *error)
{
	bool filled;
	int result = look_at(kept, &filled, error);
	uint64_t rest = filled ? 0 : kept->bytes - prefetch_bytes_done(kept);

	if (!filled && !rest) /* the last chunk may still turn out to be wrong */
		rest = 1;
	*bytes += rest;
	return result;
}

int prefetch_kept_remaining(struct pool *pool, int folder, const char *device_map, uint64_t *bytes,
			    struct error_text *error)
{
	struct prefetch *kept;
	uint8_t(*sums)[16] = NULL;
	bool any = false;
	size_t count = 0;
	uint64_t all;
	int result;

	result = load_sums(folder, &sums, &count, &all, error);
	if (result)
		return result;
	*bytes = 0;
	/* Under the lock nobody takes it out of the list, and ends it. */
	pthread_mutex_lock(&pool->lock);
	for (kept = pool->kept; kept && !result; kept = kept->next_kept) {
		if (!is_of(kept, sums, count, device_map, POOL_TIER_FILES))
			continue;
		any = true;
		result = count_remaining(kept, bytes, error);
	}
	kept = pool->moving;
	if (kept && !result && is_of(kept, sums, count, device_map, POOL_TIER_FILES)) {
		any = true;
		result = count_remaining(kept, bytes, error);
	}
	if (!any)
		result = fail(error, -ENOENT, "Nothing is prefetched for this folder");
	pthread_mutex_unlock(&pool->lock);
	free(sums);
	return result;
}

struct prefetch *prefetch_adopt(struct pool *pool, int folder, const char *device_map, bool verify,
				const struct prefetch_taker *taker)
{
	uint8_t(*sums)[16] = NULL;
	struct prefetch *prefetch;
	size_t count = 0;
	uint64_t bytes;
	bool whole;

	if (!prefetch_any_kept(pool) || load_sums(folder, &sums, &count, &bytes, NULL))
		return NULL;
	prefetch = count ? take(pool, sums, count, device_map, POOL_TIER_DEVICE) : NULL;
	free(sums);
	whole = prefetch && prefetch_await_check(prefetch, taker);
	if (prefetch && taker->has_gone(taker->context)) {
		atomic_store(&prefetch->called_back, false);
		prefetch_keep_this(prefetch);
		return NULL;
	}
	/* It takes long to be compared: nobody else has it. */
	if (prefetch && prefetch->in_pool && !whole && !prefetch_has_failed(prefetch) &&
	    !atomic_load(&prefetch->is_outdated)) {
		prefetch_keep_this(prefetch);
		return NULL;
	}
	if (prefetch && (!whole || prefetch_has_failed(prefetch) || atomic_load(&prefetch->is_outdated) ||
			 (verify && !prefetch->options.verify))) {
		prefetch_end(prefetch);
		prefetch = NULL;
	}
	if (prefetch) {
		prefetch_note_adoption(prefetch);
		prefetch_make_room_for_driver(prefetch);
		log_info("Adopted %llu MiB of device memory that were %s", (unsigned long long)(prefetch->bytes >> 20),
			 prefetch->parked ? "parked" : "filled ahead");
	}
	return prefetch;
}

bool prefetch_is_lent(struct pool *pool, int folder)
{
	struct prefetch *prefetch;
	uint8_t(*sums)[16] = NULL;
	size_t count = 0;
	uint64_t bytes;

	if (load_sums(folder, &sums, &count, &bytes, NULL))
		return false;
	pthread_mutex_lock(&pool->lock);
	for (prefetch = pool->prefetches; prefetch; prefetch = prefetch->next)
		if (prefetch->in_pool && prefetch->adopted && is_of(prefetch, sums, count, NULL, POOL_TIER_FILES))
			break;
	pthread_mutex_unlock(&pool->lock);
	free(sums);
	return prefetch != NULL;
}

/* Of these sums, or with NULL all. Returns how many there were. */
static int drop(struct pool *pool, uint8_t (*sums)[16], size_t count)
{
	struct prefetch *prefetch;
	int dropped = 0;

	do {
		pthread_mutex_lock(&pool->lock);
		call_back(pool, sums, count, NULL, POOL_TIER_FILES, limit_of(pool));
		pthread_mutex_unlock(&pool->lock);
		/* What is on its way from one kind of memory to another all the same is in the list afterwards. */
		pthread_mutex_lock(&pool->tiers_lock);
		prefetch = take(pool, sums, count, NULL, POOL_TIER_FILES);
		pthread_mutex_unlock(&pool->tiers_lock);
		/* Its thread may be making room for itself. */
		prefetch_end(prefetch);
		dropped += prefetch != NULL;
	} while (prefetch);
	return dropped;
}

void prefetch_drop_all(struct pool *pool)
{
	drop(pool, NULL, 0);
}

int prefetch_drop_kept(struct pool *pool, int folder, struct error_text *error)
{
	uint8_t(*sums)[16] = NULL;
	size_t count = 0;
	uint64_t bytes;
	int result = load_sums(folder, &sums, &count, &bytes, error);

	if (result)
		return result;
	if (drop(pool, sums, count) == 0)
		result = fail(error, -ENOENT, "Nothing is prefetched for this folder");
	free(sums);
	return result;
}

/* Counted from when it was there. With the pool's lock. */
static bool has_expired(struct prefetch *prefetch)
{
	uint64_t limit = prefetch->pool->settings.prefetch_expiry * UINT64_C(1000000000), began, since;
	struct error_text error;
	bool filled;

	if (!limit || prefetch->parked || (!look_at(prefetch, &filled, &error) && !filled))
		return false;
	prefetch_times(prefetch, &began, &since);
	if (since < prefetch->asked_for)
		since = prefetch->asked_for;
	return monotonic_nanoseconds() > since + limit;
}

static void drop_outdated(struct prefetch *found)
{
	bool expired = !found->parked && !atomic_load(&found->is_outdated) && !prefetch_has_failed(found);

	log_info("%llu MiB of %s %s memory are dropped%s", (unsigned long long)(found->bytes >> 20),
		 found->parked ? "parked" : "prefetched", found->pinned ? "pinned" : "device",
		 expired ? ", as nobody has taken them (REKINDLE_PREFETCH_EXPIRY)" : "");
	if (expired) {
		atomic_fetch_add(&found->pool->expired, 1);
		atomic_fetch_add(&found->pool->expired_bytes, found->bytes);
	}
	prefetch_end(found);
}

void prefetch_drop_outdated(struct pool *pool)
{
	struct prefetch **at, *found;

	do {
		pthread_mutex_lock(&pool->lock);
		for (at = &pool->kept; *at && !atomic_load(&(*at)->is_outdated) && !has_expired(*at);
		     at = &(*at)->next_kept)
			;
		found = *at;
		if (found)
			*at = found->next_kept;
		pthread_mutex_unlock(&pool->lock);
		if (found)
			drop_outdated(found);
	} while (found);
}
