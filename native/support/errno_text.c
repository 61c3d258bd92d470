/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "support/error_text.h"

/* Apart from the rest: the agent has to do without what came with glibc 2.32. */
const char *errno_text(int errno_value)
{
	const char *text = errno_value == ENOMEM ? "Out of memory" : strerrordesc_np(errno_value);

	return text ? text : "unknown error";
}
