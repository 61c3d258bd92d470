/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DRIVER_CHECKPOINT_H
#define REKINDLE_POOL_DRIVER_CHECKPOINT_H

#include "pool/pool.h"

/*
 * The driver's checkpoint calls on another process. They need no context here, but the driver started; each starts it
 * where that has not happened.
 */

struct driver_process {
	bool uses_cuda;	    /* false: surely not */
	int restore_thread; /* as this process sees it */
};

/* "No CUDA there" and "could not find out" are different answers. */
int driver_process_query(struct pool *pool, int pid, struct driver_process *process, struct error_text *error);
int driver_process_state(struct pool *pool, int pid, CUprocessState *state, struct error_text *error);
int driver_process_lock(struct pool *pool, int pid, unsigned int timeout_ms, struct error_text *error);
int driver_process_unlock(struct pool *pool, int pid, struct error_text *error);
int driver_process_checkpoint(struct pool *pool, int pid, struct error_text *error);
/* pairs: which GPU stands for which, NULL where all are the same as at the checkpoint. */
int driver_process_restore(struct pool *pool, int pid, const CUcheckpointGpuPair *pairs, unsigned int pair_count,
			   struct error_text *error);

#endif
