/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/agent/agent_look.h"
#include "pool/device/driver_checkpoint.h"
#include "pool/device/driver_gate.h"
#include "pool/run/pool_run.h"
#include "support/clock.h"
#include "support/log.h"

#define LOOK_AROUND_MS 20

/* Where the contents come from: memory held since the dump (image NULL), or an image that is being read. */
struct source {
	bool held;
	struct prefetch *prefetch; /* that reads it */
	struct prefetch *own;	   /* likewise, where it is for this process alone: ended when that is through */
	struct prefetch_image *image;
};

/* The id of the image comes from the process itself, which must not get the memory of another one of its tree. */
static int check_owner(const struct run_process *process, const struct prefetch_image *image, struct error_text *error)
{
	int32_t owner = image->image->own_pid, own = target_own_pid(&process->target);

	if (own == 0)
		return target_must_live(&process->target, error);
	if (owner == 0 || owner == own)
		return 0;
	return fail(error, -EPERM,
		    "Process %d asks for the device memory of another process (%d as that sees itself); its agent is "
		    "not to be trusted",
		    process->pid, owner);
}

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
	int result;

	source->prefetch = run->prefetch;
	source->image = prefetch_find(run->prefetch, image_id);
	if (!source->image && run->folder >= 0 && !run->prefetch) {
		result = prefetch_start(run->pool, run->folder, &options, &source->own, error);
		if (result)
			return result;
		source->prefetch = source->own;
		source->image = prefetch_find(source->own, image_id);
	}
	if (source->image) {
		result = check_owner(process, source->image, error);
		return result ? result : prefetch_claim(source->prefetch, source->image, process, error);
	}
	return fail(error, -ENOENT,
		    "Process %d needs its GPU image %02x%02x%02x%02x..., and the folder has none with that id; restore "
		    "from a folder where rekindle-PID-ID.img is complete",
		    process->pid, image_id[0], image_id[1], image_id[2], image_id[3]);
}

static int find_source(struct run *run, struct run_process *process, const struct resume_request *request,
		       struct source *source, struct error_text *error)
{
	*source = (struct source){.held = false};
	if (!request->released && !process_lacks_memory(process))
		return 0;
	if (process->agent < 0)
		return fail(error, -EINVAL,
			    "Process %d has its device memory in a GPU image, and its agent cannot be reached to map "
			    "it",
			    process->pid);
	if (process_lacks_memory(process) && process->memory) {
		source->held = true;
		return 0;
	}
	return find_image(run, process, request->image_id, source, error);
}

/* What there is to do once the driver has restored its own. */
enum after_restore {
	GOES_ON,	    /* unlock it, for good */
	STAYS_LOCKED,	    /* somebody had locked it before the dump */
	STAYS_LOCKED_LATER, /* likewise, when its agent has worked */
};

static int open_or_close(struct run *run, const struct run_process *process, CUprocessState state,
			 enum after_restore *after, struct error_text *error)
{
	/* It was not checkpointed, or somebody else has let it go on: nobody may lock it behind their back. */
	if (state == CU_PROCESS_STATE_RUNNING) {
		*after = process->may_be_unlocked && *after != GOES_ON ? STAYS_LOCKED_LATER : GOES_ON;
		return 0;
	}
	if (state != CU_PROCESS_STATE_LOCKED)
		return fail(error, -EIO, "Process %d is in state %d of the driver and cannot be restored", process->pid,
			    (int)state);
	if (*after == GOES_ON && process->locked_meanwhile)
		log_warning("Process %d, which another program has locked, is unlocked: it gets its memory back",
			    process->pid);
	if (*after == GOES_ON)
		return driver_process_unlock(run->pool, &process->target, error);
	return *after == STAYS_LOCKED_LATER ? driver_gate_unlock(run->pool, &process->target, error) : 0;
}

/* What is kept for others makes room for it. */
static int restore_with_room(struct run *run, struct run_process *process, const struct gpu_match *gpus,
			     struct error_text *error)
{
	struct room_wait wait = {.prefetch = run->prefetch};
	CUprocessState state;
	int result;

