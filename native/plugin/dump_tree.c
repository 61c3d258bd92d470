/* SPDX-License-Identifier: MIT */
#include "plugin/dump_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/dump_checks.h"
#include "plugin/dump_folder.h"
#include "process/process_maps.h"
#include "process/process_status.h"
#include "process/process_tree.h"
#include "support/log.h"

static void begin_with_threads(struct plugin_run *run, struct dumped_process *process, struct pool_request *request)
{
	const struct run_threads threads = {
		.restore_thread = process->restore_thread,
		.agent = &process->agent,
		.standstill = &process->standstill,
	};

	process->turn = TURN_UNDER_WAY;
	run_call_begin(run, &process->call, &process->handle, &threads, request);
}

static int end_with_threads(struct plugin_run *run, struct dumped_process *process, struct error_text *error)
{
	process->turn = NO_TURN;
	return run_call_end(run, &process->call, error);
}

/* Once more: between the first look and the stop the process ran. */
static int prepare_to_save(struct dumped_process *process, struct error_text *error)
{
	struct process_maps maps;
	int code;

	dumped_process_reached(process, DUMP_SAVING_TRIED);
	code = process_maps_read(process->handle.pid, &maps, error);
	if (code)
		return code;
	agent_open(&process->agent, process->handle.pid, &maps);
	return check_open_agent(process->handle.pid, process->initial_state, &process->agent, error);
}

static void begin_to_save(struct plugin_run *run, struct dumped_process *process)
{
	struct pool_request request = {.type = POOL_CHECKPOINT};

	if (process->initial_state == CU_PROCESS_STATE_CHECKPOINTED)
		return;
	snprintf(request.note, sizeof(request.note), "%s", process->agent.note);
	dumped_process_reached(process, DUMP_CHECKPOINT_TRIED);
	begin_with_threads(run, process, &request);
}

static int end_saving(struct plugin_run *run, struct dumped_process *process, struct error_text *error)
{
	const struct pool_reply *reply = &process->call.reply;
	int code = end_with_threads(run, process, error);

	if (code)
		return code;
	if (reply->mode == POOL_MODE_OFFLOAD)
		log_info("process %d: %" PRIu64 " bytes of device memory are in the GPU image",
			 (int)process->handle.pid, reply->bytes);
	else
		log_warning("process %d: native mode, device memory travels in the process image: %s",
			    (int)process->handle.pid, reply->reason);
	return 0;
}

static int end_saving_of_all(struct plugin_run *run, struct dumped_process *processes, struct error_text *error)
{
	struct error_text one_error;
	int code = 0, one;

	for (struct dumped_process *process = processes; process; process = process->next) {
		if (process->turn != TURN_UNDER_WAY)
			continue;
		one = end_saving(run, process, &one_error);
		run_add_result(&code, error, one, &one_error);
	}
	return code;
}

/* One that was moved out of the tree is not stopped with it. */
static bool is_next(const struct dumped_process *process, pid_t named)
{
	if (!dumped_process_is_to_be_saved(process))
		return false;
	return process->handle.pid == named || process_find_tracer(process->handle.pid) == getpid();
}

int dump_save_tree(struct plugin_run *run, struct dumped_process *processes, pid_t named, struct error_text *error)
{
	struct dumped_process *process;
	size_t begun = 0;
	int code = 0;

	for (process = processes; process && !code; process = process->next) {
		if (!is_next(process, named))
			continue;
		process->turn = TURN_IS_NEXT;
		code = prepare_to_save(process, error);
	}
	for (process = processes; process && !code; process = process->next) {
		if (process->turn != TURN_IS_NEXT)
			continue;
		begin_to_save(run, process);
		begun += process->turn == TURN_UNDER_WAY;
	}
	if (begun > 1)
		log_info("%zu processes are being saved side by side", begun);
	if (!code)
		code = end_saving_of_all(run, processes, error);
	for (process = processes; process; process = process->next) {
		agent_close(&process->agent);
		process->turn = NO_TURN;
	}
	return code;
}

/* Those without CUDA; half a tree would go on where CRIU dies before it comes to them. Who was moved out of it goes on. */
static void end_held(pid_t pid)
{
	if (process_find_tracer(pid) == getpid())
		kill(pid, SIGKILL);
}

void dump_end_tree(struct dumped_process *processes)
{
	struct dumped_process *process, *root = processes;
	struct process_facts *below;
	bool any = false;
	size_t count, i;

	while (root && root->next)
		root = root->next;
	/* Once it has ended there is nobody below it. */
	below = root ? process_descendants(root->handle.pid, &count) : NULL;
	for (process = processes; process; process = process->next) {
		if (!dumped_process_lacks_memory(process))
			continue;
		any = true;
		process->is_ended = !process_handle_signal(&process->handle, SIGKILL);
		if (process->is_ended)
			log_info("process %d ends, and needs no GPU any more", (int)process->handle.pid);
	}
	for (i = 0; any && i < count; i++)
		end_held(below[i].process);
	if (any)
		end_held(root->handle.pid);
	free(below);
}

