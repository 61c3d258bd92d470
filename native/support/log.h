/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_LOG_H
#define REKINDLE_SUPPORT_LOG_H

#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR = 1, LOG_LEVEL_WARNING = 2, LOG_LEVEL_INFO = 3, LOG_LEVEL_DEBUG = 4 };

/* Where lines go. The line is plain text (support/plain_text.h), without a newline. Called from any thread. */
typedef void (*log_sink)(enum log_level level, const char *line, void *context);

/* Until this is called lines go to stderr, level info and above. Not thread-safe: call it before threads start. */
void log_set_sink(log_sink sink, void *context, enum log_level highest);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
