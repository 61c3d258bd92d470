/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/driver_checkpoint.h"
#include "pool/pool_run.h"
#include "rekindle.h"
#include "support/clock.h"
#include "support/log.h"

/* Descriptors that came with a request; what is taken is the taker's. */
struct received {
	int *descriptors;
	size_t count;
};

static int take(struct received *received, size_t index)
{
	int descriptor = index < received->count ? received->descriptors[index] : -1;

	if (index < received->count)
		received->descriptors[index] = -1;
	return descriptor;
}

static bool is_folder(int descriptor)
{
	struct stat status;

	return descriptor >= 0 && fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode);
}

static int hello(struct run *run, const struct pool_request *request, struct received *received,
		 struct pool_reply *reply)
{
	if (run->stage || run->folder >= 0 || run->work >= 0)
		return fail(&reply->error, -EPROTO, "HELLO came twice on one connection");
	if (request->version != POOL_PROTOCOL_VERSION)
		return fail(&reply->error, -EPROTO,
			    "The pool (version %s) speaks protocol %u and the client %u; install plugin and pool of "
			    "one version",
			    REKINDLE_VERSION, POOL_PROTOCOL_VERSION, request->version);
	if (request->stage < POOL_STAGE_DUMP || request->stage > POOL_STAGE_CLIENT)
		return fail(&reply->error, -EPROTO, "HELLO has no valid stage (%u)", request->stage);
	if (request->stage != POOL_STAGE_CLIENT) {
		run->folder = take(received, 0);
		run->work = take(received, 1);
		if (!is_folder(run->folder) || !is_folder(run->work))
			return fail(&reply->error, -EPROTO,
				    "HELLO of a run needs the folder of images and the work folder");
		run->progress = openat(run->work, POOL_PROGRESS_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		atomic_fetch_add(&run->pool->runs, 1);
		run->counted = true;
	}
	run->stage = request->stage;
	run->parallel = request->parallel != 0;
	run->verify = request->verify != 0;
	run->started_by_us = request->started_by_us != 0;
	run->warm = pool_is_warm(run->pool);
	run->hello_time = monotonic_nanoseconds();
	run->hook_time = request->hook_nanoseconds && request->hook_nanoseconds < run->hello_time
				 ? request->hook_nanoseconds
				 : run->hello_time;
	reply->pool_warm = run->warm;
	return 0;
}

static int prefetch(struct run *run, struct received *received, struct pool_reply *reply)
{
	struct prefetch_options options = {
		.verify = run->verify,
		.overlap = run->parallel,
		.workers = run->parallel ? 0 : 1,
		.goes_first = true,
	};
	int folder, result;

	if (run->stage == POOL_STAGE_CLIENT) {
		folder = take(received, 0);
		result = is_folder(folder)
				 ? prefetch_keep(run->pool, folder, &reply->bytes, &reply->error)
				 : fail(&reply->error, -EPROTO, "PREFETCH of a client needs the folder of images");
		if (folder >= 0)
			close(folder);
		return result;
	}
	if (run->stage != POOL_STAGE_RESTORE || run->prefetch)
		return fail(&reply->error, -EPROTO, "PREFETCH belongs once into a restore");
	run_progress(run, REKINDLE_PHASE_PREFETCH, 0, 0);
	if (run->parallel)
		run->prefetch = prefetch_adopt(run->pool, run->folder, run->verify);
	if (!run->prefetch) {
		result = prefetch_start(run->pool, run->folder, &options, &run->prefetch, &reply->error);
		if (result)
			return result;
	}
	if (run->prefetch->count == 0) { /* images of CRIU's own plugin, or no CUDA at all */
		prefetch_end(run->prefetch);
		run->prefetch = NULL;
		return 0;
	}
	reply->bytes = run->prefetch->bytes;
	reply->mode = reply->bytes ? POOL_MODE_OFFLOAD : POOL_MODE_NATIVE;
	return 0;
}

static int drop(struct run *run, struct received *received, struct pool_reply *reply)
{
	int folder = take(received, 0), result = 0;

	if (run->stage != POOL_STAGE_CLIENT || !is_folder(folder))
		result = fail(&reply->error, -EPROTO, "DROP is for clients and needs the folder of images");
	else if (prefetch_drop_kept(run->pool, &folder) == 0)
		result = fail(&reply->error, -ENOENT, "Nothing is prefetched for this folder");
	if (folder >= 0)
		close(folder);
	return result;
}

static int query(struct run *run, const struct pool_request *request, struct pool_reply *reply)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;
	struct driver_process process;
	int result;

