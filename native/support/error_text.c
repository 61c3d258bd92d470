/* SPDX-License-Identifier: MIT */
#include "support/error_text.h"

#include <stdio.h>

#include "support/plain_text.h"

int fail(struct error_text *error, int code, const char *format, ...)
{
	va_list arguments;

	if (error) {
		va_start(arguments, format);
		vsnprintf(error->text, sizeof(error->text), format, arguments);
		va_end(arguments);
		plain_text(error->text, sizeof(error->text));
	}
	return code;
}
