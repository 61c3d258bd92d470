/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/run/pool_run.h"
#include "support/log.h"

/* Device memory of a dump that is whole and in its place, for the next restore: see pool/memory/prefetch_park.c. */

static int check(const struct run *run, struct error_text *error)
{
	size_t i;

	if (run->pool->private_run)
		return fail(error, -EINVAL,
			    "the pool of this dump ends with it: start rekindled, or set CRIU_CUDA_CONTEXT_POOL=1");
	if (!run->settled)
		return fail(error, -EINVAL, "the checkpoint is not in its place");
	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->has_shared)
			return fail(error, -EOPNOTSUPP, "process %d shares device memory with others",
				    run->processes[i]->pid);
	return 0;
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
		if (process->own_count && !process->hashes.chunks)
			result = fail(error, -EOPNOTSUPP, "of process %d there are no hashes", process->pid);
		else if (process->own_count)
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

void run_park(struct run *run)
{
	struct error_text error;
	int result;

	if (run->tier == POOL_TIER_FILES)
		return;
	result = check(run, &error);
	if (result == 0)
		result = park(run, &error);
	if (result == 0) {
		log_info("%llu MiB of device memory stay for the next restore",
			 (unsigned long long)(run->parked_bytes >> 20));
		return;
	}
	snprintf(run->park_note, sizeof(run->park_note), "%.255s", error.text);
	log_warning("No device memory is parked: %s", error.text);
}
