/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_PROGRESS_H
#define REKINDLE_API_CRIU_PROGRESS_H

#include <limits.h>
#include <stdbool.h>

#include "protocol/pool_protocol.h"
#include "support/error_text.h"

/* The file through which the pool says how far a run is (POOL_PROGRESS_FILE of pool_protocol.h). */
struct progress_file {
	char path[PATH_MAX];
	struct pool_progress *shared; /* NULL: not open */
};

/*
 * Makes the file of the run of that name in the work folder. Another run's that uses the same folder is not shown there any
 * more. Returns 0 or a negative errno code.
 */
int progress_open(struct progress_file *progress, const char *work_directory, const char *run,
		  struct error_text *error);
/* What it says now; one consistent enough snapshot for display. */
struct pool_progress progress_read(const struct progress_file *progress);
/* Asks the pool to end its part of the dump. */
void progress_cancel(const struct progress_file *progress);
/* Unmaps and removes it. */
void progress_close(struct progress_file *progress);

#endif
