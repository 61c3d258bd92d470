/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/device/driver_checkpoint.h"
#include "pool/run/copy_ahead.h"
#include "pool/run/pool_run.h"
#include "support/clock.h"
#include "support/log.h"

struct run_work {
	struct run *run;
	struct run_process *process;
	struct run_order order;
	pthread_t thread;
	/* Under the run's mutex; the rest is the thread's until it is done. */
	bool done;
	uint64_t ended;
	CUprocessState state; /* after a LOCK, or a RESUME that failed */
	int result;
	struct error_text error;
};

static void end_turn(struct run_work *work)
{
	struct run *run = work->run;

	pthread_mutex_lock(&run->mutex);
	run->working -= !work->order.lock;
	work->ended = monotonic_nanoseconds();
	work->done = true;
	/* Those that share memory with it wait no longer. */
	work->process->has_exported = true;
	work->process->lacks_image = false;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->mutex);
}

/*
 * Whenever CRIU dies, what it has stopped is unlocked for its agent: the pool holds it then, and undoes the dump. Where
 * it cannot be held there is no dump.
 */
static int watch_over(struct run *run, struct run_process *process, struct error_text *error)
{
	if (run->stage != POOL_STAGE_DUMP || process->agent < 0)
		return 0;
	process->hold = thread_hold_begin(run->pool, &process->target, run->socket, true, error);
	return process->hold ? 0 : -ESRCH;
}

/* CRIU has it, or the end of the run looks after it. */
static void watch_over_no_longer(struct run *run, struct run_process *process)
{
	if (run_is_abandoned(run))
		return;
	thread_hold_end(process->hold);
	process->hold = NULL;
}

static CUprocessState state_after(struct run *run, const struct run_process *process)
{
	CUprocessState state;

	return driver_process_state(run->pool, &process->target, &state, NULL) ? CU_PROCESS_STATE_RUNNING : state;
}

/* That others have to come to rest first is no failure. */
static int try_to_lock(struct run_work *work)
{
	int result = run_lock(work->run, work->process, work->order.timeout_ms, true, &work->error);

	if (result && result != -ETIMEDOUT)
		return result;
	work->state = result ? state_after(work->run, work->process) : CU_PROCESS_STATE_LOCKED;
	return 0;
}

static int carry_out(struct run_work *work)
{
	struct run *run = work->run;
	int result;

	if (run_is_abandoned(run)) /* while it waited for its turn */
		return fail(&work->error, -ECANCELED, "The run was cancelled");
	if (work->order.ahead)
		return run_copy_ahead(run, work->process, &work->error);
	result = watch_over(run, work->process, &work->error);
	if (result)
		return result;
	if (work->order.lock)
		return try_to_lock(work);
	work->order.request.image_id = work->order.image_id;
	if (!work->order.resume)
		return run_checkpoint(run, work->process, work->order.note, &work->error);
	result = run_resume(run, work->process, &work->order.request, &work->error);
	if (result)
		work->state = state_after(run, work->process);
	return result;
}

static void *work_main(void *argument)
{
	struct run_work *work = argument;

	if (!work->order.lock)
		run_take_turn(work->run);
	work->result = carry_out(work);
	if (work->result)
		run_keep_error(work->run, work->process, work->result, &work->error);
	run_say_progress(work->run);
	end_turn(work);
	return NULL;
}

int run_work_begin(struct run *run, struct run_process *process, const struct run_order *order,
		   struct error_text *error)
{
	struct run_work *work = calloc(1, sizeof(*work));

	if (!work)
		return fail(error, -ENOMEM, "Out of memory");
	work->run = run;
	work->process = process;
	work->order = *order;
	work->state = CU_PROCESS_STATE_RUNNING;
	process->work = work;
	pthread_mutex_lock(&run->mutex);
	run->locks_wait |= order->lock;
	if (!order->lock && !order->resume) {
		run->saves_wait = true;
		run->sharing_known = false;
		process->has_exported = process->shares = process->lacks_image = false;
	}
	pthread_mutex_unlock(&run->mutex);
	if (!pthread_create(&work->thread, NULL, work_main, work))
		return 0;
	process->work = NULL;
	free(work);
	return fail(error, -EAGAIN, "Could not start a thread to work on process %d", process->pid);
}

static void count_restore(struct pool *pool, enum image_origin origin)
{
	atomic_fetch_add(&pool->restores, 1);
	if (origin == IMAGE_WAS_RESIDENT)
		atomic_fetch_add(&pool->images_resident, 1);
	else if (origin == IMAGE_WAS_PINNED)
		atomic_fetch_add(&pool->images_pinned, 1);
	else if (origin == IMAGE_WAS_READ)
		atomic_fetch_add(&pool->images_read, 1);
}

/* What is known of the whole run. */
static void take_note(struct run *run, struct run_process *process, const struct run_work *work)
{
	if (work->order.resume && work->ended > run->last_resume)
		run->last_resume = work->ended;
	if (work->result || work->order.lock || work->order.ahead)
		return;
	if (!work->order.resume)
		atomic_fetch_add(&run->pool->checkpoints, 1);
	else if (run->stage == POOL_STAGE_RESTORE)
		count_restore(run->pool, process->origin);
	if (work->order.resume)
		process->way_back = IS_BACK;
}

int run_work_collect(struct run *run, struct run_process *process, struct pool_reply *reply)
{
	struct run_work *work = process->work;
	const struct gpu_match *gpus;
	int result;

	pthread_mutex_lock(&run->mutex);
	run->locks_wait = run->saves_wait = false;
	pthread_cond_broadcast(&run->changed);
	while (!work->done)
		pthread_cond_wait(&run->changed, &run->mutex);
	pthread_mutex_unlock(&run->mutex);
	pthread_join(work->thread, NULL);
	process->work = NULL;
	/* Until it is stopped nothing is to be asked of its agent any more. */
	if (work->order.ahead)
		close_if_open(&process->agent);
	watch_over_no_longer(run, process);
	take_note(run, process, work);
	result = work->result;
	reply->state = (int32_t)work->state;
	if (result) {
		reply->error = work->error;
	} else if (work->order.ahead) {
		if (process->ahead)
			reply->bytes = gpu_image_bytes(copy_ahead_image(process->ahead));
	} else if (!work->order.lock) {
		reply->mode = process->record.mode;
		reply->bytes = process->record.device_bytes;
		memcpy(reply->reason, process->record.reason, sizeof(reply->reason));
	}
	if (result == 0 && run->prefetch && !prefetch_match_gpus(run->prefetch, &gpus, NULL))
		memcpy(reply->moved, gpus->moved, sizeof(reply->moved));
	free(work);
	return result;
}

void run_work_collect_all(struct run *run)
{
	struct pool_reply reply;
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->work && run_work_collect(run, run->processes[i], &reply))
			log_error("%s", reply.error.text);
}
