/* SPDX-License-Identifier: MIT */
#include "pool/run/image_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often a long copy looks whether anybody still wants it. */
#define LOOK_AROUND_MS 20

bool image_copy_failed_for_good(int result)
{
	return result == -ENOSPC || result == -EDQUOT || result == -EROFS || result == -EACCES || result == -EPERM ||
	       result == -ECANCELED || result == -ESRCH;
}

static int make_room(struct image_copy *copy, struct error_text *error)
{
	const struct gpu_image *image = copy->image;
	int device;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		copy->counts[image->allocations[i].device] += image->allocations[i].chunk_count;
	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		if (copy->counts[device] == 0)
			continue;
		copy->chunks[device] = calloc(copy->counts[device], sizeof(*copy->chunks[device]));
		copy->owners[device] = calloc(copy->counts[device], sizeof(*copy->owners[device]));
		if (!copy->chunks[device] || !copy->owners[device])
			return fail(error, -ENOMEM, "Out of memory");
	}
	return 0;
}

/* There is room. */
static void add_chunks(struct image_copy *copy, uint32_t i, CUdeviceptr address)
{
	const struct gpu_image *image = copy->image;
	const struct gpu_image_allocation *allocation = &image->allocations[i];
	struct copy_chunk *chunk;
	uint32_t number;

	for (number = 0; number < allocation->chunk_count; number++) {
		if (allocation->inherited && allocation->inherited[number])
			continue;
		copy->owners[allocation->device][copy->wanted[allocation->device]] = i;
		chunk = &copy->chunks[allocation->device][copy->wanted[allocation->device]++];
		chunk->device_address = address + number * image->chunk_bytes;
		chunk->bytes = gpu_image_chunk_bytes(image, i, number);
		chunk->file = allocation->places[number].file;
		chunk->file_offset = allocation->places[number].offset;
		chunk->allocation_id = allocation->id;
		chunk->number = number;
		copy->bytes += chunk->bytes;
	}
}

int image_copy_prepare(struct image_copy *copy, struct error_text *error)
{
	uint32_t i;
	int result = make_room(copy, error);

	for (i = 0; i < copy->image->allocation_count && result == 0; i++)
		add_chunks(copy, i, copy->memory[i].here);
	memcpy(copy->counts, copy->wanted, sizeof(copy->counts));
	return result;
}

static void show_progress(struct image_copy *copy)
{
	uint64_t done = 0;
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++)
		if (copy->jobs[device])
			done += copy_job_bytes_done(copy->jobs[device]);
	run_progress(copy->run, copy->process, copy->phase, done, copy->bytes);
}

/* Waits for a job, and cancels it when nobody wants it any more. */
static int wait_for_job(struct image_copy *copy, struct copy_job *job, struct error_text *error)
{
	while (!copy_job_wait(job, LOOK_AROUND_MS)) {
		if (run_is_unwanted(copy->run) || target_has_ended(&copy->process->target))
			copy_job_cancel(job);
		show_progress(copy);
	}
	show_progress(copy);
	return copy_job_result(job, error);
}

static int start_job(struct image_copy *copy, int device, size_t count, struct error_text *error)
{
	struct copy_file files[GPU_IMAGE_FILES_MAX];
	struct copy_request request = {
		.direction = COPY_DEVICE_TO_FILE,
		.files = files,
		.chunks = copy->chunks[device],
		.chunk_count = count,
		.hash = copy->hash,
		.overwrite = copy->overwrite,
		.grows = copy->bytes_limit != 0,
	};

	for (; request.file_count < copy->data->count; request.file_count++)
		files[request.file_count] = (struct copy_file){.descriptor = copy->data->files[request.file_count],
							       .name = copy->image->files[request.file_count].name};
	return copy_job_start(copy->run->pool->devices[device].engine, &request, &copy->jobs[device], error);
}

/* result: of what came before. */
static int wait_for_jobs(struct image_copy *copy, int result, struct error_text *error)
{
	struct error_text other;
	int device, one;

	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		if (!copy->jobs[device])
			continue;
		if (result)
			copy_job_cancel(copy->jobs[device]);
		one = wait_for_job(copy, copy->jobs[device], &other);
		if (one && !result) {
			result = one;
			if (error)
				*error = other;
		}
	}
	return result;
}

int image_copy_run(struct image_copy *copy, struct error_text *error)
{
	int result = 0, device;

	for (device = 0; device < POOL_DEVICES_MAX && result == 0; device++)
		if (copy->wanted[device])
			result = start_job(copy, device, copy->wanted[device], error);
	return wait_for_jobs(copy, result, error);
}

void image_copy_begin(struct image_copy *copy, uint64_t bytes_limit)
{
	copy->bytes_limit = bytes_limit;
}

/* As many chunks as there may ever be: no more allocations than have the smallest size, of which each may have a short one. */
static int make_room_on(struct image_copy *copy, uint32_t device, struct error_text *error)
{
	size_t limit = copy->bytes_limit / copy->image->chunk_bytes + copy->bytes_limit / AGENT_UNIT_BYTES + 1;

	copy->chunks[device] = calloc(limit, sizeof(*copy->chunks[device]));
	copy->owners[device] = calloc(limit, sizeof(*copy->owners[device]));
	if (!copy->chunks[device] || !copy->owners[device])
		return fail(error, -ENOMEM, "Out of memory");
	return start_job(copy, (int)device, limit, error);
}

int image_copy_add(struct image_copy *copy, uint32_t i, CUdeviceptr address, struct error_text *error)
{
	const struct gpu_image_allocation *allocation = &copy->image->allocations[i];
	int result = copy->chunks[allocation->device] ? 0 : make_room_on(copy, allocation->device, error);

	if (result)
		return result;
	if (allocation->bytes > copy->bytes_limit - copy->bytes)
		return fail(error, -EPROTO, "The agent in the process exports more than it has said");
	add_chunks(copy, i, address);
	copy->counts[allocation->device] = copy->wanted[allocation->device];
	return 0;
}

static void grow_jobs(struct image_copy *copy, bool all)
{
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++)
		if (copy->jobs[device])
			copy_job_grow(copy->jobs[device], copy->wanted[device], all);
}

void image_copy_tell(struct image_copy *copy)
{
	grow_jobs(copy, false);
}

int image_copy_end(struct image_copy *copy, struct error_text *error)
{
	grow_jobs(copy, true);
	return wait_for_jobs(copy, 0, error);
}

void image_copy_keep(const struct image_copy *copy)
{
	struct gpu_image_allocation *allocation;
	const struct copy_chunk *chunk;
	int device;
	size_t i;

	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		for (i = 0; i < copy->counts[device]; i++) {
			chunk = &copy->chunks[device][i];
			allocation = &copy->image->allocations[copy->owners[device][i]];
			allocation->checksums[chunk->number] = chunk->checksum;
			allocation->zero_chunks[chunk->number] = chunk->zero;
		}
	}
}

void image_copy_free(struct image_copy *copy)
{
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++)
		if (copy->jobs[device])
			copy_job_cancel(copy->jobs[device]);
	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		copy_job_finish(copy->jobs[device]);
		free(copy->chunks[device]);
		free(copy->owners[device]);
		copy->jobs[device] = NULL;
		copy->chunks[device] = NULL;
		copy->owners[device] = NULL;
		copy->counts[device] = copy->wanted[device] = 0;
	}
	copy->bytes = copy->bytes_limit = 0;
}