/* Makes sure that a pool answers; one that ended is replaced by a fresh one, for which the GPU image is enough. */
static int ensure_pool(struct plugin_run *run, struct error_text *error)
{
	if (run->pool.socket >= 0)
		return 0;
	if (run->pool.abandoned)
		return fail(error, -EBUSY,
			    "the pool hangs and may still hold the process: it brings it back when it can");
	return run_connect(run, true, error);
}

/* What brings it back, with its agent open. */
static int prepare_to_bring_back(struct plugin_run *run, struct dumped_process *process, struct pool_request *request,
				 struct error_text *error)
{
	struct process_maps maps;
	int code;

	code = ensure_pool(run, error);
	*request = (struct pool_request){.type = POOL_UNLOCK};
	if (code || !dumped_process_lacks_memory(process))
		return code;
	code = process_maps_read(process->handle.pid, &maps, error);
	if (code)
		return code;
	agent_open(&process->agent, process->handle.pid, &maps);
	code = agent_must_be_known(&process->agent, process->handle.pid, error);
	if (!code)
		*request = run_resume_request(process->initial_state, &process->agent);
	return code;
}

static int bring_back_once(struct plugin_run *run, struct dumped_process *process, struct error_text *error)
{
	const struct run_threads threads = {
		.restore_thread = process->restore_thread,
		.agent = &process->agent,
		.standstill = &process->standstill,
	};
	struct pool_request request;
	struct pool_reply reply;
	int code;

	code = prepare_to_bring_back(run, process, &request, error);
	if (!code)
		code = run_call_with_threads(run, &process->handle, &threads, &request, &reply, error);
	agent_close(&process->agent);
	return code;
}

static void end_bringing_back(struct plugin_run *run, struct dumped_process *process)
{
	process->turn = NO_TURN;
	process->back_tried = true;
	process->back_code = run_call_end(run, &process->call, &process->back_error);
	agent_close(&process->agent);
}

/* Those whose memory is away, side by side. What fails here is tried once more, one process after the other. */
static void bring_back_together(struct plugin_run *run, struct dumped_process *processes)
{
	struct dumped_process *process;
	struct pool_request request;
	struct error_text error;

	for (process = processes; process; process = process->next) {
		if (!dumped_process_lacks_memory(process) || process_handle_has_ended(&process->handle))
			continue;
		if (!prepare_to_bring_back(run, process, &request, &error))
			process->turn = TURN_IS_NEXT;
	}
	for (process = processes; process; process = process->next) {
		if (process->turn != TURN_IS_NEXT)
			continue;
		request = run_resume_request(process->initial_state, &process->agent);
		begin_with_threads(run, process, &request);
	}
	for (process = processes; process; process = process->next)
		if (process->turn == TURN_UNDER_WAY)
			end_bringing_back(run, process);
}

static void tell_remedy(const struct plugin_run *run, const struct dumped_process *process)
{
	char images[PATH_MAX];

	dump_folder_path(run->folder_lock, images);
	log_error("process %d could not get its GPU back%s: if it is to go on, run rekindled --revive %d --images %s",
		  (int)process->handle.pid, process->standstill.pid ? ", and is stopped as long as it has not" : "",
		  (int)process->handle.pid, images);
}

/* Every task is still stopped. Its memory is still in the pool, which makes this cheap. */
static void bring_back(struct plugin_run *run, struct dumped_process *process, int criu_result)
{
	struct error_text error;
	bool was_lost = false;
	int code;

	if (!dumped_process_lacks_something(process))
		return;
	if (process_handle_has_ended(&process->handle))
		return;
	code = process->back_tried ? process->back_code : bring_back_once(run, process, &error);
	if (process->back_tried)
		error = process->back_error;
	was_lost = code && run->pool.lost && !run->pool.abandoned;
	if (was_lost)
		log_warning("%s: once more with a fresh pool", error.text);
	if (code && !run->pool.abandoned)
		code = bring_back_once(run, process, &error);
	if (!code) {
		process->is_back = true;
		log_info("process %d has its GPU back", (int)process->handle.pid);
		return;
	}
	if (criu_result)
		run_fail(run, code, &error);
	else
		log_error("%s", error.text);
	run->note = error;
	/* Not while CRIU holds its threads: the driver would wait for them, and CRIU for the pool. */
	if (criu_result && run->pool.socket >= 0)
		run->left_to_pool = true;
	if (run->pool.socket >= 0)
		log_error("process %d could not get its GPU back yet: the pool tries again when CRIU has let it go, "
			  "see the pool's log",
			  (int)process->handle.pid);
	else
		tell_remedy(run, process);
}

void dump_bring_back_tree(struct plugin_run *run, struct dumped_process *processes, int criu_result)
{
	bring_back_together(run, processes);
	for (struct dumped_process *process = processes; process; process = process->next)
		bring_back(run, process, criu_result);
}
