/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_PROCESS_IDS_H
#define REKINDLE_API_PROCESS_IDS_H

#include <stddef.h>
#include <sys/types.h>

#include "api/criu/criu_images.h"
#include "rekindle.h"

/*
 * Are the ids of a checkpoint free, so that it can be restored? Those of processes that are just ending are waited for.
 * Returns REKINDLE_OK, also where the tree has a pid namespace of its own; or the code of process_id_holder, and says who
 * has the first one that is taken.
 */
int process_ids_check(const struct criu_checkpoint *checkpoint, const char *directory, struct rekindle_error *error);

/*
 * One sentence about who has an id, and what to do about it; "" where nobody is found who has it. Returns the code of that:
 * REKINDLE_ERROR_BUSY where it is a criu at work, which is to be waited for, else REKINDLE_ERROR_PID_IN_USE.
 */
int process_id_holder(pid_t id, char *sentence, size_t size);

#endif
