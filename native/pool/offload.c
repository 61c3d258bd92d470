/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/driver_checkpoint.h"
#include "pool/driver_gate.h"
#include "pool/pool_run.h"
#include "rekindle.h"
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
	int data;
	bool release_tried; /* what was released and mapped back is imported memory, which the driver cannot save */
	struct copy_chunk *chunks[POOL_DEVICES_MAX]; /* by device */
	size_t chunk_counts[POOL_DEVICES_MAX];
	struct copy_job *jobs[POOL_DEVICES_MAX];
};

static bool process_has_ended(const struct run_process *process)
{
	struct pollfd polled = {.fd = process->pidfd, .events = POLLIN};

	return process->pidfd >= 0 && poll(&polled, 1, 0) > 0;
}

/* Takes what the agent exported: the descriptors become held memory, and the image gets its layout. */
static int take_memory(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	struct pool *pool = offload->run->pool;
	struct held_memory *memory;
	int result;
	uint32_t i;

	run_process_drop_memory(process); /* of an earlier CHECKPOINT in this run */
	process->memory = calloc(offload->export.count + 1, sizeof(*process->memory));
	offload->image = run_make_image(offload->run, process, GPU_IMAGE_OFFLOAD, offload->export.count);
	if (!process->memory || !offload->image)
		return fail(error, -ENOMEM, "Out of memory");
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
			return fail(
				error, -ENODEV,
				"Process %d holds memory on a GPU that the pool does not see; start the pool without "
				"CUDA_VISIBLE_DEVICES",
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
		memcpy(offload->run->gpu_name, process->memory[0].device->name, sizeof(offload->run->gpu_name));
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
			chunk->file_offset = allocation->file_offset + number * image->chunk_bytes;
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
	run_progress(offload->run, REKINDLE_PHASE_COPY_OUT, done, offload->export.bytes);
}

/* Waits for a job, and cancels it when nobody wants it any more. */
static int wait_for_job(struct offload *offload, struct copy_job *job, struct error_text *error)
{
	while (!copy_job_wait(job, LOOK_AROUND_MS)) {
		if (run_is_abandoned(offload->run) || process_has_ended(offload->process))
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
	struct copy_request request = {.direction = COPY_DEVICE_TO_FILE, .file_name = offload->image->data_file};
	struct error_text other;
	int result, one, device;

	result = make_chunks(offload, error);
	if (result)
		return result;
	offload->data = gpu_image_create_data(offload->run->folder, offload->image, error);
	if (offload->data < 0)
		return offload->data;
	request.file = offload->data;
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

/* The image is about to be the only copy: on the disk, and read back. */
static int flush_and_verify(struct offload *offload, struct error_text *error)
{
	struct gpu_image_verification verification = {.data = offload->data,
						      .threads = offload->run->pool->settings.streams};
	int result;

	result = gpu_image_flush_data(offload->data, offload->image, error);
	if (result == 0)
		result = gpu_image_verify(offload->image, &verification, error);
	return result;
}

static int write_image(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint64_t began = monotonic_nanoseconds();
	int result = 0;
	uint32_t i;

	if (offload->image->allocation_count) {
		result = copy_out(offload, error);
		if (result)
			return result;
		run_phase_add(process, "copy_out", began, offload->export.bytes);
		began = monotonic_nanoseconds();
		result = flush_and_verify(offload, error);
		if (result)
			return result;
	}
	result = run_commit_image(offload->run, offload->image, error);
	if (result)
		return result;
	process->image_written = true;
	run_phase_add(process, "verify", began, offload->image->stored_bytes);
	for (i = 0; i < process->memory_count; i++)
		held_memory_unmap(&process->memory[i]);
	process->device_bytes = offload->export.bytes;
	process->image_bytes = offload->image->stored_bytes;
	process->allocations = offload->image->allocation_count;
	memcpy(process->image_id, offload->image->id, sizeof(process->image_id));
	return 0;
}

static int release_memory(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint64_t began = monotonic_nanoseconds();
	struct error_text other;
	int result;

	run_progress(offload->run, REKINDLE_PHASE_RELEASE, 0, 0);
	process->released = true;
	offload->release_tried = true;
	result = agent_release_all(&offload->agent, process->image_id, process->memory_count, error);
	if (result == 0) {
		run_phase_add(process, "release", began, process->device_bytes);
		return 0;
	}
	if (agent_map_all(&offload->agent, process->memory, process->memory_count, &other) == 0) {
		process->released = false;
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
	if (offload->data >= 0)
		close(offload->data);
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

int run_offload(struct run *run, struct run_process *process, bool *native_works, struct error_text *error)
{
	struct offload offload = {.run = run, .process = process, .data = -1};
	struct error_text other;
	bool answered = false;
	int result;

	*native_works = false;
	offload.agent = run_agent(run, process);
	run_progress(run, REKINDLE_PHASE_COPY_OUT, 0, 0);
	warm_ahead(run->pool);
	/* Every thread but the agent's is stopped, so the GPU stays quiet while the driver lets the agent work. */
	result = driver_gate_unlock(run->pool, process->pid, error);
	if (result) {
		answered = result == -EBUSY; /* nothing has happened yet, and the driver can save everything itself */
		goto out;
	}
	result = agent_export_all(&offload.agent, &offload.export, &answered, error);
	if (result == 0)
		result = take_memory(&offload, error);
	if (result == 0)
		result = write_image(&offload, error);
	if (result == 0 && run_is_abandoned(run))
		result = fail(error, -ECANCELED, "The dump was cancelled");
	if (result == 0)
		result = release_memory(&offload, error);
	if (driver_gate_lock(run->pool, process->pid, &other)) {
		process->locked = false;
		if (result == 0) {
			result = fail(error, -EIO, "%s", other.text);
			if (agent_map_all(&offload.agent, process->memory, process->memory_count, &other) == 0)
				process->released = false;
		}
		answered = false; /* the driver cannot save what it cannot lock */
	}
out:
	offload_free(&offload);
	if (result && !process->released) {
		run_process_drop_memory(process);
		if (process->image_written)
			gpu_image_remove(run->folder, process->pid);
		else
			gpu_image_remove_unfinished(run->folder, process->pid);
		process->image_written = false;
	}
	/* Without an answer nobody knows whether the process holds memory that the driver cannot save. */
	*native_works = result && answered && !offload.release_tried;
	return result;
}
