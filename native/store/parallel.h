/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_PARALLEL_H
#define REKINDLE_STORE_PARALLEL_H

#include <stdatomic.h>
#include <stddef.h>

#include "support/error_text.h"

#define PARALLEL_BUFFER_BYTES (1024u * 1024u)

/* One of many like pieces of work. buffer: PARALLEL_BUFFER_BYTES of the thread's own. */
typedef int (*parallel_work)(void *context, size_t index, void *buffer, struct error_text *error);

/*
 * Does work for 0, 1, ... count - 1, on so many threads, the caller's among them, so that it works also where no more can
 * be started. The first failure ends it; -ECANCELED once *cancel (NULL for none) is set.
 */
int parallel_for(size_t count, unsigned int threads, const atomic_bool *cancel, parallel_work work, void *context,
		 struct error_text *error);

#endif
