/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/prefetch.h"
#include "support/log.h"

/*
 * Kept prefetches are known by the set of their image ids: an id is random and made anew for every dump, so equal ids
 * mean equal contents, wherever the folder was moved.
 */

static int load_ids(int folder, uint8_t (**ids_out)[16], size_t *count_out, struct error_text *error)
{
	struct gpu_image *image;
	uint8_t(*ids)[16];
	int32_t *pids = NULL;
	size_t count = 0, i;
	int result;

	result = gpu_image_list(folder, &pids, &count, error);
	if (result)
		return result;
	ids = calloc(count + 1, sizeof(*ids));
	if (!ids)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		result = gpu_image_read(folder, pids[i], &image, error);
		if (result)
			break;
		memcpy(ids[i], image->id, 16);
		gpu_image_free(image);
	}
	free(pids);
	if (result) {
		free(ids);
		return result;
	}
	*ids_out = ids;
	*count_out = count;
	return 0;
}

/* Images are in order of their pids on both sides. */
static bool is_of(const struct prefetch *prefetch, uint8_t (*ids)[16], size_t count)
{
	size_t i;

	if (prefetch->count != count)
		return false;
	for (i = 0; i < count; i++)
		if (memcmp(prefetch->images[i].image->id, ids[i], 16))
			return false;
	return true;
}

/* Takes the first one out of the list that is of these ids (of any with ids NULL). */
static struct prefetch *take(struct pool *pool, uint8_t (*ids)[16], size_t count)
{
	struct prefetch **at, *found;

	pthread_mutex_lock(&pool->lock);
	for (at = &pool->kept; *at && ids && !is_of(*at, ids, count); at = &(*at)->next_kept)
		;
	found = *at;
	if (found)
		*at = found->next_kept;
	pthread_mutex_unlock(&pool->lock);
	return found;
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

int prefetch_keep(struct pool *pool, int folder, uint64_t *bytes, struct error_text *error)
{
	struct prefetch_options options = {.verify = pool->settings.checksums, .overlap = true};
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
	prefetch = take(pool, ids, count);
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
	for (other = pool->kept; other && !is_of(other, ids, count); other = other->next_kept)
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

struct prefetch *prefetch_adopt(struct pool *pool, int folder, bool verify)
{
	uint8_t(*ids)[16] = NULL;
	struct prefetch *prefetch;
	size_t count = 0;

	if (!prefetch_any_kept(pool) || load_ids(folder, &ids, &count, NULL))
		return NULL;
	prefetch = count ? take(pool, ids, count) : NULL;
	free(ids);
	if (prefetch && (has_failed(prefetch) || (verify && !prefetch->options.verify))) {
		prefetch_end(prefetch);
		prefetch = NULL;
	}
	if (prefetch)
		log_info("Adopted %llu MiB of device memory that were filled ahead",
			 (unsigned long long)(prefetch->bytes >> 20));
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
	while ((prefetch = take(pool, ids, count))) {
		prefetch_end(prefetch);
		dropped++;
	}
	free(ids);
	return dropped;
}

bool prefetch_drop_one_kept(struct pool *pool)
{
	struct prefetch *prefetch = take(pool, NULL, 0);

	if (!prefetch)
		return false;
	log_warning("A restore needs the GPU: %llu MiB that were filled ahead are dropped",
		    (unsigned long long)(prefetch->bytes >> 20));
	prefetch_end(prefetch);
	return true;
}

bool prefetch_any_kept(struct pool *pool)
{
	bool any;

	pthread_mutex_lock(&pool->lock);
	any = pool->kept != NULL;
	pthread_mutex_unlock(&pool->lock);
	return any;
}
