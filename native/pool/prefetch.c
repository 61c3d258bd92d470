/* SPDX-License-Identifier: MIT */
#include "pool/prefetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/log.h"

/* How long memory may take to come free on a full GPU. */
#define ROOM_TIMEOUT_NS (3 * UINT64_C(1000000000))

static void image_release(struct prefetch_image *image)
{
	struct error_text error;
	unsigned int i;

	for (i = 0; i < image->job_count; i++) {
		copy_job_finish(image->jobs[i].job);
		free(image->jobs[i].chunks);
	}
	free(image->jobs);
	image->jobs = NULL;
	image->job_count = 0;
	for (i = 0; image->memory && i < image->image->allocation_count; i++) {
		if (image->memory[i].has_handle && pool_device_use(image->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&image->memory[i]);
	}
	free(image->memory);
	image->memory = NULL;
	if (image->data >= 0)
		close(image->data);
	image->data = -1;
}

static void prefetch_free(struct prefetch *prefetch)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++) {
		image_release(&prefetch->images[i]);
		gpu_match_free(&prefetch->images[i].match);
		gpu_image_free(prefetch->images[i].image);
	}
	free(prefetch->images);
	pthread_cond_destroy(&prefetch->changed);
	pthread_mutex_destroy(&prefetch->lock);
	free(prefetch);
}

/* Reads the manifests and opens the data files. */
static int load_images(struct prefetch *prefetch, int folder, struct error_text *error)
{
	struct prefetch_image *image;
	int32_t *pids = NULL;
	size_t count = 0, i;
	int result;

	result = gpu_image_list(folder, &pids, &count, error);
	if (result)
		return result;
	prefetch->images = calloc(count + 1, sizeof(*prefetch->images));
	if (!prefetch->images)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		image = &prefetch->images[prefetch->count];
		image->data = -1;
		result = gpu_image_read(folder, pids[i], &image->image, error);
		if (result)
			break;
		if (prefetch->options.only_id && memcmp(image->image->id, prefetch->options.only_id, 16)) {
			gpu_image_free(image->image);
			image->image = NULL;
			continue;
		}
		prefetch->count++;
		image->bytes = gpu_image_device_bytes(image->image);
		prefetch->bytes += image->bytes;
		if (image->image->allocation_count) {
			image->data = gpu_image_open_data(folder, image->image, error);
			if (image->data < 0)
				result = image->data;
		}
	}
	free(pids);
	return result;
}

static bool is_cancelled(struct prefetch *prefetch)
{
	bool cancelled;

	pthread_mutex_lock(&prefetch->lock);
	cancelled = prefetch->cancelled;
	pthread_mutex_unlock(&prefetch->lock);
	return cancelled;
}

/*
 * Where the GPU is full, what is kept for later makes room. Else a process that was just dumped and killed may hold its
 * memory for a moment more.
 */
static int create_memory(struct prefetch *prefetch, struct held_memory *memory, struct error_text *error)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	uint64_t deadline = 0;
	int result;

	for (;;) {
		result = held_memory_create(memory, error);
		if (result != -ENOMEM || !prefetch->options.goes_first)
			return result;
		if (prefetch_drop_one_kept(prefetch->pool))
			continue;
		if (deadline == 0)
			deadline = monotonic_nanoseconds() + ROOM_TIMEOUT_NS;
		if (monotonic_nanoseconds() > deadline || is_cancelled(prefetch))
			return result;
		nanosleep(&pause, NULL);
	}
}

