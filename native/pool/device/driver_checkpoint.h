/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_DRIVER_CHECKPOINT_H
#define REKINDLE_POOL_DEVICE_DRIVER_CHECKPOINT_H

#include "pool/device/pool.h"
#include "process/target.h"

/*
 * The driver's checkpoint calls on another process. They need no context here, but the driver started; each starts it
 * where that has not happened. Each makes sure that the process is still the one that is meant.
 */

struct driver_process {
	bool uses_cuda;		  /* false: surely not */
	pid_t restore_thread;	  /* as this process sees it */
	pid_t restore_thread_own; /* as it sees itself */
};

/* "No CUDA there" and "could not find out" are different answers. */
int driver_process_query(struct pool *pool, const struct target *target, struct driver_process *process,
			 struct error_text *error);
int driver_process_state(struct pool *pool, const struct target *target, CUprocessState *state,
			 struct error_text *error);
int driver_process_lock(struct pool *pool, const struct target *target, unsigned int timeout_ms,
			struct error_text *error);
int driver_process_unlock(struct pool *pool, const struct target *target, struct error_text *error);
int driver_process_checkpoint(struct pool *pool, const struct target *target, struct error_text *error);
/* pairs: which GPU stands for which, NULL where all are the same as at the checkpoint. */
int driver_process_restore(struct pool *pool, const struct target *target, const CUcheckpointGpuPair *pairs,
			   unsigned int pair_count, struct error_text *error);

#endif
