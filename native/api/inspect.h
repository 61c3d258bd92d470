/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_INSPECT_H
#define REKINDLE_API_INSPECT_H

#include "api/criu/run_criu.h"
#include "rekindle.h"

/*
 * Before a dump: REKINDLE_OK, or REKINDLE_ERROR_BUSY where another run or program has the tree, or
 * REKINDLE_ERROR_INCOMPATIBLE with all that is in the way.
 */
int inspect_before_dump(const struct criu_run *run, const struct rekindle_environment *environment,
			struct rekindle_error *error);

#endif
