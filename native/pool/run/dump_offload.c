/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/agent/agent_look.h"
#include "pool/device/driver_bytes.h"
#include "pool/device/driver_checkpoint.h"
#include "pool/device/driver_gate.h"
#include "pool/run/pool_run.h"
#include "support/clock.h"
#include "support/log.h"

/* How often a long copy looks whether anybody still wants it. */
#define LOOK_AROUND_MS 20

/* The copy of one process's memory into its image. */
struct offload {
	struct run *run;
	struct run_process *process;
	struct agent_client agent;
	struct agent_export export;
	struct gpu_image *image;
	struct gpu_image_data data;
	bool release_tried; /* what was released and mapped back is imported memory, which the driver cannot save */
	struct copy_chunk *chunks[POOL_DEVICES_MAX]; /* by device */
	size_t chunk_counts[POOL_DEVICES_MAX];
	struct copy_job *jobs[POOL_DEVICES_MAX];
};

/* All at once: else each would wait until the one before it is warm. */
static void warm_all(const struct offload *offload)
{
	struct pool_device *device;
	uint32_t i;

	for (i = 0; i < offload->export.count; i++) {
		device = pool_device_find(offload->run->pool, offload->export.allocations[i].device.bytes);
		if (device)
			pool_device_warm_begin(device);
	}
}

/* Takes what the agent exported: the descriptors become held memory, and the image gets its layout. */
static int take_memory(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	struct pool *pool = offload->run->pool;
	struct held_memory *memory;
	int result;
	uint32_t i;

	run_process_end_check(process);
	run_process_drop_memory(process); /* of an earlier CHECKPOINT in this run */
	process->memory = calloc(offload->export.count + 1, sizeof(*process->memory));
	offload->image = run_make_image(offload->run, process, GPU_IMAGE_OFFLOAD, offload->export.count);
	if (!process->memory || !offload->image)
		return fail(error, -ENOMEM, "Out of memory");
	warm_all(offload);
	gpu_image_spread(offload->image, pool->settings.streams, offload->export.bytes);
	for (i = 0; i < offload->export.count; i++) {
		memory = &process->memory[i];
		memory->allocation_id = offload->export.allocations[i].allocation_id;
		memory->address = offload->export.allocations[i].address;
		memory->bytes = offload->export.allocations[i].bytes;
		memory->descriptor = offload->export.descriptors[i];
		offload->export.descriptors[i] = -1;
		process->memory_count++;
		memory->device = pool_device_find(pool, offload->export.allocations[i].device.bytes);
		if (!memory->device)
			return fail(error, -ENODEV,
				    "Process %d holds memory on a GPU that the pool does not see; start the pool "
				    "without CUDA_VISIBLE_DEVICES",
				    process->pid);
		offload->image->allocations[i].id = memory->allocation_id;
		offload->image->allocations[i].address = memory->address;
		offload->image->allocations[i].device = (uint32_t)(memory->device - pool->devices);
		if (gpu_image_place(offload->image, i, memory->bytes))
			return fail(error, -ENOMEM, "Out of memory");
		result = pool_device_warm(memory->device, error);
		if (result == 0)
			result = pool_device_use(memory->device, error);
		if (result == 0)
			result = held_memory_import(memory, error);
		if (result == 0)
			result = held_memory_map(memory, error);
		if (result)
			return result;
	}
	if (offload->export.count)
		run_note_gpu(offload->run, process->memory[0].device);
	return 0;
}

static int make_chunks(struct offload *offload, struct error_text *error)
{
	const struct gpu_image *image = offload->image;
	const struct gpu_image_allocation *allocation;
	struct copy_chunk *chunk;
	uint32_t i, number;
	int device;

	for (i = 0; i < image->allocation_count; i++)
		offload->chunk_counts[image->allocations[i].device] += image->allocations[i].chunk_count;
	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		if (offload->chunk_counts[device] == 0)
			continue;
		offload->chunks[device] = calloc(offload->chunk_counts[device], sizeof(struct copy_chunk));
		if (!offload->chunks[device])
			return fail(error, -ENOMEM, "Out of memory");
		offload->chunk_counts[device] = 0;
	}
	for (i = 0; i < image->allocation_count; i++) {
		allocation = &image->allocations[i];
		for (number = 0; number < allocation->chunk_count; number++) {
			chunk = &offload->chunks[allocation->device][offload->chunk_counts[allocation->device]++];
			chunk->device_address = offload->process->memory[i].here + number * image->chunk_bytes;
			chunk->bytes = gpu_image_chunk_bytes(image, i, number);
			chunk->file = allocation->places[number].file;
			chunk->file_offset = allocation->places[number].offset;
			chunk->allocation_id = allocation->id;
			chunk->number = number;
		}
	}
	return 0;
}

