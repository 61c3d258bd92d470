/* SPDX-License-Identifier: MIT */
#include "pool/device/driver_checkpoint.h"

#include <errno.h>

#include "process/process_status.h"

static int call_failed(struct pool *pool, const struct target *target, const char *call, CUresult status,
		       struct error_text *error)
{
	static const char *const names[] = {
		[CU_PROCESS_STATE_RUNNING] = "running",
		[CU_PROCESS_STATE_LOCKED] = "locked",
		[CU_PROCESS_STATE_CHECKPOINTED] = "checkpointed",
	};
	int result = target_must_live(target, error);
	CUprocessState state;

	if (result)
		return result;
	/* Another state than this run found just before. */
	if (status == CUDA_ERROR_ILLEGAL_STATE &&
	    pool->driver.cuCheckpointProcessGetState(target->pid, &state) == CUDA_SUCCESS &&
	    (size_t)state < sizeof(names) / sizeof(names[0]))
		return fail(error, cuda_result_to_errno(status),
			    "%s of process %d failed: its CUDA is %s now. See which other program locks, unlocks or "
			    "checkpoints it, and try again when that is through with it",
			    call, target->named, names[state]);
	return fail(error, cuda_result_to_errno(status), "%s of process %d failed: %s", call, target->named,
		    cuda_result_name(&pool->driver, status));
}

static int prepare(struct pool *pool, const struct target *target, struct error_text *error)
{
	int result = pool_driver_prepare(pool, error);

	return result ? result : target_must_live(target, error);
}

/* The driver may tell its thread's id as the process itself sees it, in a pid namespace of its own. */
static pid_t thread_as_seen_here(const struct target *target, pid_t thread)
{
	struct thread_status status;
	pid_t found;

	if (!thread_status_read(target->pid, thread, &status))
		return thread;
	found = thread_find_by_namespace_id(target->pid, thread);
	return found > 0 ? found : thread;
}

int driver_process_query(struct pool *pool, const struct target *target, struct driver_process *process,
			 struct error_text *error)
{
	struct thread_status thread;
	CUresult status;
	int result, id;

	*process = (struct driver_process){.uses_cuda = false};
	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessGetRestoreThreadId(target->pid, &id);
	if (status == CUDA_ERROR_NOT_INITIALIZED)
		return 0; /* no CUDA in the process, or cuInit was never called */
	if (status != CUDA_SUCCESS)
		return call_failed(pool, target, "cuCheckpointProcessGetRestoreThreadId", status, error);
	process->uses_cuda = true;
	process->restore_thread = thread_as_seen_here(target, id);
	if (thread_status_read(target->pid, process->restore_thread, &thread))
		return fail(error, -ESRCH, "The CUDA driver's thread of process %d has ended", target->named);
	process->restore_thread_own = thread.namespace_id;
	return 0;
}

int driver_process_state(struct pool *pool, const struct target *target, CUprocessState *state,
			 struct error_text *error)
{
	CUresult status;
	int result;

	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessGetState(target->pid, state);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, target, "cuCheckpointProcessGetState", status, error);
}

int driver_process_lock(struct pool *pool, const struct target *target, unsigned int timeout_ms,
			struct error_text *error)
{
	CUcheckpointLockArgs arguments = {.timeoutMs = timeout_ms};
	CUresult status;
	int result;

	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessLock(target->pid, &arguments);
	if (status == CUDA_ERROR_NOT_READY)
		return fail(error, -ETIMEDOUT,
			    "The GPU work of process %d did not end within %u ms; try later or raise CRIU's --timeout",
			    target->named, timeout_ms);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, target, "cuCheckpointProcessLock", status, error);
}

int driver_process_unlock(struct pool *pool, const struct target *target, struct error_text *error)
{
	CUresult status;
	int result;

	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessUnlock(target->pid, NULL);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, target, "cuCheckpointProcessUnlock", status, error);
}

int driver_process_checkpoint(struct pool *pool, const struct target *target, struct error_text *error)
{
	CUresult status;
	int result;

	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessCheckpoint(target->pid, NULL);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, target, "cuCheckpointProcessCheckpoint", status, error);
}

int driver_process_restore(struct pool *pool, const struct target *target, const CUcheckpointGpuPair *pairs,
			   unsigned int pair_count, struct error_text *error)
{
	CUcheckpointRestoreArgs arguments = {.gpuPairs = (CUcheckpointGpuPair *)pairs, .gpuPairsCount = pair_count};
	CUresult status;
	int result;

	result = prepare(pool, target, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessRestore(target->pid, pair_count ? &arguments : NULL);
	if (status == CUDA_ERROR_INVALID_VALUE && pair_count)
		return fail(error, cuda_result_to_errno(status),
			    "The CUDA driver does not restore process %d on these GPUs: for each GPU of the machine of "
			    "the dump, used or not, it wants one of the same type; restore on such a machine, with a "
			    "pool that was started without CUDA_VISIBLE_DEVICES",
			    target->named);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, target, "cuCheckpointProcessRestore", status, error);
}
