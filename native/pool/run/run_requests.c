/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/device/driver_checkpoint.h"
#include "pool/run/guardian.h"
#include "pool/run/pool_run.h"
#include "process/process_lock.h"
#include "store/checkpoint_gpu_images.h"
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
		run->lock = request->stage == POOL_STAGE_DUMP ? take(received, 2) : -1;
		if (!is_folder(run->folder) || !is_folder(run->work))
			return fail(&reply->error, -EPROTO,
				    "HELLO of a run needs the folder of images and the work folder");
		run_note_statistics_file(run);
		run_open_progress(run, request->note);
		atomic_fetch_add(&run->pool->runs, 1);
		run->counted = true;
	}
	run->stage = request->stage;
	memcpy(run->checkpoint_id, request->image_id, sizeof(run->checkpoint_id));
	run->parallel = request->parallel != 0;
	run->verify = request->verify != 0;
	snprintf(run->device_map, sizeof(run->device_map), "%.*s", (int)sizeof(request->device_map) - 1,
		 request->device_map);
	run->started_by_us = request->started_by_us != 0;
	run->may_link = request->stage == POOL_STAGE_DUMP && request->parent != POOL_PARENT_NONE;
	if (run->may_link && request->parent == POOL_PARENT_GIVEN)
		run->parent = take(received, 3);
	if (run->parent >= 0 && !is_folder(run->parent))
		return fail(&reply->error, -EPROTO, "HELLO names a parent's folder that is none");
	run->tier = request->stage == POOL_STAGE_DUMP ? (enum pool_tier)request->tier : POOL_TIER_FILES;
	run->warm = pool_is_warm(run->pool);
	run->hello_time = monotonic_nanoseconds();
	run->hook_time = request->hook_nanoseconds && request->hook_nanoseconds < run->hello_time
				 ? request->hook_nanoseconds
				 : run->hello_time;
	reply->pool_warm = run->warm;
	return 0;
}

static bool has_gone(const void *run)
{
	return run_is_abandoned(run);
}

static int prefetch(struct run *run, const struct pool_request *request, struct received *received,
		    struct pool_reply *reply)
{
	struct prefetch_options options = {
		.verify = run->verify,
		.overlap = run->parallel,
		.workers = run->parallel ? 0 : 1,
		.goes_first = true,
		.may_move = true,
		.device_map = run->device_map,
	};
	const struct prefetch_taker taker = {has_gone, run};
	const struct gpu_match *gpus;
	int folder, result;

	if (run->stage == POOL_STAGE_CLIENT) {
		folder = take(received, 0);
		result = is_folder(folder)
				 ? prefetch_keep(run->pool, folder, run->device_map, (enum pool_tier)request->tier,
						 &reply->bytes, &reply->error)
				 : fail(&reply->error, -EPROTO, "PREFETCH of a client needs the folder of images");
		if (folder >= 0)
			close(folder);
		return result;
	}
	if (run->stage != POOL_STAGE_RESTORE || run->prefetch)
		return fail(&reply->error, -EPROTO, "PREFETCH belongs once into a restore");
	run_progress(run, NULL, PHASE_PREFETCH, 0, 0);
	if (run->parallel || gpu_images_are_in_pool(run->folder))
		run->prefetch = prefetch_adopt(run->pool, run->folder, run->device_map, run->verify, &taker);
	if (!run->prefetch && run_is_abandoned(run))
		return fail(&reply->error, -ECANCELED, "The restore was cancelled");
	if (!run->prefetch) {
		result = prefetch_start(run->pool, run->folder, &options, &run->prefetch, &reply->error);
		if (result == -ENODATA && prefetch_is_lent(run->pool, run->folder))
			return fail(
				&reply->error, -EBUSY,
				"The device memory of this checkpoint is in no file (REKINDLE_PARK=ephemeral), and in the "
				"hands of another restore: try again should that one fail");
		if (result)
			return result;
	}
	if (run->prefetch->count == 0) { /* images of CRIU's own plugin, or no CUDA at all */
		prefetch_end(run->prefetch);
		run->prefetch = NULL;
		return 0;
	}
	result = run->device_map[0] ? prefetch_match_gpus(run->prefetch, &gpus, &reply->error) : 0;
	if (result)
		return result;
	reply->bytes = run->prefetch->bytes;
	reply->mode = reply->bytes ? POOL_MODE_OFFLOAD : POOL_MODE_NATIVE;
	return 0;
}

