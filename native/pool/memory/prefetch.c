/* SPDX-License-Identifier: MIT */
#include "pool/memory/prefetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/checkpoint_gpu_images.h"
#include "support/clock.h"
#include "support/log.h"

/* Reads the manifests and opens the data files. */
static int load_images(struct prefetch *prefetch, int folder, struct error_text *error)
{
	const uint8_t *only_id = prefetch->options.only_id;
	struct prefetch_image *image;
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int result;

	/* Where a dump is undone there is no checkpoint yet. */
	result = only_id ? gpu_image_list(folder, &names, &count, error)
			 : checkpoint_gpu_images(folder, &names, &count, error);
	if (result)
		return result;
	prefetch->images = calloc(count + 1, sizeof(*prefetch->images));
	if (!prefetch->images)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		image = &prefetch->images[prefetch->count];
		image->lock = -1;
		image->process.pidfd = -1;
		if (only_id && names[i].has_id && memcmp(names[i].id, only_id, sizeof(names[i].id)))
			continue;
		result = gpu_image_read(folder, &names[i], &image->image, error);
		if (result)
			break;
		if (only_id && memcmp(image->image->id, only_id, sizeof(image->image->id))) {
			gpu_image_free(image->image);
			image->image = NULL;
			continue;
		}
		prefetch->count++;
		image->bytes = gpu_image_bytes(image->image);
		prefetch->bytes += image->bytes;
		prefetch->shares |= image->image->import_count != 0;
		prefetch->in_pool |= image->image->in_pool;
		if (!prefetch->options.has_memory)
			result = gpu_image_must_be_stored(image->image, error);
		if (result == 0)
			result = gpu_image_open_data(folder, image->image, &image->data, error);
	}
	if (only_id && result == 0 && prefetch->count)
		result = prefetch_load_guests(prefetch, folder, names, count, error);
	free(names);
	return result;
}

/*
 * The GPUs of the images, all at once: else each would wait until the one before it is warm. Where others may be taken that is
 * not known yet.
 */
static void warm_ahead(struct prefetch *prefetch)
{
	const struct gpu_image *manifest;
	struct pool_device *device;
	uint32_t at;
	size_t i;

	if (prefetch->device_map[0])
		return;
	for (i = 0; i < prefetch->count; i++) {
		manifest = prefetch->images[i].image;
		for (at = 0; at < manifest->allocation_count; at++) {
			device = pool_device_find(prefetch->pool,
						  manifest->devices[manifest->allocations[at].device].uuid);
			if (device)
				pool_device_warm_begin(device);
		}
	}
}

/* With the lock. */
static struct prefetch_image *find_to_drop(struct prefetch *prefetch)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].taken && !prefetch->images[i].dropped)
			return &prefetch->images[i];
	return NULL;
}

void prefetch_drop_asked(struct prefetch *prefetch)
{
	struct prefetch_image *image;

	pthread_mutex_lock(&prefetch->lock);
	while (!prefetch->cancelled && prefetch->drops && (image = find_to_drop(prefetch))) {
		image->released = true;
		pthread_mutex_unlock(&prefetch->lock);
		prefetch_image_release(image);
		pthread_mutex_lock(&prefetch->lock);
		image->dropped = true;
	}
	prefetch->drops = false;
	pthread_mutex_unlock(&prefetch->lock);
}

/* Until it is ended. */
static void drop_when_asked(struct prefetch *prefetch)
{
	bool cancelled = false;

	while (!cancelled) {
		prefetch_drop_asked(prefetch);
		pthread_mutex_lock(&prefetch->lock);
		while (!prefetch->cancelled && !prefetch->drops)
			pthread_cond_wait(&prefetch->changed, &prefetch->lock);
		cancelled = prefetch->cancelled;
		pthread_mutex_unlock(&prefetch->lock);
	}
}

static void *prefetch_main(void *argument)
{
	struct prefetch *prefetch = argument;
	struct error_text error = {""};
	int driver_result, result;
	bool cancelled;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	while (!prefetch->allowed && !prefetch->cancelled)
		pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	cancelled = prefetch->cancelled;
	pthread_mutex_unlock(&prefetch->lock);

	if (!cancelled && prefetch->bytes)
		pool_spare_engine_begin(prefetch->pool);
	driver_result = cancelled ? fail(&error, -ECANCELED, "The restore was cancelled")
				  : pool_driver_prepare(prefetch->pool, &error);
	if (driver_result == 0)
		warm_ahead(prefetch);
	for (i = 0; i < prefetch->count; i++) {
		result = driver_result ? driver_result : prefetch_fill_begin(prefetch, &prefetch->images[i], &error);
		if (result && result != -ECANCELED) /* that was somebody's wish */
			log_error("%s", error.text);
		prefetch_set_state(prefetch, &prefetch->images[i], result ? PREFETCH_FAILED : PREFETCH_FILLING, result,
				   &error);
	}
	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].state == PREFETCH_FILLING)
			prefetch_fill_end(prefetch, &prefetch->images[i]);
	drop_when_asked(prefetch);
	return NULL;
}

