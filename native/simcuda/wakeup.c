/* SPDX-License-Identifier: MIT */
#include "simcuda/wakeup.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void wakeup_wait(struct wakeup *wakeup, pthread_mutex_t *mutex)
{
	unsigned int seen = atomic_load(&wakeup->count);

	pthread_mutex_unlock(mutex);
	syscall(SYS_futex, &wakeup->count, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	pthread_mutex_lock(mutex);
}

void wakeup_all(struct wakeup *wakeup)
{
	atomic_fetch_add(&wakeup->count, 1);
	syscall(SYS_futex, &wakeup->count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