static int drop(struct run *run, struct received *received, struct pool_reply *reply)
{
	int folder = take(received, 0), result;

	if (run->stage != POOL_STAGE_CLIENT || !is_folder(folder))
		result = fail(&reply->error, -EPROTO, "DROP is for clients and needs the folder of images");
	else
		result = prefetch_drop_kept(run->pool, folder, &reply->error);
	if (folder >= 0)
		close(folder);
	return result;
}

static int prefetched(struct run *run, struct received *received, struct pool_reply *reply)
{
	int folder = take(received, 0), result;

	if (run->stage != POOL_STAGE_CLIENT || !is_folder(folder))
		result = fail(&reply->error, -EPROTO, "PREFETCHED is for clients and needs the folder of images");
	else
		result = prefetch_kept_remaining(run->pool, folder, run->device_map, &reply->bytes, &reply->error);
	if (folder >= 0)
		close(folder);
	return result;
}

static int query(struct run *run, const struct pool_request *request, const struct target *target,
		 struct pool_reply *reply)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;
	struct driver_process process;
	int result;

	result = driver_process_query(run->pool, target, &process, &reply->error);
	if (result)
		return result;
	reply->uses_cuda = process.uses_cuda;
	reply->restore_thread_id = process.restore_thread_own;
	if (process.uses_cuda && request->wants_state) {
		result = driver_process_state(run->pool, target, &state, &reply->error);
		reply->state = (int32_t)state;
	}
	return result;
}

static int need_process(struct run *run, struct target *target, struct received *received, struct run_process **process,
			struct pool_reply *reply)
{
	int lock;

	if (run->stage != POOL_STAGE_DUMP && run->stage != POOL_STAGE_RESTORE)
		return fail(&reply->error, -EPROTO, "This request belongs into a run; HELLO did not begin one");
	lock = take(received, 1);
	if (lock < 0)
		return fail(&reply->error, -EPROTO, "The request does not carry the lock on its process");
	/* Whoever has it finds it taken by itself. */
	if (flock(lock, LOCK_EX | LOCK_NB)) {
		close(lock);
		return fail(&reply->error, -EBUSY, "Process %d is in the hands of another run", target->named);
	}
	*process = run_process_get(run, target, &lock);
	close_if_open(&lock);
	return *process ? 0 : fail(&reply->error, -ENOMEM, "Out of memory");
}

/* Without a guardian a dump does what it did before there were any. */
static void put_under_guard(struct run *run, struct run_process *process, bool untouched)
{
	struct error_text error;

	if (process->watched && (untouched || !process->untouched))
		return;
	process->watched = true;
	process->untouched = untouched;
	if (guardian_watch(run, process, &error))
		log_warning("Nobody brings process %d back should criu and this pool die together: %s", process->pid,
			    error.text);
}

static int lock(struct run *run, struct run_process *process, const struct pool_request *request,
		struct pool_reply *reply)
{
	struct run_order order = {.lock = true, .timeout_ms = request->timeout_ms};

	if (run->stage != POOL_STAGE_DUMP)
		return fail(&reply->error, -EPROTO, "LOCK belongs into a dump");
	put_under_guard(run, process, false);
	return request->begin ? run_work_begin(run, process, &order, &reply->error)
			      : run_lock(run, process, request->timeout_ms, false, &reply->error);
}

