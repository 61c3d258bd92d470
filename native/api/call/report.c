/* SPDX-License-Identifier: MIT */
#include "api/call/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "support/error_kinds.h"

int report(struct rekindle_error *error, int code, int32_t phase, const char *format, ...)
{
	va_list arguments;

	if (error) {
		error->code = code;
		error->phase = phase;
		error->criu_log[0] = '\0';
		va_start(arguments, format);
		vsnprintf(error->message, sizeof(error->message), format, arguments);
		va_end(arguments);
		plain_text(error->message, sizeof(error->message));
	}
	return code;
}

int code_of_errno(int negative_errno)
{
	switch (-negative_errno) {
	case 0:
		return REKINDLE_OK;
#define CODE_OF_KIND(number, kind) \
	case number:               \
		return REKINDLE_ERROR_##kind;
		ERROR_KINDS(CODE_OF_KIND)
#undef CODE_OF_KIND
	default:
		return REKINDLE_ERROR_INTERNAL;
	}
}
