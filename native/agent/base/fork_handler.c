/* SPDX-License-Identifier: MIT */
#include "agent/base/fork_handler.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static _Atomic(void (*)(void)) parts[FORK_PARTS];
static atomic_bool registered;

/* The child may use CUDA itself where the parent has not initialised it. Everything here may be done twice. */
static void reset_child(void)
{
	size_t part = FORK_PARTS;

	while (part) {
		void (*forget)(void) = atomic_load(&parts[--part]);

		if (forget)
			forget();
	}
}

/* Two threads may both register: to wait for the other would be a lock, held while libc takes its own. */
void fork_handler_add(enum fork_part part, void (*forget)(void))
{
	atomic_store(&parts[part], forget);
	if (atomic_load(&registered))
		return;
	pthread_atfork(NULL, NULL, reset_child);
	atomic_store(&registered, true);
}