static int unlock(struct run *run, struct run_process *process, struct pool_reply *reply)
{
	CUprocessState state;
	int result;

	if (process->was_locked)
		return 0; /* it was locked before the dump, and stays so */
	result = driver_process_state(run->pool, &process->target, &state, &reply->error);
	if (result == 0 && state == CU_PROCESS_STATE_LOCKED)
		result = driver_process_unlock(run->pool, &process->target, &reply->error);
	if (result)
		return result;
	process_note_unlock(process);
	process->stands_from = 0;
	/* The time until it is locked for good counts from the first attempt on. */
	process_record_drop(&process->record, PHASE_LOCK);
	return 0;
}

static void take_agent(struct run_process *process, const struct pool_request *request, struct received *received)
{
	int agent = request->has_agent ? take(received, 2) : -1;

	if (agent < 0)
		return;
	if (process->agent >= 0)
		close(process->agent);
	process->agent = agent;
}

static int copy_ahead(struct run *run, struct run_process *process, const struct pool_request *request,
		      struct pool_reply *reply)
{
	struct run_order order = {.ahead = true};

	if (run->stage != POOL_STAGE_DUMP || process->taken != TAKEN_NOTHING || process->agent < 0 || !request->begin)
		return fail(&reply->error, -EPROTO, "COPY_AHEAD is begun of a process with an agent, before its LOCK");
	put_under_guard(run, process, true);
	return run_work_begin(run, process, &order, &reply->error);
}

static int checkpoint(struct run *run, struct run_process *process, const struct pool_request *request,
		      struct pool_reply *reply)
{
	struct run_order order = {.resume = false};

	if (run->stage != POOL_STAGE_DUMP)
		return fail(&reply->error, -EPROTO, "CHECKPOINT belongs into a dump");
	process->was_to_be_saved = true;
	put_under_guard(run, process, false);
	snprintf(order.note, sizeof(order.note), "%.*s", (int)sizeof(order.note) - 1, request->note);
	process->record.reason[0] = '\0';
	return run_work_begin(run, process, &order, &reply->error);
}

/* What another pool had taken from the process when it ended is ours to bring back, also when this fails at first. */
static void take_over(struct run_process *process, const struct run_order *order)
{
	bool lacked_memory = process_lacks_memory(process);

	if (order->request.initial_state == CU_PROCESS_STATE_CHECKPOINTED)
		return; /* nobody took anything from it, and it stays so */
	/*
	 * CRIU holds its threads, which were not let run since the other pool had it in hand. What this pool has unlocked it has
	 * locked again: then somebody else has let it go on, behind whose back nobody may lock it.
	 */
	process->may_be_unlocked = !process->was_to_be_saved && process->taken == TAKEN_NOTHING &&
				   process->agent >= 0 && order->request.initial_state == CU_PROCESS_STATE_LOCKED;
	process_note_left_by_another(process, order->request.released,
				     order->request.initial_state == CU_PROCESS_STATE_LOCKED);
	if (lacked_memory || !order->request.released)
		return;
	memcpy(process->image_id, order->image_id, sizeof(process->image_id));
	process->image_written = process->image_found = true;
}

static int resume(struct run *run, struct run_process *process, const struct pool_request *request,
		  struct pool_reply *reply)
{
	struct run_order order = {
		.resume = true,
		.request = {.released = request->agent_released != 0,
			    .initial_state = (CUprocessState)request->initial_state},
	};

	memcpy(order.image_id, request->image_id, sizeof(order.image_id));
	if (run->first_resume == 0)
		run->first_resume = monotonic_nanoseconds();
	process->way_back = ASKED_BACK;
	run->report_due = run->stage == POOL_STAGE_RESTORE;
	if (run->stage == POOL_STAGE_DUMP) {
		take_over(process, &order);
		put_under_guard(run, process, false);
	}
	return run_work_begin(run, process, &order, &reply->error);
}

/* Begins it, and waits for it where the client does. */
static int work(struct run *run, struct run_process *process, const struct pool_request *request,
		struct received *received, struct pool_reply *reply)
{
	int result;

