/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/agent/agent_look.h"
#include "pool/device/driver_bytes.h"
#include "pool/device/driver_checkpoint.h"
#include "pool/device/driver_gate.h"
#include "pool/run/copy_ahead.h"
#include "pool/run/offload.h"
#include "pool/run/parent_image.h"
#include "support/clock.h"
#include "support/log.h"

/* Waits for the others of the tree with which it shares memory, and notes whose what it has imported is. */
static int meet_others(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	struct gpu_image_import *import;
	uint32_t i;
	int result;

	result = run_meet(offload->run, process, offload->export.shares, error);
	for (i = 0; i < offload->image->import_count && result == 0; i++) {
		import = &offload->image->imports[i];
		import->id = process->memory[process->own_count + i].allocation_id;
		import->address = process->memory[process->own_count + i].address;
		memcpy(import->image_id, process->imports[i].image_id, sizeof(import->image_id));
		import->owner_id = process->imports[i].allocation_id;
		import->owner = process->imports[i].owner;
		offload->image->holder = run_sharing_holder(process);
	}
	return result;
}

/* The data files of an image that was begun while the process ran, or new ones. */
static int make_data(struct offload *offload, struct error_text *error)
{
	struct copy_ahead *ahead = offload->process->ahead;

	if (offload->data.count) /* of a copy that was given up */
		return gpu_image_resize_data(offload->image, &offload->data, error);
	return ahead ? copy_ahead_take_data(ahead, offload->image, &offload->data, error)
		     : gpu_image_create_data(offload->run->folder, offload->image, &offload->data, error);
}

/* What was copied while the process ran is left out where it is the same. */
static void leave_out_unchanged(struct offload *offload)
{
	struct copy_ahead *ahead = offload->process->ahead;
	uint64_t began = monotonic_nanoseconds(), bytes;

	if (!ahead)
		return;
	run_progress(offload->run, offload->process, PHASE_COMPARE, 0, 0);
	offload->copy.overwrite = true;
	bytes = copy_ahead_sift(ahead, &offload->copy);
	run_phase_add(offload->process, PHASE_COMPARE, began, bytes);
}

/* What its last image has, or another one before that, is left out where it is the same. */
static int link_unchanged(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint64_t began = monotonic_nanoseconds();
	int result;

	if (!process->parent)
		return 0;
	run_progress(offload->run, process, PHASE_COMPARE, 0, 0);
	run_note_hashes(offload->run, process, offload->image);
	result = process->hashes.chunks
			 ? parent_image_inherit(process->parent, offload->run, offload->image, &process->hashes, error)
			 : 0;
	run_drop_parent(process);
	run_phase_add(process, PHASE_COMPARE, began, gpu_image_bytes(offload->image));
	return result;
}

static int copy_all(struct offload *offload, struct error_text *error)
{
	int result = link_unchanged(offload, error);

	if (result)
		return result;
	offload->copy = (struct image_copy){
		.run = offload->run,
		.process = offload->process,
		.phase = PHASE_COPY_OUT,
		.image = offload->image,
		.data = &offload->data,
		.memory = offload->process->memory,
		.overwrite = offload->data.count != 0,
	};
	result = image_copy_prepare(&offload->copy, error);
	if (result == 0)
		result = make_data(offload, error);
	if (result)
		return result;
	leave_out_unchanged(offload);
	if (!offload->process->hashes.chunks)
		run_note_hashes(offload->run, offload->process, offload->image);
	offload->stream_began = monotonic_nanoseconds();
	return image_copy_run(&offload->copy, error);
}

