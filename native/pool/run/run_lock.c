/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "pool/device/driver_checkpoint.h"
#include "pool/run/guardian.h"
#include "pool/run/pool_run.h"
#include "support/clock.h"
#include "support/log.h"

static int wait_for_others(struct run *run, struct error_text *error)
{
	pthread_mutex_lock(&run->mutex);
	while (run->locks_wait)
		pthread_cond_wait(&run->changed, &run->mutex);
	pthread_mutex_unlock(&run->mutex);
	return run_is_abandoned(run) ? fail(error, -ECANCELED, "The run was cancelled") : 0;
}

/* Whoever has locked it finds it so, whatever becomes of this pool. */
static void leave_to_others(struct run *run, struct run_process *process)
{
	struct error_text error;

	process_note_foreign_lock(process);
	if (run->guardian && guardian_watch(run, process, &error))
		log_warning("Process %d: %s", process->pid, error.text);
}

int run_lock(struct run *run, struct run_process *process, unsigned int timeout_ms, bool together,
	     struct error_text *error)
{
	CUprocessState state;
	int result;

	run_progress(run, process, PHASE_LOCK, 0, 0);
	if (!process->lock_began)
		process->lock_began = monotonic_nanoseconds();
	result = driver_process_state(run->pool, &process->target, &state, error);
	if (result)
		return result;
	if (state != CU_PROCESS_STATE_RUNNING) {
		if (process->taken == TAKEN_NOTHING)
			leave_to_others(run, process);
		return 0;
	}
	if (together)
		result = wait_for_others(run, error);
	if (result)
		return result;
	/* One that fails may have locked it all the same, except where somebody else was faster. */
	process_note_lock(process);
	process->stands_from = monotonic_nanoseconds();
	result = driver_process_lock(run->pool, &process->target, timeout_ms, error);
	if (result == -EBUSY)
		leave_to_others(run, process);
	if (result)
		return result;
	run_phase_add(process, PHASE_LOCK, process->lock_began, 0);
	return 0;
}
