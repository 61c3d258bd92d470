/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "pool/run/parent_image.h"

static void process_free(struct run_process *process)
{
	run_process_end_check(process);
	run_process_drop_memory(process);
	run_drop_parent(process);
	close_if_open(&process->agent);
	run_process_let_go(process, false);
	free(process);
}

void run_drop_rest(struct run *run)
{
	size_t i;

	if (run->life != RUN_OVER)
		return;
	for (i = 0; i < run->process_count; i++)
		run_process_drop_memory(run->processes[i]);
	prefetch_end(run->prefetch);
	run->prefetch = NULL;
}

/* Everything that the run holds, except what belongs to the process that is to be brought back. */
static void run_release(struct run *run)
{
	size_t i;

	run_after_reply(run);
	prefetch_end(run->prefetch);
	run->prefetch = NULL;
	for (i = 0; i < run->process_count; i++)
		process_free(run->processes[i]);
	free(run->processes);
	run->processes = NULL;
	run->process_count = 0;
}

void run_close(struct run *run)
{
	/* Whoever works sees that the client has gone. */
	run_work_collect_all(run);
	if (!run_is_finished(run))
		run_finish(run, -ECONNRESET, "");
	run_look_after_left_behind(run);
	run_release(run);
	if (run->counted)
		atomic_fetch_sub(&run->pool->runs, 1);
	run->counted = false;
	close_if_open(&run->client);
	run_init(run, run->pool, -1);
}
