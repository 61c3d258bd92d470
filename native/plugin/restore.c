/* SPDX-License-Identifier: MIT */
#include "plugin/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/criu_plugin_abi.h"
#include "plugin/failed_restore.h"
#include "plugin/process_maps.h"
#include "plugin/read_ahead.h"
#include "plugin/run.h"
#include "support/log.h"

static struct run run;
static pid_t *seen; /* every process that CRIU has shown us, for the case that they all have to go */
static size_t seen_count;

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

	seen = NULL;
	seen_count = 0;
	code = run_begin(&run, POOL_STAGE_RESTORE, &error);
	/* Where nobody knows yet whether there is CUDA in the tree, the pool waits until there is. */
	if (!code && names_plugin)
		code = begin_with_pool(&error);
	if (code) {
		run_fail(&run, &error);
		run_end(&run, code);
		return -1;
	}
	if (run.settings.read_ahead)
		read_ahead_start(criu_get_image_dir());
	return 0;
}

static int resume_process(pid_t pid, const struct process_maps *maps, struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY, .pid = pid};
	struct pool_request resume;
	struct pool_reply reply;
	struct agent agent;
	int code;

	if (run.pool.socket < 0 && !run.pool.lost) {
		code = begin_with_pool(error);
		if (code)
			return code;
	}
	code = run_call(&run, &query, &reply, error);
	if (code)
		return code;
	if (!reply.uses_cuda) {
		log_info("process %d has the CUDA driver loaded but does not use it", (int)pid);
		return 0;
	}
	agent_open(&agent, pid, maps);
	if (agent.has_page && agent.page.state == AGENT_STATE_RELEASED && !agent.usable) {
		code = fail(error, -ENXIO,
			    "the device memory of process %d is in the GPU image, but its agent cannot be reached: %s",
			    (int)pid, agent.note);
		goto out;
	}
	/* Whatever state it was dumped in, who restores a process wants it running. */
	resume = run_resume_request(pid, CU_PROCESS_STATE_RUNNING, &agent);
	code = run_call_with_threads(&run, &resume, reply.restore_thread_id, &agent, &reply, error);
	if (!code)
		log_info("process %d has its GPU back: %s mode, %" PRIu64 " bytes of device memory", (int)pid,
			 reply.mode == POOL_MODE_OFFLOAD ? "offload" : "native", reply.bytes);
out:
	agent_close(&agent);
	return code;
}

static int remember(pid_t pid, struct error_text *error)
{
	pid_t *more = realloc(seen, (seen_count + 1) * sizeof(*seen));

	if (!more)
		return fail(error, -ENOMEM, "out of memory");
	seen = more;
	seen[seen_count++] = pid;
	return 0;
}

int restore_resume_devices_late(int pid)
{
	struct process_maps maps;
	struct error_text error;
	int code;

	if (run.failed) {
		failed_restore_kill(pid);
		return -1;
	}
	code = remember(pid, &error);
	if (!code)
		code = process_maps_read(pid, &maps, &error);
	if (!code && !maps.has_cuda_library)
		return -ENOTSUP;
	if (!code)
		code = resume_process(pid, &maps, &error);
	if (!code)
		return 0;

	/* CRIU up to 4.2 goes on as if nothing had happened, so that a program would run without its GPU memory. */
	run_fail(&run, &error);
	log_error("the restore has failed on the GPU: ending every process of the tree; the image is whole and can be "
		  "restored again");
	for (size_t index = 0; index < seen_count; index++)
		failed_restore_kill(seen[index]);
	if (!seen_count)
		failed_restore_kill(pid);
	return -1;
}

void restore_end(int criu_result)
{
	bool failed = run.failed;

	run_end(&run, criu_result);
	free(seen);
	seen = NULL;
	seen_count = 0;
	/* The last guard: CRIU must not report a success. */
	if (failed && !criu_result)
		_exit(1);
}