	do
		result = driver_process_restore(run->pool, &process->target, gpus->pairs, gpus->pair_count, error);
	while (result == -ENOMEM && !driver_process_state(run->pool, &process->target, &state, NULL) &&
	       state == CU_PROCESS_STATE_CHECKPOINTED && prefetch_free_device(run->pool, false, &wait));
	return result;
}

/* Driver restore where it was checkpointed, then unlock, so that the agent can work. */
static int restore_driver_part(struct run *run, struct run_process *process, const struct source *source,
			       enum after_restore *after, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	static const struct gpu_match same = {.pair_count = 0};
	struct prefetch *prefetch = source->own ? source->own : run->prefetch;
	const struct gpu_match *gpus = &same;
	CUprocessState state;
	int result;

	run_progress(run, process, PHASE_DRIVER_RESTORE, 0, 0);
	result = driver_process_state(run->pool, &process->target, &state, error);
	if (result == 0 && state == CU_PROCESS_STATE_CHECKPOINTED) {
		/* All images of a run are from one machine. */
		if (prefetch)
			result = prefetch_match_gpus(prefetch, &gpus, error);
		/* The driver brings its own state over the link that the copies fill. */
		atomic_fetch_add(&run->pool->driver_restores, 1);
		if (result == 0)
			result = restore_with_room(run, process, gpus, error);
		atomic_fetch_sub(&run->pool->driver_restores, 1);
		state = CU_PROCESS_STATE_LOCKED;
	}
	if (result == 0)
		result = open_or_close(run, process, state, after, error);
	if (result == 0)
		run_phase_add(process, PHASE_DRIVER_RESTORE, began, 0);
	return result;
}

/* What a wait saw last, to tell slow from stuck. */
struct patience {
	uint64_t progress, since;
};

/* Is there still somebody to wait for, and something? -EINPROGRESS where there is. */
static int go_on_waiting(struct run *run, struct prefetch *prefetch, struct patience *patience,
			 struct error_text *error)
{
	uint64_t now = monotonic_nanoseconds(), progress = prefetch_progress(prefetch);
	unsigned int limit = run->pool->settings.timeout_seconds;

	run_progress(run, NULL, PHASE_PREFETCH, prefetch_bytes_done(prefetch), prefetch->bytes);
	if (run_is_abandoned(run))
		return fail(error, -ECANCELED, "The restore was cancelled");
	if (progress != patience->progress || !patience->since) {
		*patience = (struct patience){progress, now};
		run_say_progress(run);
	}
	if (now - patience->since > limit * UINT64_C(1000000000))
		return fail(error, -ETIMEDOUT,
			    "Filling device memory got nothing done for %u s (REKINDLE_TIMEOUT): see whether the "
			    "storage of the GPU images answers, and the GPU",
			    limit);
	return -EINPROGRESS;
}

/* Of pieces of an image that are still being made. */
struct coming {
	struct run *run;
	struct prefetch *prefetch;
	const struct prefetch_image *image;
	struct patience patience;
};

static int wait_for_pieces(void *context, uint32_t at, uint32_t *there, struct error_text *error)
{
	struct coming *coming = context;
	const struct gpu_image *manifest = coming->image->image;
	int result;

	/* What it has imported was waited for. */
	*there = manifest->allocation_count + manifest->import_count;
	if (at >= manifest->allocation_count)
		return 0;
	do {
		result = prefetch_wait_pieces(coming->prefetch, coming->image, at, there, LOOK_AROUND_MS, error);
		if (result == -EINPROGRESS)
			result = go_on_waiting(coming->run, coming->prefetch, &coming->patience, error);
	} while (result == -EINPROGRESS);
	return result;
}

typedef int wait_function(struct prefetch *, struct prefetch_image *, int timeout_ms, struct error_text *);

static int wait_for(struct run *run, struct run_process *process, const struct source *source, wait_function *wait,
		    struct error_text *error)
{
	struct prefetch *prefetch = source->prefetch;
	uint64_t began = monotonic_nanoseconds();
	struct patience patience = {.since = 0};
	int result;

