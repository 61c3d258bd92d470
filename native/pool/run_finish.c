/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pool/driver_checkpoint.h"
#include "pool/hold_threads.h"
#include "pool/pool_run.h"
#include "support/log.h"

/* A process that the run left behind: gets back what it had before the run. True when it is whole. */
static bool bring_back(struct run *run, struct run_process *process)
{
	struct resume_request request = {
		.released = process->released,
		.image_id = process->image_id,
		.initial_state = process->was_locked ? CU_PROCESS_STATE_LOCKED : CU_PROCESS_STATE_RUNNING,
	};
	struct held_threads held = {.count = 0};
	struct error_text error;
	int result;

	if (!process->released && !process->checkpointed && !process->locked)
		return true;
	if (process->was_locked && !process->released && !process->checkpointed)
		return true;
	if (process->released) {
		hold_threads(run->pool, process->pid, &held);
		/* Locking again is only for a process whose threads are held, see driver_gate.h. */
		if (!held.count)
			request.initial_state = CU_PROCESS_STATE_RUNNING;
	}
	result = run_resume(run, process, &request, &error);
	let_threads_go(&held);
	if (result == 0) {
		log_warning("Process %d was brought back: its dump did not end", process->pid);
		return true;
	}
	if (result == -ESRCH)
		return true; /* it is gone; nothing is lost with its image */
	log_error("Process %d could not be brought back after a failed dump%s: %s", process->pid,
		  process->released ? "; its GPU image stays in the folder" : "", error.text);
	return false;
}

static void close_if_open(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

void run_finish(struct run *run, int criu_result, const char *criu_note)
{
	bool failed = criu_result < 0, whole;
	size_t i;

	run->closing = true;
	for (i = 0; i < run->process_count && failed && run->stage == POOL_STAGE_DUMP; i++) {
		whole = bring_back(run, run->processes[i]);
		/* Images of a failed dump would only mislead; the only copy of somebody's memory would not. */
		if (whole && run->processes[i]->image_written)
			gpu_image_remove(run->folder, run->processes[i]->pid);
		else if (whole) /* what a pool that died in the middle of it has left */
			gpu_image_remove_unfinished(run->folder, run->processes[i]->pid);
	}
	if (run->stage == POOL_STAGE_DUMP || run->stage == POOL_STAGE_RESTORE)
		run_write_statistics(run, criu_result, criu_note);
	run->finished = true;
	for (i = 0; i < run->process_count; i++)
		run_process_drop_memory(run->processes[i]);
	run_after_reply(run);
	prefetch_end(run->prefetch);
	run->prefetch = NULL;
	run_progress_ended(run);
	/* Whoever hears that the run has ended may remove or unmount the folders. */
	close_if_open(&run->folder);
	close_if_open(&run->work);
	close_if_open(&run->progress);
}
