/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_ERROR_TEXT_H
#define REKINDLE_SUPPORT_ERROR_TEXT_H

#include <stdarg.h>

/* Longest sentence that travels between the parts, the closing NUL included. */
#define ERROR_TEXT_MAX 512

/*
 * What went wrong, for a person: one clear sentence that says what to do. Functions that can fail return 0 or a
 * negative errno code and fill one of these when they fail; on success they leave it alone. It is plain text, whatever
 * file names, process names and words of an application go into it: see support/plain_text.h.
 */
struct error_text {
	char text[ERROR_TEXT_MAX];
};

/* Formats the sentence into error (which may be NULL) and returns code, so that a caller can `return fail(...)`. */
int fail(struct error_text *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * "No such file or directory": the text of an errno value, thread-safe; what there is no memory for has the words of all
 * others, "Out of memory". Not in the agent and the worker, which run with the C library of the application.
 */
const char *errno_text(int errno_value);

#endif