static void show_progress(struct offload *offload)
{
	uint64_t done = 0;
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++)
		if (offload->jobs[device])
			done += copy_job_bytes_done(offload->jobs[device]);
	run_progress(offload->run, offload->process, PHASE_COPY_OUT, done, offload->export.bytes);
}

/* Waits for a job, and cancels it when nobody wants it any more. */
static int wait_for_job(struct offload *offload, struct copy_job *job, struct error_text *error)
{
	while (!copy_job_wait(job, LOOK_AROUND_MS)) {
		if (run_is_unwanted(offload->run) || target_has_ended(&offload->process->target))
			copy_job_cancel(job);
		show_progress(offload);
	}
	show_progress(offload);
	return copy_job_result(job, error);
}

/* Chunks, as the copy left them, into the manifest: they are in its order, device by device. */
static void keep_checksums(struct offload *offload)
{
	size_t at[POOL_DEVICES_MAX] = {0};
	const struct copy_chunk *chunk;
	uint32_t i, number, device;

	for (i = 0; i < offload->image->allocation_count; i++) {
		device = offload->image->allocations[i].device;
		for (number = 0; number < offload->image->allocations[i].chunk_count; number++) {
			chunk = &offload->chunks[device][at[device]++];
			offload->image->allocations[i].checksums[number] = chunk->checksum;
			offload->image->allocations[i].zero_chunks[number] = chunk->zero;
		}
	}
}

static int copy_out(struct offload *offload, struct error_text *error)
{
	struct copy_file files[GPU_IMAGE_FILES_MAX];
	struct copy_request request = {.direction = COPY_DEVICE_TO_FILE, .files = files};
	struct error_text other;
	int result, one, device;

	result = make_chunks(offload, error);
	if (result)
		return result;
	result = gpu_image_create_data(offload->run->folder, offload->image, &offload->data, error);
	if (result)
		return result;
	for (; request.file_count < offload->data.count; request.file_count++)
		files[request.file_count] = (struct copy_file){.descriptor = offload->data.files[request.file_count],
							       .name = offload->image->files[request.file_count].name};
	for (device = 0; device < POOL_DEVICES_MAX && result == 0; device++) {
		if (offload->chunk_counts[device] == 0)
			continue;
		request.chunks = offload->chunks[device];
		request.chunk_count = offload->chunk_counts[device];
		result = copy_job_start(offload->run->pool->devices[device].engine, &request, &offload->jobs[device],
					error);
	}
	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		if (!offload->jobs[device])
			continue;
		if (result)
			copy_job_cancel(offload->jobs[device]);
		one = wait_for_job(offload, offload->jobs[device], &other);
		if (one && !result) {
			result = one;
			if (error)
				*error = other;
		}
	}
	if (result == 0)
		keep_checksums(offload);
	return result;
}

/* The image is about to be the only copy beside what the pool holds: onto the disk, and read back from there. */
static int check_in_background(struct offload *offload, struct error_text *error)
{
	struct gpu_image *image = offload->image;
	struct gpu_image_data data = offload->data;

	offload->image = NULL;
	offload->data.count = 0;
	return image_check_start(image, data, offload->run->pool->settings.streams, &offload->process->check, error);
}

