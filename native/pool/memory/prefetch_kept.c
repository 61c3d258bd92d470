/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/memory/prefetch.h"
#include "store/checkpoint_gpu_images.h"
#include "support/log.h"

/*
 * What is kept, the last one that was used first. It is known by the set of their image ids: an id is random and made anew for every dump, so equal ids
 * mean equal contents, wherever the folder was moved.
 */

static int load_ids(int folder, uint8_t (**ids_out)[16], size_t *count_out, struct error_text *error)
{
	struct gpu_image *image;
	uint8_t(*ids)[16];
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int result;

	result = checkpoint_gpu_images(folder, &names, &count, error);
	if (result)
		return result;
	ids = calloc(count + 1, sizeof(*ids));
	if (!ids)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		result = gpu_image_read(folder, &names[i], &image, error);
		if (result)
			break;
		memcpy(ids[i], image->id, 16);
		gpu_image_free(image);
	}
	free(names);
	if (result) {
		free(ids);
		return result;
	}
	*ids_out = ids;
	*count_out = count;
	return 0;
}

/* Images are in order of their pids on both sides. device_map: NULL for any. */
static bool is_of(const struct prefetch *prefetch, uint8_t (*ids)[16], size_t count, const char *device_map)
{
	size_t i;

	if (prefetch->count != count || (device_map && strcmp(prefetch->device_map, device_map)))
		return false;
	for (i = 0; i < count; i++)
		if (memcmp(prefetch->images[i].image->id, ids[i], 16))
			return false;
	return true;
}

/* Takes the first one out of the list that is of these ids (of any with ids NULL). */
static struct prefetch *take(struct pool *pool, uint8_t (*ids)[16], size_t count, const char *device_map)
{
	struct prefetch **at, *found;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at && ids && !is_of(*at, ids, count, device_map); at = &(*at)->next_kept)
		;
	found = *at;
	if (found)
		*at = found->next_kept;
	pthread_mutex_unlock(&pool->lock);
	return found;
}

void prefetch_keep_this(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;

	pthread_mutex_lock(&pool->lock);
	prefetch->next_kept = pool->kept;
	pool->kept = prefetch;
	pthread_mutex_unlock(&pool->lock);
}

static bool has_failed(struct prefetch *prefetch)
{
	bool failed = false;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		failed |= prefetch->images[i].state == PREFETCH_FAILED;
	pthread_mutex_unlock(&prefetch->lock);
	return failed;
}

int prefetch_keep(struct pool *pool, int folder, const char *device_map, uint64_t *bytes, struct error_text *error)
{
	struct prefetch_options options = {
		.verify = pool->settings.checksums,
		.overlap = true,
		.may_move = true,
		.ahead = true,
		.device_map = device_map,
	};
	struct prefetch *prefetch, *other;
	uint8_t(*ids)[16] = NULL;
	size_t count = 0;
	int result;

	result = load_ids(folder, &ids, &count, error);
	if (result)
		return result;
	if (count == 0) {
		result = fail(error, -ENOENT, "The folder holds no GPU image to prefetch");
		goto out;
	}
	/* A second request finds it as it is, unless the first try failed. */
	prefetch = take(pool, ids, count, device_map);
	if (prefetch && has_failed(prefetch)) {
		prefetch_end(prefetch);
		prefetch = NULL;
	}
	if (!prefetch) {
		result = prefetch_start(pool, folder, &options, &prefetch, error);
		if (result)
			goto out;
	}
	*bytes = prefetch->bytes;
	pthread_mutex_lock(&pool->lock);
	for (other = pool->kept; other && !is_of(other, ids, count, device_map); other = other->next_kept)
		;
	if (!other) {
		prefetch->next_kept = pool->kept;
		pool->kept = prefetch;
	}
	pthread_mutex_unlock(&pool->lock);
	if (other) /* somebody else was faster */
		prefetch_end(prefetch);
out:
	free(ids);
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

int prefetch_kept_remaining(struct pool *pool, int folder, const char *device_map, uint64_t *bytes,
			    struct error_text *error)
{
	struct prefetch *kept;
	uint8_t(*ids)[16] = NULL;
	size_t count = 0;
	bool filled = false;
	int result;

	result = load_ids(folder, &ids, &count, error);
	if (result)
		return result;
	/* Under the lock nobody takes it out of the list, and ends it. */
	pthread_mutex_lock(&pool->lock);
	for (kept = pool->kept; kept && !is_of(kept, ids, count, device_map); kept = kept->next_kept)
		;
	if (!kept)
		result = fail(error, -ENOENT, "Nothing is prefetched for this folder");
	else
		result = look_at(kept, &filled, error);
	if (!result) {
		*bytes = filled ? 0 : kept->bytes - prefetch_bytes_done(kept);
		if (!filled && !*bytes) /* the last chunk may still turn out to be wrong */
			*bytes = 1;
	}
	pthread_mutex_unlock(&pool->lock);
	free(ids);
	return result;
}

struct prefetch *prefetch_adopt(struct pool *pool, int folder, const char *device_map, bool verify)
{
	uint8_t(*ids)[16] = NULL;
	struct prefetch *prefetch;
	size_t count = 0;

	if (!prefetch_any_kept(pool) || load_ids(folder, &ids, &count, NULL))
		return NULL;
	prefetch = count ? take(pool, ids, count, device_map) : NULL;
	free(ids);
	if (prefetch &&
	    (!prefetch_await_check(prefetch) || has_failed(prefetch) || (verify && !prefetch->options.verify))) {
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

int prefetch_drop_kept(struct pool *pool, const int *folder)
{
	uint8_t(*ids)[16] = NULL;
	struct prefetch *prefetch;
	size_t count = 0;
	int dropped = 0;

	if (folder && load_ids(*folder, &ids, &count, NULL))
		return 0;
	while ((prefetch = take(pool, ids, count, NULL))) {
		prefetch_end(prefetch);
		dropped++;
	}
	free(ids);
	return dropped;
}

void prefetch_drop_outdated(struct pool *pool)
{
	struct prefetch **at, *found;

	do {
		pthread_mutex_lock(&pool->lock);
		for (at = &pool->kept; *at && !atomic_load(&(*at)->is_outdated); at = &(*at)->next_kept)
			;
		found = *at;
		if (found)
			*at = found->next_kept;
		pthread_mutex_unlock(&pool->lock);
		if (found)
			log_info("%llu MiB of parked device memory are dropped",
				 (unsigned long long)(found->bytes >> 20));
		prefetch_end(found);
	} while (found);
}

bool prefetch_any_kept(struct pool *pool)
{
	bool any;

	pthread_mutex_lock(&pool->lock);
	any = pool->kept != NULL;
	pthread_mutex_unlock(&pool->lock);
	return any;
}
