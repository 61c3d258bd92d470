/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CALL_OPERATION_H
#define REKINDLE_API_CALL_OPERATION_H

#include <stdbool.h>
#include <stdint.h>

#include "rekindle.h"

/* All of these take NULL for "nobody watches". */

/* Claims the operation for one run. Returns false where another run has it. */
bool operation_begin(struct rekindle_operation *operation);
/* Gives it back; a cancellation of this run is forgotten. */
void operation_end(struct rekindle_operation *operation);
bool operation_cancelled(const struct rekindle_operation *operation);
void operation_progress(struct rekindle_operation *operation, uint64_t bytes_done, uint64_t bytes_total, int32_t phase);

#endif