	result = driver_process_query(run->pool, request->pid, &process, &reply->error);
	if (result)
		return result;
	reply->uses_cuda = process.uses_cuda;
	reply->restore_thread_id = process.restore_thread;
	if (process.uses_cuda && request->wants_state) {
		result = driver_process_state(run->pool, request->pid, &state, &reply->error);
		reply->state = (int32_t)state;
	}
	return result;
}

static int need_process(struct run *run, const struct pool_request *request, struct run_process **process,
			struct pool_reply *reply)
{
	if (run->stage != POOL_STAGE_DUMP && run->stage != POOL_STAGE_RESTORE)
		return fail(&reply->error, -EPROTO, "This request belongs into a run; HELLO did not begin one");
	if (request->pid <= 0)
		return fail(&reply->error, -EINVAL, "The request names no process");
	*process = run_process_get(run, request->pid);
	return *process ? 0 : fail(&reply->error, -ENOMEM, "Out of memory");
}

static int lock(struct run *run, struct run_process *process, const struct pool_request *request,
		struct pool_reply *reply)
{
	uint64_t began = monotonic_nanoseconds();
	CUprocessState state;
	int result;

	if (run->stage != POOL_STAGE_DUMP)
		return fail(&reply->error, -EPROTO, "LOCK belongs into a dump");
	run_progress(run, REKINDLE_PHASE_LOCK, 0, 0);
	result = driver_process_state(run->pool, process->pid, &state, &reply->error);
	if (result)
		return result;
	if (state != CU_PROCESS_STATE_RUNNING) {
		process->was_locked = !process->locked;
		return 0;
	}
	result = driver_process_lock(run->pool, process->pid, request->timeout_ms, &reply->error);
	if (result)
		return result;
	process->locked = true;
	run_phase_add(process, "lock", began, 0);
	return 0;
}

static int unlock(struct run *run, struct run_process *process, struct pool_reply *reply)
{
	CUprocessState state;
	int result;

	if (process->was_locked)
		return 0; /* it was locked before the dump, and stays so */
	result = driver_process_state(run->pool, process->pid, &state, &reply->error);
	if (result == 0 && state == CU_PROCESS_STATE_LOCKED)
		result = driver_process_unlock(run->pool, process->pid, &reply->error);
	if (result == 0)
		process->locked = false;
	return result;
}

static void take_agent(struct run_process *process, const struct pool_request *request, struct received *received)
{
	int agent = request->has_agent ? take(received, 0) : -1;

	if (agent < 0)
		return;
	if (process->agent >= 0)
		close(process->agent);
	process->agent = agent;
}

static void reply_mode(const struct run_process *process, struct pool_reply *reply)
{
	reply->mode = process->mode;
	reply->bytes = process->device_bytes;
	memcpy(reply->reason, process->reason, sizeof(reply->reason));
}

static int checkpoint(struct run *run, struct run_process *process, const struct pool_request *request,
		      struct received *received, struct pool_reply *reply)
{
	char note[sizeof(request->note)];
	int result;

	if (run->stage != POOL_STAGE_DUMP)
		return fail(&reply->error, -EPROTO, "CHECKPOINT belongs into a dump");
	snprintf(note, sizeof(note), "%.*s", (int)sizeof(note) - 1, request->note);
	take_agent(process, request, received);
	process->reason[0] = '\0';
	result = run_checkpoint(run, process, note, &reply->error);
	if (result)
		return result;
	atomic_fetch_add(&run->pool->checkpoints, 1);
	reply_mode(process, reply);
	return 0;
}

