/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_GUARDIAN_H
#define REKINDLE_POOL_RUN_GUARDIAN_H

#include "pool/run/pool_run.h"

/*
 * A process of its own beside each run of a dump, for the case that CRIU and the pool die together, as by one kill of
 * their cgroup for want of memory: a process of the run would be frozen for good beside its complete image. The guardian
 * holds nothing, unless it is handed memory that no file has, and does nothing but wait. When the pool goes away without having ended the run it waits until nobody has
 * a process of it in hand any more (process/process_lock.h), and brings back what is left.
 */
struct guardian;

/*
 * Takes a process into its care, starting the guardian of the run where there is none. Once more for the same one: what it
 * was told of it before counts no longer.
 */
int guardian_watch(struct run *run, const struct run_process *process, struct error_text *error);
/*
 * Of a process in its care: it holds the process's own memory as well, in the order of its image, until the run is over, and
 * brings it back with that should the pool be gone.
 */
int guardian_hold_memory(struct run *run, const struct run_process *process, struct error_text *error);
/* The run has ended well or its processes were brought back: returns when the guardian is gone. */
void guardian_dismiss(struct run *run);

/* The guardian's own main function (guardian_process.c); pool: the descriptor on which it hears of processes. Returns its exit status. */
int guardian_main(int pool);

#endif