	run_progress(run, process, PHASE_PREFETCH, 0, 0);
	do {
		result = wait(prefetch, source->image, LOOK_AROUND_MS, error);
		if (result == -EINPROGRESS)
			result = go_on_waiting(run, prefetch, &patience, error);
	} while (result == -EINPROGRESS);
	run_progress(run, NULL, PHASE_PREFETCH, prefetch_bytes_done(prefetch), prefetch->bytes);
	if (result == 0 && (wait == prefetch_wait_filled || wait == prefetch_wait_copied))
		run_phase_add(process, PHASE_WAIT, began, 0);
	return result;
}

static int map(struct run *run, struct run_process *process, const struct agent_pieces *pieces,
	       struct error_text *error)
{
	struct agent_client agent = run_agent(run, process);
	uint64_t began = monotonic_nanoseconds(), bytes = 0;
	uint32_t i;
	int result = 0;

	run_progress(run, process, PHASE_MAP, 0, 0);
	/* It may have been told that nobody waits, and has come to its end since; what it lacks it does not have by that. */
	if (run->stage == POOL_STAGE_DUMP)
		result = agent_ask_again(&agent, &process->target, error);
	if (result == -ENODATA)
		result = 0;
	if (result == 0 && pieces->count)
		result = pool_device_use(pieces->memory[0].device, error);
	if (result == 0)
		result = agent_map(&agent, pieces, error);
	if (result)
		return result;
	for (i = 0; i < pieces->count; i++)
		bytes += pieces->memory[i].bytes;
	run_phase_add(process, PHASE_MAP, began, bytes);
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
	result = agent_map_all(&agent, NULL, 0, &other);
	if (result == -ENODATA)
		return fail(error, result, "%s", other.text);
	/* It goes on without the agent's word: what it may still be asked to take it must not take any more. */
	if (result && !agent_withdraw(&process->target))
		return fail(error, result, "%s, and cannot be told to leave the process's memory where it is",
			    other.text);
	if (result && agent_has_memory_out_of_place(&process->target))
		return fail(error, result,
			    "%s. It has taken device memory from its place, without which process %d must not run",
			    other.text, process->pid);
	if (result)
		log_warning("Process %d: %s", process->pid, other.text);
	return 0;
}

/*
 * Puts back what another pool had taken out of the driver's lock when it died. Its agent may still be at work, and in
 * that lock, where the process is not locked; then this waits for it. Where it is locked
 * again, that puts them back.
 */
static int put_back_waiting_calls(const struct run *run, const struct run_process *process,
				  CUprocessState initial_state, struct error_text *error)
{
	struct error_text other;
	CUprocessState state;
	bool has_notes;
	int result = driver_gate_look(&process->target, &has_notes, error);

	if (result || !has_notes)
		return result;
	if (!driver_process_state(run->pool, &process->target, &state, &other) && state == CU_PROCESS_STATE_RUNNING) {
		/* Counted, they would keep the driver from it. */
		if (process->may_be_unlocked && initial_state == CU_PROCESS_STATE_LOCKED)
			return 0;
		/* What it says is for the settle or the map that follows. */
		settle(run, process, &other);
	}
	return driver_gate_show(&process->target, error);
}

/*
 * Access that is given beside copies to the device costs the driver twenty times as much (see held_memory_map), so it comes
 * when those of the whole tree are through, for which CRIU waits anyway. Others have the turn meanwhile.
 */
static int give_access(struct run *run, struct run_process *process, const struct source *source,
		       struct error_text *error)
{
	const struct agent_pieces none = {.count = 0};
	int result;

	run_leave_turn(run);
	result = wait_for(run, process, source, prefetch_wait_copied, error);
	run_take_turn(run);
	return result ? result : map(run, process, &none, error);
}

static int map_from_image(struct run *run, struct run_process *process, const struct source *source,
			  struct error_text *error)
{
	struct prefetch_image *image = source->image;
	const struct gpu_image *manifest = image->image;
	struct coming coming = {.run = run, .prefetch = source->prefetch, .image = image};
	bool lives_on = run->stage == POOL_STAGE_DUMP;
	struct agent_pieces pieces = {.wait = wait_for_pieces, .context = &coming, .without_access = !lives_on};
	int result;