/* What another pool had taken from the process when it ended is ours to bring back, also when this fails at first. */
static void take_over(struct run_process *process, const struct resume_request *request)
{
	if (request->initial_state == CU_PROCESS_STATE_CHECKPOINTED)
		return; /* nobody took anything from it, and it stays so */
	process->checkpointed = true; /* or at least locked, which does no harm */
	process->was_locked = request->initial_state == CU_PROCESS_STATE_LOCKED;
	if (!request->released || process->released)
		return;
	process->released = true;
	memcpy(process->image_id, request->image_id, sizeof(process->image_id));
	process->image_written = true;
}

static int resume(struct run *run, struct run_process *process, const struct pool_request *request,
		  struct received *received, struct pool_reply *reply)
{
	struct resume_request resume_request = {
		.released = request->agent_released != 0,
		.image_id = request->image_id,
		.initial_state = (CUprocessState)request->initial_state,
	};
	int result;

	if (run->first_resume == 0)
		run->first_resume = monotonic_nanoseconds();
	run->report_due = run->stage == POOL_STAGE_RESTORE;
	take_agent(process, request, received);
	if (run->stage == POOL_STAGE_DUMP)
		take_over(process, &resume_request);
	result = run_resume(run, process, &resume_request, &reply->error);
	run->last_resume = monotonic_nanoseconds();
	if (result)
		return result;
	if (run->stage == POOL_STAGE_RESTORE)
		atomic_fetch_add(&run->pool->restores, 1);
	reply_mode(process, reply);
	return 0;
}

static int finish(struct run *run, const struct pool_request *request, struct pool_reply *reply)
{
	char note[sizeof(request->note)];

	if (!run->stage || run->finished)
		return fail(&reply->error, -EPROTO, "FINISH came without a run to finish");
	snprintf(note, sizeof(note), "%.*s", (int)sizeof(note) - 1, request->note);
	run_finish(run, request->criu_result, note);
	return 0;
}

static int answer(struct run *run, const struct pool_request *request, struct received *received,
		  struct pool_reply *reply)
{
	struct run_process *process = NULL;
	int result;

	if (request->type != POOL_HELLO && !run->stage)
		return fail(&reply->error, -EPROTO, "HELLO must come first on a connection");
	if (run->finished && request->type != POOL_STATUS)
		return fail(&reply->error, -EPROTO, "The run of this connection is finished");
	switch (request->type) {
	case POOL_HELLO:
		return hello(run, request, received, reply);
	case POOL_PREFETCH:
		return prefetch(run, received, reply);
	case POOL_DROP:
		return drop(run, received, reply);
	case POOL_QUERY:
		return query(run, request, reply);
	case POOL_FINISH:
		return finish(run, request, reply);
	case POOL_STATUS:
		pool_fill_status(run->pool, &reply->status);
		return 0;
	case POOL_STOP: /* the server looks at it */
		return 0;
	case POOL_LOCK:
	case POOL_CHECKPOINT:
	case POOL_RESUME:
	case POOL_UNLOCK:
		break;
	default:
		return fail(&reply->error, -EPROTO, "Request type %u is unknown to this pool (version %s)",
			    request->type, REKINDLE_VERSION);
	}
	result = need_process(run, request, &process, reply);
	if (result)
		return result;
	if (request->type == POOL_LOCK)
		return lock(run, process, request, reply);
	if (request->type == POOL_CHECKPOINT)
		return checkpoint(run, process, request, received, reply);
	if (request->type == POOL_RESUME)
		return resume(run, process, request, received, reply);
	return unlock(run, process, reply);
}

void run_request(struct run *run, const struct pool_request *request, int *descriptors, size_t count,
		 struct pool_reply *reply)
{
	struct received received = {.descriptors = descriptors, .count = count};

	*reply = (struct pool_reply){.version = POOL_PROTOCOL_VERSION};
	reply->result = answer(run, request, &received, reply);
	if (reply->result == 0)
		return;
	log_error("%s", reply->error.text);
	if (run->error_code == 0) {
		run->error = reply->error;
		run->error_code = reply->result;
		run->error_phase = run->phase;
	}
}
