/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/driver_checkpoint.h"
#include "pool/driver_gate.h"
#include "pool/pool_run.h"
#include "rekindle.h"
#include "support/clock.h"
#include "support/log.h"

#define LOOK_AROUND_MS 20
/* What is put back lies on the device: an agent that takes longer hangs. */
#define SETTLE_MS 30000

void run_process_drop_memory(struct run_process *process)
{
	struct error_text error;
	uint32_t i;

	for (i = 0; i < process->memory_count; i++) {
		if (process->memory[i].has_handle && pool_device_use(process->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&process->memory[i]);
	}
	free(process->memory);
	process->memory = NULL;
	process->memory_count = 0;
}

/* Where the contents come from: memory held since the dump (image NULL), or an image that is being read. */
struct source {
	bool held;
	struct prefetch_image *image;
};

/* Finds the image, or reads it from the folder now: another pool may have made it, and died. */
static int find_image(struct run *run, const struct run_process *process, const uint8_t *image_id,
		      struct source *source, struct error_text *error)
{
	struct prefetch_options options = {
		.verify = run->verify,
		.overlap = true,
		.workers = run->parallel ? 0 : 1,
		.only_id = image_id,
		.goes_first = true,
	};
	struct prefetch_image *found;
	int result;

	found = prefetch_find(run->prefetch, image_id);
	if (found && (run->stage != POOL_STAGE_DUMP || !prefetch_has_failed(run->prefetch, found))) {
		source->image = found;
		return 0;
	}
	/* After a dump that failed: one process after the other, and what another one was given is its own by now. */
	if (run->folder >= 0 && (!run->prefetch || run->stage == POOL_STAGE_DUMP)) {
		run->to_give = NULL; /* it goes with its prefetch */
		prefetch_end(run->prefetch);
		run->prefetch = NULL;
		result = prefetch_start(run->pool, run->folder, &options, &run->prefetch, error);
		if (result)
			return result;
		source->image = prefetch_find(run->prefetch, image_id);
		if (source->image)
			return 0;
		prefetch_end(run->prefetch);
		run->prefetch = NULL;
	}
	return fail(error, -ENOENT,
		    "Process %d needs its GPU image %02x%02x%02x%02x..., and the folder has none with that id; restore "
		    "from a "
		    "folder where rekindle-*.img is complete",
		    process->pid, image_id[0], image_id[1], image_id[2], image_id[3]);
}

static int find_source(struct run *run, struct run_process *process, const struct resume_request *request,
		       struct source *source, struct error_text *error)
{
	*source = (struct source){.held = false};
	if (!request->released && !process->released)
		return 0;
	if (process->agent < 0)
		return fail(
			error, -EINVAL,
			"Process %d has its device memory in a GPU image, and its agent cannot be reached to map it",
			process->pid);
	if (process->released && process->memory) {
		source->held = true;
		return 0;
	}
	return find_image(run, process, request->image_id, source, error);
}

/* A run's images are all from one machine, so any of them tells which GPU stands for which. */
static int match_gpus(struct run *run, struct gpu_match *match, struct error_text *error)
{
	size_t i;

	*match = (struct gpu_match){.devices = NULL};
	for (i = 0; run->prefetch && i < run->prefetch->count; i++)
		if (run->prefetch->images[i].image->device_count)
			return gpu_match_make(run->pool, run->prefetch->images[i].image, match, error);
	return 0;
}

/* What there is to do once the driver has restored its own. */
enum after_restore {
	GOES_ON,	    /* unlock it, for good */
	STAYS_LOCKED,	    /* somebody had locked it before the dump */
	STAYS_LOCKED_LATER, /* likewise, when its agent has worked */
};

static int open_or_close(struct run *run, const struct run_process *process, CUprocessState state,
			 enum after_restore after, struct error_text *error)
{
	unsigned int timeout_ms = run->pool->settings.timeout_seconds * 1000;

	if (state == CU_PROCESS_STATE_RUNNING)
		return after == STAYS_LOCKED ? driver_process_lock(run->pool, process->pid, timeout_ms, error) : 0;
	if (state != CU_PROCESS_STATE_LOCKED)
		return fail(error, -EIO, "Process %d is in state %d of the driver and cannot be restored", process->pid,
			    (int)state);
	if (after == GOES_ON)
		return driver_process_unlock(run->pool, process->pid, error);
	return after == STAYS_LOCKED_LATER ? driver_gate_unlock(run->pool, process->pid, error) : 0;
}

/* Driver restore where it was checkpointed, then unlock, so that the agent can work. */
static int revive(struct run *run, struct run_process *process, enum after_restore after, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	struct gpu_match match = {.devices = NULL};
	CUprocessState state;
	int result;

	run_progress(run, REKINDLE_PHASE_DRIVER_RESTORE, 0, 0);
	result = driver_process_state(run->pool, process->pid, &state, error);
	if (result == 0 && state == CU_PROCESS_STATE_CHECKPOINTED) {
		result = match_gpus(run, &match, error);
		/* The driver brings its own state over the link that the copies fill. */
		atomic_fetch_add(&run->pool->driver_restores, 1);
		if (result == 0)
			result = driver_process_restore(run->pool, process->pid, match.pairs, match.pair_count, error);
		atomic_fetch_sub(&run->pool->driver_restores, 1);
		gpu_match_free(&match);
		state = CU_PROCESS_STATE_LOCKED;
	}
	if (result == 0)
		result = open_or_close(run, process, state, after, error);
	if (result == 0)
		run_phase_add(process, "driver_restore", began, 0);
	return result;
}

static int wait_filled(struct run *run, struct run_process *process, struct prefetch_image *image,
		       struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	int result;

	do {
		result = prefetch_wait_filled(run->prefetch, image, LOOK_AROUND_MS, error);
		run_progress(run, REKINDLE_PHASE_PREFETCH, prefetch_bytes_done(run->prefetch), run->prefetch->bytes);
		if (result == -EINPROGRESS && run_is_abandoned(run))
			result = fail(error, -ECANCELED, "The restore was cancelled");
	} while (result == -EINPROGRESS);
	if (result)
		return result;
	run_phase_add(process, "wait", began, 0);
	return 0;
}

static int map(struct run *run, struct run_process *process, struct held_memory *memory, uint32_t count,
	       struct error_text *error)
{
	struct agent_client agent = run_agent(run, process);
	uint64_t began = monotonic_nanoseconds(), bytes = 0;
	uint32_t i;
	int result = 0;

	run_progress(run, REKINDLE_PHASE_MAP, 0, 0);
	if (count)
		result = pool_device_use(memory[0].device, error);
	if (result == 0)
		result = agent_map_all(&agent, memory, count, error);
	if (result)
		return result;
	for (i = 0; i < count; i++)
		bytes += memory[i].bytes;
	run_phase_add(process, "map", began, bytes);
	return 0;
}

/*
 * An export that was under way when its pool ended may have a piece of memory out of its place. The agent answers one
 * request after the other, so an empty one waits until it has put it back, or tells that it could not.
 */
static int settle(const struct run *run, const struct run_process *process, struct error_text *error)
{
	struct agent_client agent = run_agent(run, process);
	struct error_text other;
	int result;

	if (process->agent < 0)
		return 0;
	if (agent.timeout_ms > SETTLE_MS)
		agent.timeout_ms = SETTLE_MS;
	result = agent_map_all(&agent, NULL, 0, &other);
	if (result == -ENODATA)
		return fail(error, result, "%s", other.text);
	if (result)
		log_warning("Process %d: %s", process->pid, other.text);
	return 0;
}

/*
 * Puts back what another pool had taken out of the driver's lock when it died. Its agent may still be at work, and in
 * that lock, where the process is not locked; then this waits for it.
 */
static int put_back_waiting_calls(const struct run *run, const struct run_process *process, struct error_text *error)
{
	struct error_text other;
	CUprocessState state;

	if (driver_gate_has_notes(process->pid) && !driver_process_state(run->pool, process->pid, &state, &other) &&
	    state == CU_PROCESS_STATE_RUNNING)
		/* What it says is for the settle or the map that follows. */
		settle(run, process, &other);
	return driver_gate_show(process->pid, error);
}

static int map_from_image(struct run *run, struct run_process *process, struct prefetch_image *image,
			  struct error_text *error)
{
	const struct gpu_image *manifest = image->image;
	int result;

	result = prefetch_wait_memory(run->prefetch, image, error);
	/* A restore maps while memory is still being filled. A process that lives on must not see wrong contents. */
	if (result == 0 && run->stage == POOL_STAGE_DUMP)
		result = wait_filled(run, process, image, error);
	if (result == 0)
		result = map(run, process, image->memory, manifest->allocation_count, error);
	if (result == 0 && run->stage != POOL_STAGE_DUMP)
		result = wait_filled(run, process, image, error);
	if (result)
		return result;
	run->to_give = image;
	process->device_bytes = image->bytes;
	process->image_bytes = manifest->stored_bytes;
	process->allocations = manifest->allocation_count;
	if (manifest->allocation_count)
		memcpy(run->gpu_name, image->memory[0].device->name, sizeof(run->gpu_name));
	run_phase_put(process, "prefetch", image->began, image->ended, image->bytes);
	return 0;
}

int run_resume(struct run *run, struct run_process *process, const struct resume_request *request,
	       struct error_text *error)
{
	enum after_restore after = GOES_ON;
	struct error_text other;
	struct source source;
	int result;

	if (run->prefetch)
		prefetch_allow(run->prefetch);
	result = put_back_waiting_calls(run, process, error);
	if (result == 0)
		result = find_source(run, process, request, &source, error);
	if (result)
		return result;
	process->mode = source.held || source.image ? POOL_MODE_OFFLOAD : POOL_MODE_NATIVE;
	if (request->initial_state == CU_PROCESS_STATE_CHECKPOINTED && process->mode == POOL_MODE_NATIVE)
		return 0; /* it was checkpointed before we came, and stays so */
	if (request->initial_state == CU_PROCESS_STATE_LOCKED)
		after = process->mode == POOL_MODE_OFFLOAD ? STAYS_LOCKED_LATER : STAYS_LOCKED;
	result = revive(run, process, after, error);
	if (result)
		return result;
	process->checkpointed = false;
	process->locked = false;
	if (source.held)
		result = map(run, process, process->memory, process->memory_count, error);
	else if (source.image)
		result = map_from_image(run, process, source.image, error);
	else
		result = settle(run, process, error);
	if (result == 0)
		process->released = false;
	if (result == 0 && after == STAYS_LOCKED_LATER)
		result = driver_gate_lock(run->pool, process->pid, error);
	else if (after == STAYS_LOCKED_LATER)
		driver_gate_show(process->pid, &other);
	return result;
}