	take_agent(process, request, received);
	if (request->type == POOL_COPY_AHEAD)
		return copy_ahead(run, process, request, reply);
	result = request->type == POOL_RESUME ? resume(run, process, request, reply)
					      : checkpoint(run, process, request, reply);
	return result || request->begin ? result : run_work_collect(run, process, reply);
}

static int await(struct run *run, const struct pool_request *request, struct pool_reply *reply)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->pid == request->pid && run->processes[i]->work)
			return run_work_collect(run, run->processes[i], reply);
	return fail(&reply->error, -EPROTO, "Nothing was begun for process %d", request->pid);
}

static int complete(struct run *run, struct pool_reply *reply)
{
	const struct gpu_image *image;
	size_t i;

	if (run->stage != POOL_STAGE_RESTORE)
		return fail(&reply->error, -EPROTO, "COMPLETE belongs into a restore");
	image = run->prefetch ? prefetch_find_untaken(run->prefetch) : NULL;
	/* CRIU lets them go now, and may wait for their end. They are nobody's any more. */
	for (i = 0; i < run->process_count && !image; i++)
		process_lock_end(run->processes[i]->lock, run->processes[i]->target.pidfd);
	run->is_complete = !image;
	if (!image)
		return 0;
	return fail(&reply->error, -ENODATA,
		    "No restored process has taken the %llu MiB of device memory in the GPU image of process %d: its "
		    "agent's page was not found, or the folder holds a GPU image of another checkpoint",
		    (unsigned long long)(gpu_image_bytes(image) >> 20), image->pid);
}

/* All that is saved is whole, wherever it is. */
static int check_all(struct run *run, int timeout_ms, struct error_text *error)
{
	int result = run_check_left_in_pool(run, error);

	return result ? result : run_check_images(run, timeout_ms, error);
}

static int check(struct run *run, const struct pool_request *request, struct pool_reply *reply)
{
	int result;

	if (run->stage != POOL_STAGE_DUMP)
		return fail(&reply->error, -EPROTO, "CHECK belongs into a dump");
	result = check_all(run, (int)request->timeout_ms, &reply->error);
	reply->bytes = run_checked_bytes(run);
	return result;
}

static int finish(struct run *run, const struct pool_request *request, struct pool_reply *reply)
{
	char note[sizeof(request->note)];
	int result = 0;

	if (!run->stage || run_is_finished(run))
		return fail(&reply->error, -EPROTO, "FINISH came without a run to finish");
	run_work_collect_all(run);
	run->images_stay = request->images_stay != 0;
	snprintf(note, sizeof(note), "%.*s", (int)sizeof(note) - 1, request->note);
	if (run->stage == POOL_STAGE_DUMP && request->criu_result == 0)
		result = check_all(run, -1, &reply->error);
	if (result) {
		run_keep_error(run, NULL, result, &reply->error);
		/* Where the client has put it in its place all the same, its processes may have ended. */
		run_look_whether_settled(run);
	}
	run_finish(run, result ? result : request->criu_result, note);
	reply->left_behind = run->life == RUN_LEFT_BEHIND;
	reply->bytes = run->parked_bytes;
	memcpy(reply->reason, run->park_note, sizeof(reply->reason));
	return result;
}

/* No LOCK comes for it: whoever undoes the dump, also where that has only begun, leaves it locked. */
static void note_state(struct run_process *process, const struct pool_reply *reply)
{
	if (reply->uses_cuda && reply->state == CU_PROCESS_STATE_LOCKED && process->taken == TAKEN_NOTHING)
		process_note_foreign_lock(process);
}

/* The requests about one process. */
static int answer_about(struct run *run, const struct pool_request *request, struct received *received,
			struct pool_reply *reply)
{
	int pidfd = take(received, 0), result;
	struct run_process *process = NULL;
	struct target target;

