/* SPDX-License-Identifier: MIT */
#include "pool/driver_checkpoint.h"

#include <errno.h>
#include <signal.h>

#include "plugin/process_status.h"

static int call_failed(struct pool *pool, int pid, const char *call, CUresult status, struct error_text *error)
{
	if (status == CUDA_ERROR_OPERATING_SYSTEM && kill(pid, 0) < 0 && errno == ESRCH)
		return fail(error, -ESRCH, "Process %d has ended", pid);
	return fail(error, cuda_result_to_errno(status), "%s of process %d failed: %s", call, pid,
		    cuda_result_name(&pool->driver, status));
}

/* The driver may tell its thread's id as the process itself sees it, in a pid namespace of its own. */
static int thread_as_seen_here(int pid, int thread)
{
	struct thread_status status;
	pid_t found;

	if (!thread_status_read(pid, thread, &status))
		return thread;
	found = thread_find_by_namespace_id(pid, thread);
	return found > 0 ? found : thread;
}

int driver_process_query(struct pool *pool, int pid, struct driver_process *process, struct error_text *error)
{
	CUresult status;
	int result;

	*process = (struct driver_process){.uses_cuda = false};
	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessGetRestoreThreadId(pid, &process->restore_thread);
	if (status == CUDA_ERROR_NOT_INITIALIZED)
		return 0; /* no CUDA in the process, or cuInit was never called */
	if (status != CUDA_SUCCESS)
		return call_failed(pool, pid, "cuCheckpointProcessGetRestoreThreadId", status, error);
	process->uses_cuda = true;
	process->restore_thread = thread_as_seen_here(pid, process->restore_thread);
	return 0;
}

int driver_process_state(struct pool *pool, int pid, CUprocessState *state, struct error_text *error)
{
	CUresult status;
	int result;

	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessGetState(pid, state);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, pid, "cuCheckpointProcessGetState", status, error);
}

int driver_process_lock(struct pool *pool, int pid, unsigned int timeout_ms, struct error_text *error)
{
	CUcheckpointLockArgs arguments = {.timeoutMs = timeout_ms};
	CUresult status;
	int result;

	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessLock(pid, &arguments);
	if (status == CUDA_ERROR_NOT_READY)
		return fail(error, -ETIMEDOUT,
			    "The GPU work of process %d did not end within %u ms; try later or raise CRIU's --timeout",
			    pid, timeout_ms);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, pid, "cuCheckpointProcessLock", status, error);
}

int driver_process_unlock(struct pool *pool, int pid, struct error_text *error)
{
	CUresult status;
	int result;

	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessUnlock(pid, NULL);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, pid, "cuCheckpointProcessUnlock", status, error);
}

int driver_process_checkpoint(struct pool *pool, int pid, struct error_text *error)
{
	CUresult status;
	int result;

	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessCheckpoint(pid, NULL);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, pid, "cuCheckpointProcessCheckpoint", status, error);
}

int driver_process_restore(struct pool *pool, int pid, const CUcheckpointGpuPair *pairs, unsigned int pair_count,
			   struct error_text *error)
{
	CUcheckpointRestoreArgs arguments = {.gpuPairs = (CUcheckpointGpuPair *)pairs, .gpuPairsCount = pair_count};
	CUresult status;
	int result;

	result = pool_driver_prepare(pool, error);
	if (result)
		return result;
	status = pool->driver.cuCheckpointProcessRestore(pid, pair_count ? &arguments : NULL);
	if (status == CUDA_ERROR_INVALID_VALUE && pair_count)
		return fail(error, cuda_result_to_errno(status),
			    "The CUDA driver does not restore process %d on these GPUs: for each GPU of the machine of "
			    "the dump, used or not, it wants one of the same type; restore on such a machine, with a "
			    "pool that was started without CUDA_VISIBLE_DEVICES",
			    pid);
	return status == CUDA_SUCCESS ? 0 : call_failed(pool, pid, "cuCheckpointProcessRestore", status, error);
}