	result = wait_for(run, process, source, prefetch_wait_memory, error);
	/* A restore maps while memory is still being filled. A process that lives on must not see wrong contents. */
	if (result == 0 && lives_on)
		result = wait_for(run, process, source, prefetch_wait_filled, error);
	if (result == 0 && manifest->import_count)
		result = wait_for(run, process, source, prefetch_wait_imports, error);
	pieces.memory = image->memory;
	pieces.count = manifest->allocation_count + manifest->import_count;
	if (result == 0)
		result = map(run, process, &pieces, error);
	if (result == 0 && !lives_on)
		result = give_access(run, process, source, error);
	if (result)
		return result;
	process->record.device_bytes = image->bytes;
	process->image_bytes = manifest->stored_bytes;
	process->record.allocations = manifest->allocation_count;
	if (manifest->allocation_count)
		run_note_gpu(run, image->memory[0].device);
	if (image->bytes)
		process->origin = image->was_resident ? IMAGE_WAS_RESIDENT
				  : image->was_pinned ? IMAGE_WAS_PINNED
						      : IMAGE_WAS_READ;
	process->resident_bytes = image->was_resident || image->was_pinned ? image->bytes : 0;
	run_phase_put(process, PHASE_PREFETCH, image->began, image->ended, image->bytes);
	/* From here on its memory may go at any time. */
	prefetch_mark_taken(source->prefetch, image);
	return 0;
}

static int resume_from(struct run *run, struct run_process *process, const struct source *source,
		       CUprocessState initial_state, struct error_text *error)
{
	enum after_restore after = GOES_ON;
	struct agent_pieces held = {.memory = process->memory, .count = process->memory_count};
	struct error_text other;
	int result;

	process->origin = NO_IMAGE;
	process->record.mode = source->held || source->image ? POOL_MODE_OFFLOAD : POOL_MODE_NATIVE;
	if (initial_state == CU_PROCESS_STATE_CHECKPOINTED && process->record.mode == POOL_MODE_NATIVE)
		return 0; /* it was checkpointed before we came, and stays so */
	if (process->locked_meanwhile && process->record.mode == POOL_MODE_NATIVE &&
	    !agent_has_memory_out_of_place(&process->target))
		after = STAYS_LOCKED;
	if (initial_state == CU_PROCESS_STATE_LOCKED)
		after = process->record.mode == POOL_MODE_OFFLOAD ? STAYS_LOCKED_LATER : STAYS_LOCKED;
	result = restore_driver_part(run, process, source, &after, error);
	if (result)
		return result;
	process_note_driver_restore(process);
	if (source->held)
		result = map(run, process, &held, error);
	else if (source->image)
		result = map_from_image(run, process, source, error);
	else
		result = settle(run, process, error);
	if (result == 0)
		process_note_all_back(process);
	if (result == 0 && after == STAYS_LOCKED_LATER)
		result = driver_gate_lock(run->pool, &process->target, error);
	else if (after == STAYS_LOCKED_LATER)
		driver_gate_show(&process->target, &other);
	return result;
}

/* Those that bring back processes which share memory with it have limits of their own, so this ends. */
static int wait_for_sharers(struct run *run, const struct run_process *process, struct prefetch *prefetch,
			    struct error_text *error)
{
	while (!prefetch_lock_shared(prefetch)) {
		if (run_is_abandoned(run))
			return fail(error, -ECANCELED, "The restore was cancelled");
		if (target_has_ended(&process->target))
			return fail(error, -ESRCH, "Process %d has ended", process->pid);
		run_say_progress(run);
		usleep(LOOK_AROUND_MS * 1000);
	}
	prefetch_allow(prefetch);
	return 0;
}

int run_resume(struct run *run, struct run_process *process, const struct resume_request *request,
	       struct error_text *error)
{
	struct source source = {.held = false};
	int result;

	if (run->prefetch)
		prefetch_allow(run->prefetch);
	result = put_back_waiting_calls(run, process, request->initial_state, error);
	if (result == 0)
		result = find_source(run, process, request, &source, error);
	if (result == 0 && source.own && source.own->shares)
		result = wait_for_sharers(run, process, source.own, error);
	if (result == 0)
		result = resume_from(run, process, &source, request->initial_state, error);
	prefetch_end(source.own);
	return result;
}
