/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_WAKEUP_H
#define REKINDLE_SIMCUDA_WAKEUP_H

#include <pthread.h>
#include <stdatomic.h>

/*
 * What pthread_cond_t is, among threads of which somebody may stop some at any moment and expect the others to get on, as a
 * pool does while its agent works: a broadcast of glibc's waits until all whom the last one woke have gone on.
 */
struct wakeup {
	atomic_uint count; /* of wakeup_all; a futex */
};

/* Lets go of the mutex, waits, and takes it again; also returns for no reason. */
void wakeup_wait(struct wakeup *wakeup, pthread_mutex_t *mutex);
/* With the mutex held. */
void wakeup_all(struct wakeup *wakeup);

#endif
