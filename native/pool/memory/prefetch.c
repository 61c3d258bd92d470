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
		image->bytes = gpu_image_device_bytes(image->image);
		prefetch->bytes += image->bytes;
		prefetch->shares |= image->image->import_count != 0;
		result = gpu_image_open_data(folder, image->image, &image->data, error);
	}
	if (only_id && result == 0 && prefetch->count)
		result = prefetch_load_guests(prefetch, folder, names, count, error);
	free(names);
	return result;
}

/* Makes it, or, where another process has what it shares with this one, takes that. */
static int make_piece(struct prefetch *prefetch, const struct prefetch_image *image, uint32_t i,
		      const struct gpu_match *gpus, struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	struct held_memory *memory = &image->memory[i];
	int result;

	memory->allocation_id = manifest->allocations[i].id;
	memory->address = manifest->allocations[i].address;
	memory->bytes = manifest->allocations[i].bytes;
	memory->device = gpu_match_find(gpus, manifest->devices[manifest->allocations[i].device].uuid);
	result = pool_device_warm(memory->device, error);
	if (result == 0)
		result = pool_device_use(memory->device, error);
	if (result == 0 && prefetch->brings_back)
		result = prefetch_adopt_memory(prefetch, image, i, memory, error);
	if (result)
		return result < 0 ? result : 0;
	result = prefetch_make_room(prefetch, memory, error);
	if (result == 0)
		result = held_memory_map(memory, error);
	if (result == 0 && prefetch_is_imported(prefetch, manifest, i))
		result = held_memory_share(memory, error);
	return result;
}

static int make_memory(struct prefetch *prefetch, struct prefetch_image *image, const struct gpu_match *gpus,
		       struct error_text *error)
{
	uint32_t count = image->image->allocation_count, all = count + image->image->import_count, i;
	int result = 0;

	image->memory = calloc(all + 1, sizeof(*image->memory));
	if (!image->memory)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < all; i++)
		image->memory[i].descriptor = -1;
	for (i = 0; i < count && result == 0; i++) {
		if (!prefetch_is_wanted(prefetch, image, i))
			continue;
		result = make_piece(prefetch, image, i, gpus, error);
		atomic_fetch_add(&prefetch->pieces_made, 1);
		if (result == 0 && prefetch_is_cancelled(prefetch))
			result = fail(error, -ECANCELED, "The restore was cancelled");
	}
	return result;
}

static struct prefetch_job *job_of_device(struct prefetch_image *image, struct pool_device *device)
{
	unsigned int i;

	for (i = 0; i < image->job_count; i++)
		if (image->jobs[i].device == device)
			return &image->jobs[i];
	image->jobs[image->job_count].device = device;
	return &image->jobs[image->job_count++];
}

static int make_jobs(struct prefetch_image *image, struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	const struct gpu_image_allocation *allocation;
	struct prefetch_job *job;
	struct copy_chunk *chunk;
	uint32_t i, number;

	image->jobs = calloc(manifest->device_count + 1, sizeof(*image->jobs));
	if (!image->jobs)
		return fail(error, -ENOMEM, "Out of memory");
	/* What is not mapped here has its contents already, or is not wanted. */
	for (i = 0; i < manifest->allocation_count; i++)
		if (image->memory[i].mapped)
			job_of_device(image, image->memory[i].device)->chunk_count +=
				manifest->allocations[i].chunk_count;
	for (i = 0; i < image->job_count; i++) {
		image->jobs[i].chunks = calloc(image->jobs[i].chunk_count, sizeof(*image->jobs[i].chunks));
		if (!image->jobs[i].chunks)
			return fail(error, -ENOMEM, "Out of memory");
		image->jobs[i].chunk_count = 0;
	}
	for (i = 0; i < manifest->allocation_count; i++) {
		allocation = &manifest->allocations[i];
		if (!image->memory[i].mapped)
			continue;
		job = job_of_device(image, image->memory[i].device);
		for (number = 0; number < allocation->chunk_count; number++) {
			chunk = &job->chunks[job->chunk_count++];
			chunk->device_address = image->memory[i].here + number * manifest->chunk_bytes;
			chunk->bytes = gpu_image_chunk_bytes(manifest, i, number);
			chunk->file = allocation->places[number].file;
			chunk->file_offset = allocation->places[number].offset;
			chunk->checksum = allocation->checksums[number];
			chunk->zero = allocation->zero_chunks[number] != 0;
			chunk->allocation_id = allocation->id;
			chunk->number = number;
		}
	}
	return 0;
}

