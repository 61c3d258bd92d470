/* SPDX-License-Identifier: MIT */
#include "plugin/dump_ahead.h"

#include <errno.h>
#include <inttypes.h>

#include "process/process_maps.h"
#include "support/log.h"

/* One that is gone, or has no agent, is not for us to judge. */
static void begin(struct plugin_run *run, struct dumped_process *process)
{
	struct process_maps maps;
	struct error_text error;

	if (!dumped_process_is_to_be_locked(process) || process_maps_read(process->handle.pid, &maps, &error))
		return;
	agent_open(&process->agent, process->handle.pid, &maps);
	if (process->agent.usable) {
		process->turn = TURN_UNDER_WAY;
		log_info("copying device memory of process %d while it runs", (int)process->handle.pid);
		run_ahead_begin(run, &process->call, &process->handle, &process->agent);
	} else {
		agent_close(&process->agent);
	}
}

static int end(struct plugin_run *run, struct dumped_process *process, struct error_text *error)
{
	int code = run_ahead_end(run, &process->call, error);

	process->turn = NO_TURN;
	agent_close(&process->agent);
	if (!code && process->call.reply.bytes)
		log_info("process %d: %" PRIu64 " bytes of device memory are copied, and it runs on",
			 (int)process->handle.pid, process->call.reply.bytes);
	/* The end of another process is no failure of this one's. */
	return !run->pool.lost && process_handle_has_ended(&process->handle) ? 0 : code;
}

int dump_copy_ahead(struct plugin_run *run, struct dumped_process *processes, struct error_text *error)
{
	struct dumped_process *process;
	struct error_text one_error;
	int code = 0;

	for (process = processes; process; process = process->next)
		begin(run, process);
	for (process = processes; process; process = process->next)
		if (process->turn == TURN_UNDER_WAY)
			run_add_result(&code, error, end(run, process, &one_error), &one_error);
	return code;
}
