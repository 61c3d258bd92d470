/* SPDX-License-Identifier: MIT */
#include "api/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
	}
	return code;
}

int code_of_errno(int negative_errno)
{
	switch (-negative_errno) {
	case 0:
		return REKINDLE_OK;
	case EINVAL:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
		return REKINDLE_ERROR_INVALID_ARGUMENT;
	case ESRCH:
		return REKINDLE_ERROR_NO_SUCH_PROCESS;
	case EPERM:
	case EACCES:
	case EROFS:
		return REKINDLE_ERROR_PERMISSION;
	case ENOSYS:
	case ENODEV:
		return REKINDLE_ERROR_NO_DRIVER;
	case EIO:
		return REKINDLE_ERROR_GPU;
	case ENOENT:
		return REKINDLE_ERROR_NO_IMAGE;
	case EBADMSG:
	case EILSEQ:
	case ENODATA:
		return REKINDLE_ERROR_CORRUPT_IMAGE;
	case ENOTSUP:
	case EPROTO:
	case EPROTONOSUPPORT:
		return REKINDLE_ERROR_INCOMPATIBLE;
	case ECONNREFUSED:
		return REKINDLE_ERROR_POOL_UNREACHABLE;
	case EPIPE:
	case ECONNRESET:
		return REKINDLE_ERROR_POOL_DIED;
	case ENOMEM:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return REKINDLE_ERROR_NO_SPACE;
	case ETIMEDOUT:
		return REKINDLE_ERROR_TIMEOUT;
	case ECANCELED:
		return REKINDLE_ERROR_CANCELLED;
	default:
		return REKINDLE_ERROR_INTERNAL;
	}
}

void copy_text(char *field, size_t size, const char *text)
{
	snprintf(field, size, "%s", text ? text : "");
}

const char *errno_text(int errno_value)
{
	const char *text = strerrordesc_np(errno_value);

	return text ? text : "unknown error";
}
