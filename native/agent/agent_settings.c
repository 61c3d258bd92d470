/* SPDX-License-Identifier: MIT */
#include "agent/agent_settings.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINIMUM_BYTES ((size_t)2 << 20)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool enabled = true;
static size_t minimum_bytes = MINIMUM_BYTES;

void agent_complain(const char *format, ...)
{
	static const char prefix[] = "rekindle-preload: ";
	char line[640];
	size_t length = sizeof(prefix) - 1;
	va_list arguments;
	int written;

	memcpy(line, prefix, length);
	va_start(arguments, format);
	written = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
	va_end(arguments);
	if (written > 0)
		length += (size_t)written < sizeof(line) - length - 1 ? (size_t)written : sizeof(line) - length - 2;
	line[length++] = '\n';
	/* Nothing can be done where stderr is closed. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

static bool parse_bytes(const char *text, size_t *bytes)
{
	unsigned long long value;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	switch (*end) {
	case 'K':
		shift = 10;
		break;
	case 'M':
		shift = 20;
		break;
	case 'G':
		shift = 30;
		break;
	default:
		break;
	}
	if (shift)
		end++;
	if (*end || value > (unsigned long long)-1 >> shift)
		return false;
	*bytes = (size_t)(value << shift);
	return true;
}

static void read_environment(void)
{
	const char *switched = getenv("REKINDLE_AGENT");
	const char *minimum = getenv("REKINDLE_AGENT_MINIMUM");

	if (switched && !strcmp(switched, "0"))
		enabled = false;
	else if (switched && strcmp(switched, "1"))
		agent_complain("REKINDLE_AGENT=%s is neither 0 nor 1; the agent stays on", switched);
	if (minimum && (!parse_bytes(minimum, &minimum_bytes) || minimum_bytes < MINIMUM_BYTES)) {
		agent_complain("REKINDLE_AGENT_MINIMUM=%s is not a size of 2M or more; using 2M", minimum);
		minimum_bytes = MINIMUM_BYTES;
	}
}

bool agent_is_enabled(void)
{
	pthread_once(&once, read_environment);
	return enabled;
}

size_t agent_minimum_bytes(void)
{
	pthread_once(&once, read_environment);
	return minimum_bytes;
}
