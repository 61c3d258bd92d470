/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>

#include "simcuda/simcuda.h"
#include "support/clock.h"

/*
 * As in the real driver (seen on version 580), whose threads wait for the write phase of such a lock to end, and whose
 * restore thread tries again and again until it gets it: a thread that is stopped while it waits is handed the lock by
 * the unlock, and keeps everybody from locking again.
 */
static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;

void gate_enter(void)
{
	pthread_rwlock_rdlock(&gate);
}

void gate_leave(void)
{
	pthread_rwlock_unlock(&gate);
}

void gate_open(void)
{
	pthread_rwlock_unlock(&gate);
}

int gate_close(uint64_t deadline)
{
	while (pthread_rwlock_trywrlock(&gate)) {
		if (deadline && monotonic_nanoseconds() >= deadline)
			return -ETIMEDOUT;
		sleep_nanoseconds(20000);
	}
	return 0;
}
