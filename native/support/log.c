/* SPDX-License-Identifier: MIT */
#include "support/log.h"

#include <stdio.h>

#include "support/plain_text.h"

static void write_to_stderr(enum log_level level, const char *line, void *context)
{
	static const char *const names[] = {"", "error: ", "warning: ", "", "debug: "};

	(void)context;
	fprintf(stderr, "rekindle: %s%s\n", names[level], line);
}

static log_sink current_sink = write_to_stderr;
static void *current_context;
static enum log_level current_highest = LOG_LEVEL_INFO;

void log_set_sink(log_sink sink, void *context, enum log_level highest)
{
	current_sink = sink ? sink : write_to_stderr;
	current_context = context;
	current_highest = highest;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	if (level > current_highest)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	plain_text(line, sizeof(line));
	current_sink(level, line, current_context);
}
