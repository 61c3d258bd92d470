/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * The memory of one image, piece by piece, and the jobs that fill it, which begin with the first piece: thousands of pieces
 * take about as long to make as to fill.
 */

/* The jobs hear of what is new when there is so much of it: each time wakes all workers. */
#define STEP_BYTES (UINT64_C(64) << 20)

static struct prefetch_job *job_of_device(struct prefetch_image *image, struct pool_device *device)
{
	unsigned int i;

	for (i = 0; i < image->job_count; i++)
		if (image->jobs[i].device == device)
			return &image->jobs[i];
	image->jobs[image->job_count].device = device;
	return &image->jobs[image->job_count++];
}

/* What the pieces are to be, and the bytes of all that are wanted. */
static int plan_memory(struct prefetch *prefetch, struct prefetch_image *image, const struct gpu_match *gpus,
		       uint64_t *bytes, struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	uint32_t count = manifest->allocation_count, i;

	*bytes = 0;
	image->memory = calloc(count + manifest->import_count + 1, sizeof(*image->memory));
	image->jobs = calloc(manifest->device_count + 1, sizeof(*image->jobs));
	if (!image->memory || !image->jobs)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count + manifest->import_count; i++)
		image->memory[i].descriptor = -1;
	for (i = 0; i < count; i++) {
		if (!prefetch_is_wanted(prefetch, image, i))
			continue;
		image->memory[i].allocation_id = manifest->allocations[i].id;
		image->memory[i].address = manifest->allocations[i].address;
		image->memory[i].bytes = manifest->allocations[i].bytes;
		image->memory[i].on_host = manifest->allocations[i].on_host;
		image->memory[i].node = manifest->allocations[i].node;
		image->memory[i].device = gpu_match_find(gpus, manifest->devices[manifest->allocations[i].device].uuid);
		if (prefetch->options.pinned && !image->memory[i].on_host) {
			image->memory[i].on_host = true;
			image->memory[i].node = prefetch_node_of(image->memory[i].device);
		}
		job_of_device(image, image->memory[i].device)->chunk_count += manifest->allocations[i].chunk_count;
		*bytes += image->memory[i].bytes;
	}
	return 0;
}