static int copy_out(struct offload *offload, struct error_text *error)
{
	int result;

	if (offload->streams) {
		/* Beside the copy, which reads the same memory; the driver makes some of its calls wait for that. */
		if (!run_is_unwanted(offload->run))
			run_note_hashes(offload->run, offload->process, offload->image);
		result = gpu_image_resize_data(offload->image, &offload->data, error);
		if (result == 0)
			result = image_copy_end(&offload->copy, error);
	} else {
		result = copy_all(offload, error);
	}
	if (result)
		return result;
	image_copy_keep(&offload->copy);
	run_phase_add(offload->process, PHASE_COPY_OUT, offload->stream_began, offload->copy.bytes);
	return 0;
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

/* What has been asked to stay in the pool only, and cannot, is written as ever. */
static void leave_in_pool(struct offload *offload)
{
	struct run_process *process = offload->process;
	struct error_text error;

	if (!offload->stays)
		return;
	run_progress(offload->run, process, PHASE_COMPARE, 0, 0);
	run_note_hashes(offload->run, process, offload->image);
	if (run_leave_in_pool(offload->run, process, offload->export.shares, gpu_image_bytes(offload->image), &error)) {
		log_warning("Process %d: its device memory is written into files: %s", process->pid, error.text);
		pthread_mutex_lock(&offload->run->mutex);
		snprintf(offload->run->park_note, sizeof(offload->run->park_note),
			 "device memory is written into files: %.200s", error.text);
		pthread_mutex_unlock(&offload->run->mutex);
		return;
	}
	gpu_image_leave_in_pool(offload->image);
	process->in_pool = true;
}

static int write_image(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	int result = 0;

	driver_bytes_note(offload->run->pool, offload->image, process->target.pid);
	process->in_pool = false; /* of an earlier CHECKPOINT in this run */
	if (offload->image->allocation_count)
		leave_in_pool(offload);
	if (offload->image->allocation_count && !process->in_pool) {
		result = copy_out(offload, error);
		if (result)
			return result;
	}
	result = run_commit_image(offload->run, process, offload->image, error);
	if (result)
		return result;
	process->has_shared = offload->export.shares;
	process->record.device_bytes = offload->export.bytes;
	process->image_bytes = offload->image->stored_bytes;
	process->linked_bytes = gpu_image_linked_bytes(offload->image);
	process->record.allocations = offload->image->allocation_count;
	return process->record.allocations && !process->in_pool ? check_in_background(offload, error) : 0;
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

/* The process's memory is in the pool's hands after this, and may be copied already. */
static int take(struct offload *offload, struct error_text *error)
{
	int result = offload->streams ? offload_take_rest(offload, error) : offload_take_all(offload, error);

	/* Those with whom it shares some may still write to it: it is copied, over this, when they stand. */
	if (offload->streams && offload->export.shares) {
		image_copy_free(&offload->copy);
		offload->streams = false;
	}
	return result;
}

static void offload_free(struct offload *offload)
{
	image_copy_free(&offload->copy);
	gpu_image_close_data(&offload->data);
	gpu_image_free(offload->image);
	offload->image = NULL;
	agent_export_free(&offload->export);
}

/* Warming the GPU takes as long as everything else here, so it begins before the agent is asked. */
static void warm_ahead(struct pool *pool)
{
	pool_spare_engine_begin(pool);
	if (pool->device_count == 1)
		pool_device_warm_begin(&pool->devices[0]);
}

static bool is_final(int result)
{
	return image_copy_failed_for_good(result) || result == -EOPNOTSUPP;
}

/* What an export that failed has left, so that another one can be tried. */
static void forget_export(struct offload *offload)
{
	if (offload->streams) {
		image_copy_free(&offload->copy);
		gpu_image_close_data(&offload->data);
		gpu_image_remove_unfinished(offload->run->folder, offload->process->pid);
		gpu_image_free(offload->image);
		offload->image = NULL;
		offload->streams = false;
		offload->stream_result = 0;
		run_process_drop_memory(offload->process);
	}
	agent_export_free(&offload->export);
}

/* A restored process needs fresh memory, a piece at a time. What is kept for others must not be the end of the dump. */
static int export_all(struct offload *offload, bool *answered, struct error_text *error)
{
	struct pool *pool = offload->run->pool;
	/* Of what was copied before the place of each is known only when all are. */
	bool all_at_once = offload->process->ahead || offload->process->parent || offload->stays;
	const struct agent_listener listener = offload_listener(offload), *heard = all_at_once ? NULL : &listener;
	struct room_wait wait = {.deadline = 0};
	int result = agent_export_all(&offload->agent, pool, heard, &offload->export, answered, error);

	while (result == -EOPNOTSUPP && *answered && prefetch_free_device(pool, false, &wait)) {
		forget_export(offload);
		result = agent_export_all(&offload->agent, pool, heard, &offload->export, answered, error);
	}
	return result;
}

/* What this run has of it goes, also the memory, of which the device may need the room. */
static void drop_all(struct offload *offload, bool failed)
{
	struct run_process *process = offload->process;

	offload_free(offload);
	run_drop_ahead(offload->run, process);
	run_drop_parent(process);
	if (!failed || process_lacks_memory(process))
		return;
	run_process_drop_memory(process);
	/* Whoever saves it now has its own way. */
	process->in_pool = false;
	process->in_pool_bytes = 0;
	if (process->has_shared)
		return; /* others may have given their memory up, and find theirs by this image: see shared_images.h */
	if (process->image_written)
		run_remove_image(offload->run, process);
	else
		gpu_image_remove_unfinished(offload->run->folder, process->pid);
}

/* After a failure: can the driver save the process itself? What a restore has brought it cannot, until that is made anew. */
static bool can_be_left_to_driver(struct offload *offload)
{
	const struct target *target = &offload->process->target;
	struct error_text error = {.text = "its agent is of another version"};

	if (!agent_is_needed(target))
		return true;
	if (agent_make_own(&offload->agent, offload->run->pool, &error) == 0 && !agent_is_needed(target))
		return true;
	log_warning("Process %d cannot be left to the driver: %s", offload->process->pid, error.text);
	return false;
}

enum save_outcome run_offload(struct run *run, struct run_process *process, int *code, struct error_text *error)
{
	struct offload offload = {.run = run, .process = process};
	struct error_text other;
	bool answered = false, shares = false;
	int result, locked;

	offload.agent = run_agent(run, process);
	run_progress(run, process, PHASE_COPY_OUT, 0, 0);
	warm_ahead(run->pool);
	offload.stays = run_wants_to_stay_in_pool(run);
	/* What was copied ahead was when its parent would not do. */
	if (!process->ahead && !offload.stays)
		run_find_parent(run, process);
	/* Every thread but the agent's is stopped, so the GPU stays quiet while the driver lets the agent work. */
	result = driver_gate_unlock(run->pool, &process->target, error);
	if (result) {
		answered = result == -EBUSY; /* nothing has happened yet, and the driver can save everything itself */
		goto out;
	}
	result = agent_ask_again(&offload.agent, &process->target, error);
	if (result == 0)
		result = export_all(&offload, &answered, error);
	if (result == 0)
		result = take(&offload, error);
	if (result == 0)
		result = meet_others(&offload, error);
	if (result == 0)
		result = write_image(&offload, error);
	if (result == 0 && run_is_unwanted(run))
		result = fail(error, -ECANCELED, "The dump was cancelled");
	if (result == 0)
		result = run_meet_again(run, process, error);
	if (result == 0)
		result = release_memory(&offload, error);
	shares = offload.export.shares;
	if (result)
		drop_all(&offload, true);
	if (result && answered && !shares && !offload.release_tried && !is_final(result))
		answered = can_be_left_to_driver(&offload);
	locked = driver_gate_lock(run->pool, &process->target, &other);
	if (locked) {
		process->locked_meanwhile = locked == -EBUSY;
		if (result == 0) {
			result = fail(error, process->locked_meanwhile ? locked : -EIO, "%s", other.text);
			if (agent_map_all(&offload.agent, process->memory, process->memory_count, &other) == 0)
				process_note_memory_back(process);
		}
		process_note_unlock(process);
		answered = false; /* the driver cannot save what it cannot lock */
	}
out:
	drop_all(&offload, result != 0);
	*code = result;
	if (result == 0)
		return SAVED;
	/* Without an answer nobody knows whether the process holds memory that the driver cannot save. */
	/* Nor can the driver save what others have or own. */
	return answered && !shares && !offload.release_tried && !is_final(result) ? LEFT_TO_DRIVER : NOT_SAVED;
}
