/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_HOLD_THREADS_H
#define REKINDLE_POOL_HOLD_THREADS_H

#include <stddef.h>
#include <sys/types.h>

#include "pool/pool.h"

/*
 * Stops the threads of a process by ptrace while its device memory is brought back without CRIU: a thread that waits in
 * a driver call would go on the moment that the driver is unlocked, and use memory that is not mapped yet. All calls
 * from one thread, which is the tracer.
 */
struct held_threads {
	pid_t *threads;
	int *signals; /* one for each thread: delivered when it goes on, 0 for none */
	size_t count;
};

/*
 * Stops every thread but the driver's restore thread and the agent's. Retries while CRIU, which may just be dying,
 * still traces them. Where it cannot be done, says so in the log and holds nothing.
 */
void hold_threads(struct pool *pool, pid_t pid, struct held_threads *held);
/* Lets them go on. */
void let_threads_go(struct held_threads *held);

#endif
