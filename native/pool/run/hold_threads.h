/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_HOLD_THREADS_H
#define REKINDLE_POOL_RUN_HOLD_THREADS_H

#include <stdbool.h>

#include "pool/device/pool.h"
#include "process/target.h"

/*
 * Holds the threads of a process by ptrace, all but the driver's restore thread and the agent's, while its dump is undone
 * without CRIU: a thread that waits in a driver call would go on the moment that the driver is unlocked, and use memory
 * that is not mapped yet. A thread of the pool does it, as soon as the client of the run is gone, whatever the run is
 * doing just then: the driver's restore thread, for which it may be waiting, goes on no sooner.
 *
 * Threads that the driver makes for the agent meanwhile are not held either, as the agent waits for them. The agent's page
 * notes those that there were before, for whoever holds the process when this pool has died as well.
 */
struct thread_hold;

/*
 * Begins to watch the client, -1: it is gone already. continues: it may have left the process stopped, see
 * process/standstill.h; then the process is let go on with SIGCONT once its threads are held. Returns NULL, with the
 * sentence, where the process cannot be held.
 */
struct thread_hold *thread_hold_begin(struct pool *pool, const struct target *target, int client, bool continues,
				      struct error_text *error);
/*
 * Waits until the threads are held, client being gone, for as long as the pool's timeout. -EBUSY: somebody else traces
 * one, and is named. Where it fails nothing is held, and the process was not let go on.
 */
int thread_hold_wait(struct thread_hold *hold, struct error_text *error);
/* Lets them go on. NULL is allowed. */
void thread_hold_end(struct thread_hold *hold);

#endif