	result = target_open(&target, pidfd, request->pid, &reply->error);
	if (result) {
		close_if_open(&pidfd);
		return result;
	}
	result = request->type == POOL_QUERY ? query(run, request, &target, reply) : 0;
	/* From the second look of a dump on it is the run's: CRIU stops it next, and may die. */
	if (result == 0 && (request->type != POOL_QUERY || (run->stage == POOL_STAGE_DUMP && request->wants_state)))
		result = need_process(run, &target, received, &process, reply);
	target_close(&target);
	if (result == 0 && process && process->work)
		result = fail(&reply->error, -EPROTO, "Process %d is being worked on: AWAIT comes first", process->pid);
	if (result)
		return result;
	switch (request->type) {
	case POOL_LOCK:
		return lock(run, process, request, reply);
	case POOL_COPY_AHEAD:
	case POOL_CHECKPOINT:
	case POOL_RESUME:
		return work(run, process, request, received, reply);
	case POOL_UNLOCK:
		return unlock(run, process, reply);
	default:
		if (process)
			note_state(process, reply);
		return 0;
	}
}

/* What is about all processes of the run, each of which has a thread that writes to it while it is worked on. */
static bool wants_rest(uint32_t type)
{
	return type == POOL_PREFETCH || type == POOL_COMPLETE || type == POOL_CHECK;
}

static int answer(struct run *run, const struct pool_request *request, struct received *received,
		  struct pool_reply *reply)
{
	if (request->type != POOL_HELLO && !run->stage)
		return fail(&reply->error, -EPROTO, "HELLO must come first on a connection");
	if (run_is_finished(run) && request->type != POOL_STATUS)
		return fail(&reply->error, -EPROTO, "The run of this connection is finished");
	if (wants_rest(request->type) && run_is_working(run))
		return fail(&reply->error, -EPROTO, "Processes of the run are being worked on: AWAIT comes first");
	switch (request->type) {
	case POOL_HELLO:
		return hello(run, request, received, reply);
	case POOL_PREFETCH:
		return prefetch(run, request, received, reply);
	case POOL_DROP:
		return drop(run, received, reply);
	case POOL_PREFETCHED:
		return prefetched(run, received, reply);
	case POOL_COMPLETE:
		return complete(run, reply);
	case POOL_CHECK:
		return check(run, request, reply);
	case POOL_AWAIT:
		return await(run, request, reply);
	case POOL_FINISH:
		return finish(run, request, reply);
	case POOL_STATUS:
		pool_fill_status(run->pool, &reply->status);
		return 0;
	case POOL_RESIDENT:
		reply->found = prefetch_next_resident(run->pool, request->after, &reply->resident);
		return 0;
	case POOL_GPU:
		reply->found = pool_fill_gpu(run->pool, request->after, &reply->gpu);
		return 0;
	case POOL_STOP: /* the server looks at it */
		return 0;
	case POOL_QUERY:
	case POOL_LOCK:
	case POOL_COPY_AHEAD:
	case POOL_CHECKPOINT:
	case POOL_RESUME:
	case POOL_UNLOCK:
		return answer_about(run, request, received, reply);
	default:
		return fail(&reply->error, -EPROTO, "Request type %u is unknown to this pool (version %s)",
			    request->type, REKINDLE_VERSION);
	}
}

static void set_answering(struct run *run, const struct pool_request *request, bool answering)
{
	pthread_mutex_lock(&run->mutex);
	run->answering = answering;
	run->request_number = request->number;
	run->last_word = monotonic_nanoseconds();
	pthread_mutex_unlock(&run->mutex);
}

void run_request(struct run *run, const struct pool_request *request, int *descriptors, size_t count,
		 struct pool_reply *reply)
{
	struct received received = {.descriptors = descriptors, .count = count};

	*reply = (struct pool_reply){.version = POOL_PROTOCOL_VERSION, .number = request->number};
	set_answering(run, request, request->type != POOL_CHECK); /* which has a way of its own to say so */
	reply->result = answer(run, request, &received, reply);
	set_answering(run, request, false);
	if (reply->result == 0 || reply->result == -EINPROGRESS)
		return;
	log_error("%s", reply->error.text);
	pool_look_for_lost_devices(run->pool);
	run_keep_error(run, NULL, reply->result, &reply->error);
}
