/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CALL_REQUEST_H
#define REKINDLE_API_CALL_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "rekindle.h"

/* Checks what requests have in common. All return REKINDLE_OK or REKINDLE_ERROR_INVALID_ARGUMENT with a sentence. */

int request_check(const void *request, uint32_t given_size, size_t size, const char *name,
		  struct rekindle_error *error);
int request_check_common(uint32_t flags, uint32_t argument_count, const char *const *arguments,
			 struct rekindle_error *error);

/* Likewise, of a request for a dump: also that all of it comes into the folder. */
int request_check_dump(uint32_t flags, uint32_t argument_count, const char *const *arguments,
		       struct rekindle_error *error);
int request_operation_busy(struct rekindle_error *error);

#endif
