/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CALL_REPORT_H
#define REKINDLE_API_CALL_REPORT_H

#include <stdint.h>

#include "rekindle.h"
#include "support/error_text.h"
#include "support/plain_text.h"

/*
 * Fills error (which may be NULL) with a code, the phase and one sentence, empties its CRIU log, and returns the code,
 * so that a caller can `return report(...)`.
 */
int report(struct rekindle_error *error, int code, int32_t phase, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The code that stands for a negative errno code of the parts below, by support/error_kinds.h. */
int code_of_errno(int negative_errno);

#endif
