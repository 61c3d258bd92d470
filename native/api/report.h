/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_REPORT_H
#define REKINDLE_API_REPORT_H

#include <stdint.h>

#include "rekindle.h"

/*
 * Fills error (which may be NULL) with a code, the phase and one sentence, empties its CRIU log, and returns the code,
 * so that a caller can `return report(...)`.
 */
int report(struct rekindle_error *error, int code, int32_t phase, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The code that stands for a negative errno code of the parts below: files, sockets, pool and GPU images. */
int code_of_errno(int negative_errno);

/* Copies text into a field of fixed size and always ends it; a NULL text is an empty one. */
void copy_text(char *field, size_t size, const char *text);

/* "No such file or directory (ENOENT)": the text of an errno value, thread-safe. */
const char *errno_text(int errno_value);

#endif