static int make_memory(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	struct held_memory *memory;
	int result = 0;
	uint32_t i;

	image->memory = calloc(manifest->allocation_count + 1, sizeof(*image->memory));
	if (!image->memory)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < manifest->allocation_count; i++)
		image->memory[i].descriptor = -1;
	for (i = 0; i < manifest->allocation_count && result == 0; i++) {
		memory = &image->memory[i];
		memory->allocation_id = manifest->allocations[i].id;
		memory->address = manifest->allocations[i].address;
		memory->bytes = manifest->allocations[i].bytes;
		memory->device = image->match.devices[manifest->allocations[i].device];
		result = pool_device_warm(memory->device, error);
		if (result == 0)
			result = pool_device_use(memory->device, error);
		if (result == 0)
			result = create_memory(prefetch, memory, error);
		if (result == 0)
			result = held_memory_map(memory, error);
		if (result == 0 && is_cancelled(prefetch))
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
	for (i = 0; i < manifest->allocation_count; i++)
		job_of_device(image, image->memory[i].device)->chunk_count += manifest->allocations[i].chunk_count;
	for (i = 0; i < image->job_count; i++) {
		image->jobs[i].chunks = calloc(image->jobs[i].chunk_count, sizeof(*image->jobs[i].chunks));
		if (!image->jobs[i].chunks)
			return fail(error, -ENOMEM, "Out of memory");
		image->jobs[i].chunk_count = 0;
	}
	for (i = 0; i < manifest->allocation_count; i++) {
		allocation = &manifest->allocations[i];
		job = job_of_device(image, image->memory[i].device);
		for (number = 0; number < allocation->chunk_count; number++) {
			chunk = &job->chunks[job->chunk_count++];
			chunk->device_address = image->memory[i].here + number * manifest->chunk_bytes;
			chunk->bytes = gpu_image_chunk_bytes(manifest, i, number);
			chunk->file_offset = allocation->file_offset + number * manifest->chunk_bytes;
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
		.file = image->data,
		.file_name = image->image->data_file,
		.worker_limit = prefetch->options.workers,
		.verify = prefetch->options.verify,
	};
	int result = 0;
	unsigned int i;

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
	int result;

	if (image->image->simulated != prefetch->pool->driver.simulated && image->image->allocation_count)
		return fail(error, -ENOTSUP, "The image is from a %s GPU and this pool uses a %s one",
			    image->image->simulated ? "simulated" : "real",
			    prefetch->pool->driver.simulated ? "simulated" : "real");
	result = gpu_match_make(prefetch->pool, image->image, &image->match, error);
	if (result == 0)
		result = make_memory(prefetch, image, error);
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
	else
		log_debug("Filled %llu MiB of %s in %.3f s", (unsigned long long)(image->bytes >> 20),
			  image->image->data_file, (double)(last - first) / 1e9);
	set_state(prefetch, image, result ? PREFETCH_FAILED : PREFETCH_FILLED, result, &error);
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

int prefetch_start(struct pool *pool, int folder, const struct prefetch_options *options,
		   struct prefetch **prefetch_out, struct error_text *error)
{
	struct prefetch *prefetch = calloc(1, sizeof(*prefetch));
	pthread_condattr_t attributes;
	int result;

	if (!prefetch)
		return fail(error, -ENOMEM, "Out of memory");
	prefetch->pool = pool;
	prefetch->options = *options;
	prefetch->allowed = options->overlap;
	pthread_mutex_init(&prefetch->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&prefetch->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	result = load_images(prefetch, folder, error);
	prefetch->options.only_id = NULL;
	if (result == 0 && pthread_create(&prefetch->thread, NULL, prefetch_main, prefetch))
		result = fail(error, -EAGAIN, "Could not start a thread");
	if (result) {
		prefetch_free(prefetch);
		return result;
	}
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

struct prefetch_image *prefetch_find(struct prefetch *prefetch, const uint8_t image_id[16])
{
	size_t i;

	for (i = 0; prefetch && i < prefetch->count; i++)
		if (memcmp(prefetch->images[i].image->id, image_id, 16) == 0)
			return &prefetch->images[i];
	return NULL;
}

bool prefetch_has_failed(struct prefetch *prefetch, const struct prefetch_image *image)
{
	bool failed;

	pthread_mutex_lock(&prefetch->lock);
	failed = image->state == PREFETCH_FAILED;
	pthread_mutex_unlock(&prefetch->lock);
	return failed;
}

int prefetch_wait_memory(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	int result;

	pthread_mutex_lock(&prefetch->lock);
	while (image->state == PREFETCH_WAITING)
		pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	result = image->result;
	if (image->given)
		result = fail(error, -EINVAL, "The image of process %d was given away already", image->image->pid);
	else if (result && error)
		*error = image->error;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

int prefetch_wait_filled(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error)
{
	uint64_t end = monotonic_nanoseconds() + (uint64_t)timeout_ms * 1000000u;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	int result;

	pthread_mutex_lock(&prefetch->lock);
	while (image->state < PREFETCH_FILLED)
		if (pthread_cond_timedwait(&prefetch->changed, &prefetch->lock, &until) == ETIMEDOUT)
			break;
	result = image->state < PREFETCH_FILLED ? -EINPROGRESS : image->result;
	if (image->result && error)
		*error = image->error;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

void prefetch_give(struct prefetch *prefetch, struct prefetch_image *image)
{
	/* The thread has finished with an image that is filled, so its memory is only the caller's. */
	image_release(image);
	pthread_mutex_lock(&prefetch->lock);
	image->given = true;
	pthread_mutex_unlock(&prefetch->lock);
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

void prefetch_end(struct prefetch *prefetch)
{
	unsigned int job;
	size_t i;

	if (!prefetch)
		return;
	pthread_mutex_lock(&prefetch->lock);
	prefetch->cancelled = true;
	for (i = 0; i < prefetch->count; i++)
		for (job = 0; prefetch->images[i].state == PREFETCH_FILLING && job < prefetch->images[i].job_count;
		     job++)
			copy_job_cancel(prefetch->images[i].jobs[job].job);
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
	pthread_join(prefetch->thread, NULL);
	prefetch_free(prefetch);
}
