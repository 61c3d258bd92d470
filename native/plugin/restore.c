/* SPDX-License-Identifier: MIT */
#include "plugin/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/criu_plugin_abi.h"
#include "plugin/read_ahead.h"
#include "plugin/run.h"
#include "process/failed_restore.h"
#include "process/process_maps.h"
#include "process/process_status.h"
#include "process/restored_tree.h"
#include "support/log.h"

/* A process of the tree that uses CUDA, while it gets its GPU back. */
struct resumed_process {
	struct process_handle handle;
	struct agent agent;
	pid_t restore_thread;
	bool uses_cuda;
	struct run_call call;
};

static struct plugin_run run;
static struct restored_tree tree;
static size_t resumed_count; /* of the tree's processes, from the first one on: each was brought back, or has no CUDA */

/* Reaches the pool and lets it begin to fill device memory. */
static int begin_with_pool(struct error_text *error)
{
	struct pool_request prefetch = {.type = POOL_PREFETCH};
	struct pool_reply reply;
	int code;

	code = run_connect(&run, false, error);
	if (!code)
		code = run_call(&run, &prefetch, &reply, error);
	return code;
}

int restore_begin(bool names_plugin)
{
	struct error_text error;
	int code;

	tree = (struct restored_tree){.count = 0};
	resumed_count = 0;
	code = run_begin(&run, POOL_STAGE_RESTORE, &error);
	/* Where nobody knows yet whether there is CUDA in the tree, the pool waits until there is. */
	if (!code && names_plugin)
		code = begin_with_pool(&error);
	if (code) {
		run_fail(&run, code, &error);
		run_end(&run, code);
		return -1;
	}
	if (run.settings.read_ahead)
		read_ahead_start(criu_get_image_dir());
	return 0;
}

/* Opens what is needed of a process that has the CUDA driver loaded. Nothing of it runs yet. */
static int prepare(struct resumed_process *process, pid_t pid, const struct process_maps *maps,
		   struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY};
	struct pool_reply reply;
	int code = 0;

	if (run.pool.socket < 0 && !run.pool.lost)
		code = begin_with_pool(error);
	if (!code)
		code = process_handle_open(&process->handle, pid, error);
	if (!code)
		code = run_call_process(&run, &process->handle, &query, &reply, error);
	if (code)
		return code;
	process->uses_cuda = reply.uses_cuda;
	if (!process->uses_cuda) {
		log_info("process %d has the CUDA driver loaded but does not use it", (int)pid);
		return 0;
	}
	process->restore_thread = thread_find_by_namespace_id(pid, reply.restore_thread_id);
	agent_open(&process->agent, pid, maps);
	code = agent_must_be_known(&process->agent, pid, error);
	if (code)
		return code;
	if (process->agent.has_page && process->agent.page.state == AGENT_STATE_RELEASED && !process->agent.usable)
		return fail(error, -ENXIO,
			    "the device memory of process %d is in the GPU image, but its agent cannot be reached: %s",
			    (int)pid, process->agent.note);
	return 0;
}

static int prepare_if_cuda(struct resumed_process *process, struct restored_process *restored, struct error_text *error)
{
	struct process_maps maps;
	int code = process_maps_read(restored->pid, &maps, error);

	if (code)
		return code;
	restored->has_cuda = maps.has_cuda_library;
	return restored->has_cuda ? prepare(process, restored->pid, &maps, error) : 0;
}

static void begin(struct resumed_process *process)
{
	const struct run_threads threads = {.restore_thread = process->restore_thread, .agent = &process->agent};
	/* Whatever state it was dumped in, who restores a process wants it running. */
	struct pool_request request = run_resume_request(CU_PROCESS_STATE_RUNNING, &process->agent);

	run_call_begin(&run, &process->call, &process->handle, &threads, &request);
}

static int end(struct resumed_process *process, struct error_text *error)
{
	const struct pool_reply *reply = &process->call.reply;
	int code = run_call_end(&run, &process->call, error);

	if (!code)
		log_info("process %d has its GPU back: %s mode, %" PRIu64 " bytes of device memory",
			 (int)process->handle.pid, reply->mode == POOL_MODE_OFFLOAD ? "offload" : "native",
			 reply->bytes);
	if (!code && reply->moved[0])
		log_warning("%.767s", reply->moved);
	return code;
}

/* The first failure is in error; every process has come to its end, whatever became of another one. */
static int resume_together(struct resumed_process *processes, size_t count, struct error_text *error)
{
	struct error_text one_error;
	int code = 0, one;
	size_t begun = 0;

	for (size_t index = 0; index < count; index++) {
		if (!processes[index].uses_cuda)
			continue;
		begin(&processes[index]);
		begun++;
	}
	if (begun > 1)
		log_info("%zu processes are being restored side by side", begun);
	for (size_t index = 0; index < count; index++) {
		if (!processes[index].uses_cuda)
			continue;
		one = end(&processes[index], &one_error);
		run_add_result(&code, error, one, &one_error);
	}
	return code;
}

/*
 * All of the tree that have not been brought back yet, side by side: at the first hook every one of them is there. None is
 * touched before each of them can be.
 */
static int resume_all(struct error_text *error)
{
	size_t count = tree.count - resumed_count;
	struct resumed_process *processes = calloc(count + 1, sizeof(*processes));
	int code = 0;

	if (!processes)
		return fail(error, -ENOMEM, "Out of memory");
	for (size_t index = 0; index < count; index++) {
		processes[index].handle = PROCESS_HANDLE_NONE;
		processes[index].agent.control = -1;
	}
	for (size_t index = 0; !code && index < count; index++)
		code = prepare_if_cuda(&processes[index], &tree.processes[resumed_count + index], error);
	if (!code)
		code = resume_together(processes, count, error);
	for (size_t index = 0; index < count; index++) {
		agent_close(&processes[index].agent);
		process_handle_close(&processes[index].handle);
	}
	free(processes);
	if (!code)
		resumed_count = tree.count;
	return code;
}

/* What can only be known when every process is back. */
static int check_whole_tree(struct error_text *error)
{
	struct pool_request complete = {.type = POOL_COMPLETE};
	struct pool_reply reply;

	if (run.pool.socket < 0)
		return 0;
	return run_call(&run, &complete, &reply, error);
}

static int resume(pid_t pid, struct error_text *error)
{
	int code;

	code = restored_tree_show(&tree, pid, error);
	if (!code && resumed_count < tree.count)
		code = resume_all(error);
	if (!code && restored_tree_is_complete(&tree))
		code = check_whole_tree(error);
	return code;
}

int restore_resume_devices_late(int pid)
{
	struct error_text error;
	int code;

	if (run.failed) {
		failed_restore_kill(pid);
		return -1;
	}
	code = resume(pid, &error);
	if (!code)
		return restored_tree_find(&tree, pid)->has_cuda ? 0 : -ENOTSUP;

	/* CRIU up to 4.2 goes on as if nothing had happened, so that a program would run without its GPU memory. */
	run_fail(&run, code, &error);
	log_error("the restore has failed on the GPU: ending every process of the tree; its images were only read");
	restored_tree_kill(&tree);
	failed_restore_kill(pid);
	return -1;
}

void restore_end(int criu_result)
{
	bool failed = run.failed;

	run_end(&run, criu_result);
	restored_tree_free(&tree);
	/* The last guard: CRIU must not report a success. */
	if (failed && !criu_result)
		_exit(1);
}