/* All of the chunks but their addresses, which come with the pieces. */
static int make_jobs(struct prefetch_image *image, struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	const struct gpu_image_allocation *allocation;
	struct prefetch_job *job;
	struct copy_chunk *chunk;
	uint32_t i, number;

	for (i = 0; i < image->job_count; i++) {
		image->jobs[i].chunks = calloc(image->jobs[i].chunk_count, sizeof(*image->jobs[i].chunks));
		if (!image->jobs[i].chunks)
			return fail(error, -ENOMEM, "Out of memory");
		image->jobs[i].chunk_count = 0;
	}
	for (i = 0; i < manifest->allocation_count; i++) {
		allocation = &manifest->allocations[i];
		if (!image->memory[i].device)
			continue;
		job = job_of_device(image, image->memory[i].device);
		for (number = 0; number < allocation->chunk_count; number++) {
			chunk = &job->chunks[job->chunk_count++];
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

static int warm_devices(const struct prefetch_image *image, struct error_text *error)
{
	unsigned int i;
	int result = 0;

	for (i = 0; i < image->job_count && result == 0; i++)
		result = pool_device_warm(image->jobs[i].device, error);
	if (result == 0 && image->job_count)
		result = pool_device_use(image->jobs[0].device, error);
	return result;
}

static void cancel_jobs(const struct prefetch_image *image)
{
	unsigned int i;

	for (i = 0; i < image->job_count; i++)
		if (image->jobs[i].job)
			copy_job_cancel(image->jobs[i].job);
}

/* Under the lock, so that whoever cancels sees every job that runs. */
static int start_jobs(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	struct copy_request request = {
		.direction = COPY_FILE_TO_DEVICE,
		.worker_limit = prefetch->options.workers,
		.verify = prefetch->options.verify,
		.grows = true,
	};
	struct copy_file files[GPU_IMAGE_FILES_MAX];
	int result = 0;
	unsigned int i;

	for (i = 0; i < image->data.count; i++)
		files[i] = (struct copy_file){.descriptor = image->data.files[i], .name = image->image->files[i].name};
	request.files = files;
	request.file_count = image->data.count;
	pthread_mutex_lock(&prefetch->lock);
	request.background = atomic_load(&prefetch->background);
	if (prefetch->cancelled)
		result = fail(error, -ECANCELED, "The restore was cancelled");
	for (i = 0; i < image->job_count && result == 0; i++) {
		request.chunks = image->jobs[i].chunks;
		request.chunk_count = image->jobs[i].chunk_count;
		result = copy_job_start(image->jobs[i].device->engine, &request, &image->jobs[i].job, error);
	}
	if (result)
		cancel_jobs(image);
	else
		image->state = PREFETCH_FILLING;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

/* Makes it, or, where another process has what it shares with this one, takes that. */
static int make_piece(struct prefetch *prefetch, struct prefetch_image *image, uint32_t i, struct error_text *error)
{
	struct held_memory *memory = &image->memory[i];
	int result = pool_device_use(memory->device, error);

	if (result == 0 && prefetch->brings_back)
		result = prefetch_adopt_memory(prefetch, image, i, memory, error);
	if (result)
		return result < 0 ? result : 0;
	result = prefetch_make_room(prefetch, memory, error);
	if (result == 0)
		result = held_memory_map(memory, &image->range, error);
	if (result == 0 && prefetch_is_imported(prefetch, image->image, i))
		result = held_memory_share(memory, error);
	return result;
}

/* The chunks of the piece can be filled from now on; one that is not mapped here has its contents already. */
static void add_chunks(struct prefetch_image *image, uint32_t i)
{
	struct prefetch_job *job = job_of_device(image, image->memory[i].device);
	struct copy_chunk *chunk;
	uint32_t number;

	for (number = 0; number < image->image->allocations[i].chunk_count; number++) {
		chunk = &job->chunks[job->ready++];
		chunk->device_address = image->memory[i].here + number * image->image->chunk_bytes;
		if (!image->memory[i].mapped)
			chunk->bytes = 0;
	}
}

/* Those who wait for the first `made` pieces hear that they are there. */
static void tell(struct prefetch *prefetch, struct prefetch_image *image, uint32_t made, bool all)
{
	unsigned int i;

	for (i = 0; i < image->job_count && !image->leader; i++)
		if (all || image->jobs[i].told != image->jobs[i].ready) {
			copy_job_grow(image->jobs[i].job, image->jobs[i].ready, all);
			image->jobs[i].told = image->jobs[i].ready;
		}
	pthread_mutex_lock(&prefetch->lock);
	image->made = made;
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
}

static int make_memory(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	uint32_t count = image->image->allocation_count, i;
	uint64_t untold = 0, began = monotonic_nanoseconds();
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		if (!image->memory[i].device)
			continue;
		result = make_piece(prefetch, image, i, error);
		atomic_fetch_add(&prefetch->pieces_made, 1);
		if (result == 0 && prefetch_is_cancelled(prefetch))
			result = fail(error, -ECANCELED, "The restore was cancelled");
		if (result)
			break;
		add_chunks(image, i);
		untold += image->memory[i].bytes;
		if (untold < STEP_BYTES)
			continue;
		tell(prefetch, image, i + 1, false);
		untold = 0;
	}
	if (result) {
		cancel_jobs(image);
		return result;
	}
	tell(prefetch, image, count, true);
	log_debug("%u pieces of memory were made in %.3f s", count, (double)(monotonic_nanoseconds() - began) / 1e9);
	return 0;
}

int prefetch_fill_begin(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	const struct gpu_match *gpus;
	uint64_t bytes = 0;
	int result;

	if (image->image->simulated != prefetch->pool->driver.simulated && image->image->allocation_count)
		return fail(error, -ENOTSUP, "The image is from a %s GPU and this pool uses a %s one",
			    image->image->simulated ? "simulated" : "real",
			    prefetch->pool->driver.simulated ? "simulated" : "real");
	result = prefetch_match_gpus(prefetch, &gpus, error);
	if (result == 0)
		result = plan_memory(prefetch, image, gpus, &bytes, error);
	if (result == 0)
		result = make_jobs(image, error);
	if (result == 0)
		result = warm_devices(image, error);
	if (result == 0)
		result = held_range_reserve(&image->range, prefetch->pool, bytes, error);
	if (result == 0)
		prefetch_follow_begin(prefetch, image);
	if (result == 0)
		result = start_jobs(prefetch, image, error);
	if (result == 0)
		result = make_memory(prefetch, image, error);
	if (result)
		prefetch_follow_end(prefetch, image);
	return result;
}

void prefetch_fill_end(struct prefetch *prefetch, struct prefetch_image *image)
{
	uint64_t began, ended, first = 0, last = 0;
	struct error_text error = {""}, other;
	int result = 0, one;
	unsigned int i;

	prefetch_follow(prefetch, image);
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
	if (image->follow_began && (!first || image->follow_began < first))
		first = image->follow_began;
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
	gpu_image_close_data(&image->data);
	prefetch_set_state(prefetch, image, result ? PREFETCH_FAILED : PREFETCH_FILLED, result, &error);
}