static int write_image(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint64_t began = monotonic_nanoseconds();
	int result = 0;
	uint32_t i;

	driver_bytes_note(offload->run->pool, offload->image, process->target.pid);
	if (offload->image->allocation_count) {
		result = copy_out(offload, error);
		if (result)
			return result;
		run_phase_add(process, PHASE_COPY_OUT, began, offload->export.bytes);
	}
	result = run_commit_image(offload->run, process, offload->image, error);
	if (result)
		return result;
	for (i = 0; i < process->memory_count; i++)
		held_memory_unmap(&process->memory[i]);
	process->record.device_bytes = offload->export.bytes;
	process->image_bytes = offload->image->stored_bytes;
	process->record.allocations = offload->image->allocation_count;
	return process->record.allocations ? check_in_background(offload, error) : 0;
}

static int release_memory(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint64_t began = monotonic_nanoseconds();
	struct error_text other;
	int result;

	run_progress(offload->run, process, PHASE_RELEASE, 0, 0);
	process_note_release(process);
	offload->release_tried = true;
	result = agent_release_all(&offload->agent, process->image_id, process->memory_count, error);
	if (result == 0) {
		run_phase_add(process, PHASE_RELEASE, began, process->record.device_bytes);
		return 0;
	}
	if (agent_map_all(&offload->agent, process->memory, process->memory_count, &other) == 0) {
		process_note_memory_back(process);
		return result;
	}
	log_error("Process %d: after the release failed its memory could not be mapped back: %s", process->pid,
		  other.text);
	return result;
}

static void offload_free(struct offload *offload)
{
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		copy_job_finish(offload->jobs[device]);
		free(offload->chunks[device]);
	}
	gpu_image_close_data(&offload->data);
	gpu_image_free(offload->image);
	agent_export_free(&offload->export);
}

/* Warming the GPU takes as long as everything else here, so it begins before the agent is asked. */
static void warm_ahead(struct pool *pool)
{
	pool_spare_engine_begin(pool);
	if (pool->device_count == 1)
		pool_device_warm_begin(&pool->devices[0]);
}

/* Failures that the driver's own checkpoint would meet as well, or that mean that nobody wants the dump any more. */
static bool is_final(int result)
{
	return result == -ENOSPC || result == -EDQUOT || result == -EROFS || result == -EACCES || result == -EPERM ||
	       result == -ECANCELED || result == -ESRCH || result == -EOPNOTSUPP;
}

enum save_outcome run_offload(struct run *run, struct run_process *process, int *code, struct error_text *error)
{
	struct offload offload = {.run = run, .process = process};
	struct error_text other;
	bool answered = false;
	int result;

	offload.agent = run_agent(run, process);
	run_progress(run, process, PHASE_COPY_OUT, 0, 0);
	warm_ahead(run->pool);
	/* Every thread but the agent's is stopped, so the GPU stays quiet while the driver lets the agent work. */
	result = driver_gate_unlock(run->pool, &process->target, error);
	if (result) {
		answered = result == -EBUSY; /* nothing has happened yet, and the driver can save everything itself */
		goto out;
	}
	result = agent_ask_again(&offload.agent, &process->target, error);
	if (result == 0)
		result = agent_export_all(&offload.agent, run->pool, &offload.export, &answered, error);
	if (result == 0)
		result = take_memory(&offload, error);
	if (result == 0)
		result = write_image(&offload, error);
	if (result == 0 && run_is_unwanted(run))
		result = fail(error, -ECANCELED, "The dump was cancelled");
	if (result == 0)
		result = release_memory(&offload, error);
	if (driver_gate_lock(run->pool, &process->target, &other)) {
		if (result == 0) {
			result = fail(error, -EIO, "%s", other.text);
			if (agent_map_all(&offload.agent, process->memory, process->memory_count, &other) == 0)
				process_note_memory_back(process);
		}
		process_note_unlock(process);
		answered = false; /* the driver cannot save what it cannot lock */
	}
out:
	offload_free(&offload);
	if (result && !process_lacks_memory(process)) {
		run_process_drop_memory(process);
		if (process->image_written)
			run_remove_image(run, process);
		else
			gpu_image_remove_unfinished(run->folder, process->pid);
	}
	*code = result;
	if (result == 0)
		return SAVED;
	/* Without an answer nobody knows whether the process holds memory that the driver cannot save. */
	return answered && !offload.release_tried && !is_final(result) ? LEFT_TO_DRIVER : NOT_SAVED;
}