/* Under the lock, so that whoever cancels sees every job that runs. */
static int start_jobs(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	struct copy_request request = {
		.direction = COPY_FILE_TO_DEVICE,
		.worker_limit = prefetch->options.workers,
		.verify = prefetch->options.verify,
	};
	struct copy_file files[GPU_IMAGE_FILES_MAX];
	int result = 0;
	unsigned int i;

	for (i = 0; i < image->data.count; i++)
		files[i] = (struct copy_file){.descriptor = image->data.files[i], .name = image->image->files[i].name};
	request.files = files;
	request.file_count = image->data.count;
	pthread_mutex_lock(&prefetch->lock);
	if (prefetch->cancelled)
		result = fail(error, -ECANCELED, "The restore was cancelled");
	for (i = 0; i < image->job_count && result == 0; i++) {
		request.chunks = image->jobs[i].chunks;
		request.chunk_count = image->jobs[i].chunk_count;
		result = copy_job_start(image->jobs[i].device->engine, &request, &image->jobs[i].job, error);
	}
	for (i = 0; i < image->job_count && result; i++)
		if (image->jobs[i].job)
			copy_job_cancel(image->jobs[i].job);
	if (result == 0)
		image->state = PREFETCH_FILLING;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

static void set_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state state, int result,
		      const struct error_text *error)
{
	pthread_mutex_lock(&prefetch->lock);
	image->state = state;
	if (result) {
		image->result = result;
		image->error = *error;
	}
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
}

static int begin_image(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	const struct gpu_match *gpus;
	int result;

	if (image->image->simulated != prefetch->pool->driver.simulated && image->image->allocation_count)
		return fail(error, -ENOTSUP, "The image is from a %s GPU and this pool uses a %s one",
			    image->image->simulated ? "simulated" : "real",
			    prefetch->pool->driver.simulated ? "simulated" : "real");
	result = prefetch_match_gpus(prefetch, &gpus, error);
	if (result == 0)
		result = make_memory(prefetch, image, gpus, error);
	if (result == 0)
		result = make_jobs(image, error);
	if (result == 0)
		result = start_jobs(prefetch, image, error);
	return result;
}

/* Waits for the jobs of an image and keeps the times of the first and the last of them. */
static void end_image(struct prefetch *prefetch, struct prefetch_image *image)
{
	uint64_t began, ended, first = 0, last = 0;
	struct error_text error = {""}, other;
	int result = 0, one;
	unsigned int i;

	for (i = 0; i < image->job_count; i++) {
		copy_job_wait(image->jobs[i].job, -1);
		one = copy_job_result(image->jobs[i].job, &other);
		if (one && !result) {
			result = one;
			error = other;
		}
		copy_job_times(image->jobs[i].job, &began, &ended);
		if (began && (first == 0 || began < first))
			first = began;
		if (ended > last)
			last = ended;
	}
	pthread_mutex_lock(&prefetch->lock);
	image->began = first ? first : last;
	image->ended = last;
	pthread_mutex_unlock(&prefetch->lock);
	if (result == -ECANCELED)
		log_debug("%s", error.text);
	else if (result)
		log_error("%s", error.text);
	if (result)
		pool_look_for_lost_devices(prefetch->pool);
	else
		log_debug("Filled %llu MiB of %s in %.3f s", (unsigned long long)(image->bytes >> 20),
			  image->image->files[0].name, (double)(last - first) / 1e9);
	set_state(prefetch, image, result ? PREFETCH_FAILED : PREFETCH_FILLED, result, &error);
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
		result = driver_result ? driver_result : begin_image(prefetch, &prefetch->images[i], &error);
		if (result && result != -ECANCELED) /* that was somebody's wish */
			log_error("%s", error.text);
		set_state(prefetch, &prefetch->images[i], result ? PREFETCH_FAILED : PREFETCH_FILLING, result, &error);
	}
	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].state == PREFETCH_FILLING)
			end_image(prefetch, &prefetch->images[i]);
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

int prefetch_start(struct pool *pool, int folder, const struct prefetch_options *options,
		   struct prefetch **prefetch_out, struct error_text *error)
{
	struct prefetch *prefetch;
	int result = prefetch_make(pool, folder, options, &prefetch, error);

	if (result)
		return result;
	if (pthread_create(&prefetch->thread, NULL, prefetch_main, prefetch)) {
		prefetch_free(prefetch);
		return fail(error, -EAGAIN, "Could not start a thread");
	}
	prefetch_list(prefetch);
	*prefetch_out = prefetch;
	return 0;
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
	struct prefetch_image *image;
	bool filling = false, taken = false;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		/* It wants memory of others. */
		filling |= prefetch->images[i].image->import_count && !prefetch->images[i].taken;
		filling |= prefetch->images[i].state < PREFETCH_FILLED;
		taken |= prefetch->images[i].taken && prefetch->images[i].memory;
	}
	pthread_mutex_unlock(&prefetch->lock);
	if (filling || !taken)
		return taken;
	/* The thread has finished with all of them, so their memory is only the caller's. */
	for (i = 0; i < prefetch->count; i++) {
		image = &prefetch->images[i];
		if (!image->taken || !image->memory)
			continue;
		pthread_mutex_lock(&prefetch->lock);
		image->released = true;
		pthread_mutex_unlock(&prefetch->lock);
		prefetch_image_release(image);
	}
	return false;
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
			for (job = 0; job < image->job_count; job++)
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
