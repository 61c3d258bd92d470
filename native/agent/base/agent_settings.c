/* SPDX-License-Identifier: MIT */
#include "agent/base/agent_settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/agent_protocol.h"

#define MINIMUM_BYTES ((size_t)2 << 20)
/* Each takes a whole piece of device memory then; less is asked for only where it is to be shared. */
#define LOWEST_MINIMUM ((size_t)1 << 10)

/*
 * Read by whoever asks first, by several threads perhaps: all read the same. pthread_once would make one wait for
 * another that writes a complaint to a pipe or calls the program's own getenv.
 */
static atomic_bool known;
static atomic_bool enabled = true;
static atomic_size_t minimum_bytes = MINIMUM_BYTES;

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

static bool read_switch(const char *name, const char *otherwise)
{
	const char *switched = getenv(name);

	if (switched && strcmp(switched, "0") && strcmp(switched, "1"))
		agent_complain("%s=%s is neither 0 nor 1; %s", name, switched, otherwise);
	return !switched || strcmp(switched, "0");
}

static size_t read_minimum(void)
{
	const char *minimum = getenv("REKINDLE_AGENT_MINIMUM");
	size_t bytes = MINIMUM_BYTES;

	if (!minimum || (parse_bytes(minimum, &bytes) && bytes >= LOWEST_MINIMUM))
		return bytes;
	agent_complain("REKINDLE_AGENT_MINIMUM=%s is not a size of 1K or more; using 2M", minimum);
	return MINIMUM_BYTES;
}

static void read_environment(void)
{
	if (atomic_load(&known))
		return;
	atomic_store(&enabled, read_switch(AGENT_SWITCH, "the agent stays on"));
	atomic_store(&minimum_bytes, read_minimum());
	atomic_store(&known, true);
}

bool agent_is_enabled(void)
{
	read_environment();
	return atomic_load(&enabled);
}

bool agent_wants_no_io_uring(void)
{
	/* Asked once, before the program runs, which is too early to keep the rest. */
	return !read_switch("REKINDLE_AGENT_IO_URING", "io_uring stays on");
}

size_t agent_minimum_bytes(void)
{
	read_environment();
	return atomic_load(&minimum_bytes);
}