int prefetch_make(struct pool *pool, int folder, const struct prefetch_options *options, struct prefetch **prefetch_out,
		  struct error_text *error)
{
	struct prefetch *prefetch = calloc(1, sizeof(*prefetch));
	pthread_condattr_t attributes;
	int result;

	if (!prefetch)
		return fail(error, -ENOMEM, "Out of memory");
	prefetch->pool = pool;
	prefetch->options = *options;
	prefetch->allowed = options->overlap;
	atomic_store(&prefetch->background, options->ahead);
	prefetch->brings_back = options->only_id != NULL;
	if (options->device_map)
		snprintf(prefetch->device_map, sizeof(prefetch->device_map), "%s", options->device_map);
	pthread_mutex_init(&prefetch->lock, NULL);
	pthread_mutex_init(&prefetch->gpus_lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&prefetch->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	prefetch_note_origin(prefetch, folder);
	result = load_images(prefetch, folder, error);
	prefetch->options.only_id = NULL;
	/* One process after the other, see pool/run/resume.c. */
	if (prefetch->brings_back && prefetch->shares)
		prefetch->allowed = false;
	prefetch->options.device_map = NULL; /* the copy counts */
	if (result) {
		prefetch_free(prefetch);
		return result;
	}
	*prefetch_out = prefetch;
	return 0;
}

int prefetch_begin(struct prefetch *prefetch, struct error_text *error)
{
	/* First: whom it follows, and who follows it, is said by its number. */
	prefetch_list(prefetch);
	if (pthread_create(&prefetch->thread, NULL, prefetch_main, prefetch)) {
		prefetch_unlist(prefetch);
		return fail(error, -EAGAIN, "Could not start a thread");
	}
	if (!prefetch->options.ahead)
		prefetch_begin_exports(prefetch);
	return 0;
}

int prefetch_start(struct pool *pool, int folder, const struct prefetch_options *options, struct prefetch **prefetch,
		   struct error_text *error)
{
	int result = prefetch_make(pool, folder, options, prefetch, error);

	if (result)
		return result;
	result = prefetch_begin(*prefetch, error);
	if (result) {
		prefetch_free(*prefetch);
		*prefetch = NULL;
	}
	return result;
}

void prefetch_allow(struct prefetch *prefetch)
{
	pthread_mutex_lock(&prefetch->lock);
	prefetch->allowed = true;
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
}

uint64_t prefetch_progress(struct prefetch *prefetch)
{
	return atomic_load(&prefetch->pieces_made) + prefetch_bytes_done(prefetch);
}

bool prefetch_drop_taken(struct prefetch *prefetch)
{
	bool filling = false, taken = false;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		const struct prefetch_image *image = &prefetch->images[i];

		/* It wants memory of others. */
		filling |= image->image->import_count && !image->taken;
		filling |= image->state < PREFETCH_FILLED;
		taken |= image->taken && !image->dropped;
	}
	if (taken && !filling) {
		prefetch->drops = true;
		pthread_cond_broadcast(&prefetch->changed);
	}
	pthread_mutex_unlock(&prefetch->lock);
	return taken;
}

uint64_t prefetch_bytes_done(struct prefetch *prefetch)
{
	const struct prefetch_image *image;
	uint64_t bytes = 0;
	unsigned int job;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		image = &prefetch->images[i];
		if (image->state == PREFETCH_FILLED)
			bytes += image->bytes;
		else if (image->state == PREFETCH_FILLING)
			for (bytes += atomic_load(&image->followed), job = 0; job < image->job_count; job++)
				bytes += copy_job_bytes_done(image->jobs[job].job);
	}
	pthread_mutex_unlock(&prefetch->lock);
	return bytes;
}

void prefetch_times(struct prefetch *prefetch, uint64_t *began, uint64_t *ended)
{
	const struct prefetch_image *image;
	size_t i;

	*began = 0;
	*ended = 0;
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		image = &prefetch->images[i];
		if (image->bytes && image->began && (*began == 0 || image->began < *began))
			*began = image->began;
		if (image->bytes && image->ended > *ended)
			*ended = image->ended;
	}
	pthread_mutex_unlock(&prefetch->lock);
}
