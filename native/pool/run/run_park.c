/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/run/guardian.h"
#include "pool/run/pool_run.h"
#include "support/log.h"

/*
 * Device memory of a dump that is whole and in its place, for the next restore: see pool/memory/prefetch_park.c. Where it was
 * asked for (REKINDLE_PARK=ephemeral), its image is without the contents, and what is parked is all that there is: so whether
 * it can be is found out before the process gives its memory up, and what cannot is written as ever.
 */

static int check_pool(const struct run *run, struct error_text *error)
{
	if (run->pool->private_run)
		return fail(error, -EINVAL,
			    "the pool of this dump ends with it: start rekindled, or set CRIU_CUDA_CONTEXT_POOL=1");
	return 0;
}

static int check_process(const struct run_process *process, bool shares, struct error_text *error)
{
	if (shares)
		return fail(error, -EOPNOTSUPP, "process %d shares device memory with others", process->pid);
	if (process->own_count && !process->hashes.chunks)
		return fail(error, -EOPNOTSUPP, "of process %d there are no hashes", process->pid);
	return 0;
}

static int check_processes(const struct run *run, struct error_text *error)
{
	int result = 0;
	size_t i;

	for (i = 0; i < run->process_count && result == 0; i++)
		result = check_process(run->processes[i], run->processes[i]->has_shared, error);
	return result;
}

static int check(const struct run *run, struct error_text *error)
{
	int result = check_pool(run, error);

	if (result)
		return result;
	if (!run->settled)
		return fail(error, -EINVAL, "the checkpoint is not in its place");
	return check_processes(run, error);
}

static bool any_in_pool(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->in_pool)
			return true;
	return false;
}

bool run_wants_to_stay_in_pool(struct run *run)
{
	struct error_text error;

	if (run->tier != POOL_TIER_EPHEMERAL)
		return false;
	if (check_pool(run, &error) == 0)
		return true;
	log_warning("Device memory is written into files: %s", error.text);
	return false;
}

/* Of the whole tree so far, of which others may be at it just now. */
static int take_from_budget(struct run *run, struct run_process *process, uint64_t bytes, struct error_text *error)
{
	uint64_t all = bytes;
	int result;
	size_t i;

	pthread_mutex_lock(&run->mutex);
	for (i = 0; i < run->process_count; i++)
		if (run->processes[i] != process)
			all += run->processes[i]->in_pool_bytes;
	result = prefetch_check_park_budget(run->pool, all, error);
	process->in_pool_bytes = result ? 0 : bytes;
	pthread_mutex_unlock(&run->mutex);
	return result;
}

int run_leave_in_pool(struct run *run, struct run_process *process, bool shares, uint64_t bytes,
		      struct error_text *error)
{
	int result = check_process(process, shares, error);

	if (result == 0)
		result = take_from_budget(run, process, bytes, error);
	return result ? result : guardian_hold_memory(run, process, error);
}

bool run_is_left_in_pool_only(const struct run *run)
{
	size_t i;

	if (!run->lost || !run->settled || !any_in_pool(run))
		return false;
	for (i = 0; i < run->process_count; i++)
		if (!target_has_ended(&run->processes[i]->target))
			return false;
	return true;
}

int run_check_left_in_pool(const struct run *run, struct error_text *error)
{
	struct error_text why;

	if (!any_in_pool(run) || check_processes(run, &why) == 0)
		return 0;
	return fail(error, -EOPNOTSUPP,
		    "The device memory of this tree cannot stay in a pool, as REKINDLE_PARK=ephemeral asks: %s; set "
		    "REKINDLE_PARK to another value",
		    why.text);
}

/* It is mapped anew where it is looked at. */
static void unmap(struct run_process *process)
{
	struct error_text error;
	uint32_t i;

	for (i = 0; i < process->memory_count; i++) {
		if (process->memory[i].mapped && pool_device_use(process->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_unmap(&process->memory[i]);
	}
	held_range_free(&process->range);
}

/* What it has not got back it cannot write to; else its end is waited for. */
static int describe(struct run_process *process, struct parked_memory *parked, struct error_text *error)
{
	unmap(process);
	*parked = (struct parked_memory){
		.image_id = process->image_id,
		.memory = process->memory,
		.count = process->own_count,
		.hashes = process->hashes,
		.process = process->target,
	};
	parked->process.pidfd = process_lacks_memory(process) ? -1 : fcntl(process->target.pidfd, F_DUPFD_CLOEXEC, 3);
	if (parked->process.pidfd < 0 && !process_lacks_memory(process))
		return fail(error, -errno, "a descriptor could not be duplicated: %s", errno_text(errno));
	return 0;
}

/* What has not been taken over is the process's still. */
static void take_back(struct run_process *process, struct parked_memory *parked)
{
	target_close(&parked->process);
	process->hashes = parked->hashes;
	if (parked->memory)
		return;
	free(process->imports);
	process->imports = NULL;
	process->memory = NULL;
	process->memory_count = process->own_count = 0;
}

static int park(struct run *run, struct error_text *error)
{
	struct parked_memory *parked = calloc(run->process_count + 1, sizeof(*parked));
	struct run_process *process;
	size_t count = 0, i, at;
	int result = 0;

	if (!parked)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < run->process_count && result == 0; i++) {
		process = run->processes[i];
		if (process->own_count)
			result = describe(process, &parked[count++], error);
	}
	if (result == 0)
		result = prefetch_park(run->pool, run->folder, run->tier == POOL_TIER_PINNED, parked, count,
				       &run->parked_bytes, error);
	for (i = 0, at = 0; at < count; i++)
		if (run->processes[i]->own_count)
			take_back(run->processes[i], &parked[at++]);
	free(parked);
	return result;
}

int run_park(struct run *run)
{
	struct error_text error;
	int result;

	if (run->tier == POOL_TIER_FILES)
		return 0;
	result = check(run, &error);
	if (result == 0)
		result = park(run, &error);
	if (result == 0) {
		log_info("%llu MiB of device memory stay for the next restore",
			 (unsigned long long)(run->parked_bytes >> 20));
		return 0;
	}
	snprintf(run->park_note, sizeof(run->park_note), "%.255s", error.text);
	if (!any_in_pool(run)) {
		log_warning("No device memory is parked: %s", error.text);
		return 0;
	}
	log_error(
		"The device memory of this checkpoint is in no file (REKINDLE_PARK=ephemeral), and could not be parked: "
		"%s. It cannot be restored",
		error.text);
	run_keep_error(run, NULL, result, &error);
	return result;
}

/* Who had it from this run. */
static const struct run_process *find_claimant(const struct run *run, const struct prefetch_image *image)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i] == image->claimant)
			return run->processes[i];
	return NULL;
}

void run_keep_again(struct run *run)
{
	struct prefetch *prefetch = run->prefetch;
	const struct run_process *process;
	struct target *target;
	size_t i;

	if (!prefetch || !prefetch->in_pool || !prefetch->parked)
		return;
	for (i = 0; i < prefetch->count; i++) {
		process = find_claimant(run, &prefetch->images[i]);
		target = &prefetch->images[i].process;
		target_close(target);
		if (!process)
			continue;
		/* Its end is waited for. Without a descriptor nobody could tell. */
		*target = process->target;
		target->pidfd = fcntl(process->target.pidfd, F_DUPFD_CLOEXEC, 3);
		if (target->pidfd < 0) {
			log_error("A descriptor could not be duplicated: %s", errno_text(errno));
			return;
		}
	}
	run->prefetch = NULL;
	prefetch_keep_again(prefetch);
}
