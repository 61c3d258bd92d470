/* SPDX-License-Identifier: MIT */
#include "api/call/request.h"

#include "api/call/report.h"

#define KNOWN_FLAGS                                                                                              \
	(REKINDLE_LEAVE_RUNNING | REKINDLE_SHELL_JOB | REKINDLE_TCP_ESTABLISHED | REKINDLE_FILE_LOCKS |          \
	 REKINDLE_LINK_REMAP | REKINDLE_EXTERNAL_MASTERS | REKINDLE_EXTERNAL_UNIX_SOCKETS | REKINDLE_TCP_CLOSE | \
	 REKINDLE_LEAVE_STOPPED)

int request_check(const void *request, uint32_t given_size, size_t size, const char *name, struct rekindle_error *error)
{
	if (!request)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "struct %s is NULL.", name);
	if (given_size != size)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "structure_size of struct %s is %u and has to be %zu: set it to sizeof, with the header "
			      "of library version %s.",
			      name, given_size, size, rekindle_version());
	return REKINDLE_OK;
}

int request_check_common(uint32_t flags, uint32_t argument_count, const char *const *arguments,
			 struct rekindle_error *error)
{
	uint32_t i;

	if (flags & ~(uint32_t)KNOWN_FLAGS)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "flags has unknown bits 0x%x: use those of enum rekindle_flags.",
			      flags & ~(uint32_t)KNOWN_FLAGS);
	if (argument_count && !arguments)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "argument_count is %u, but arguments is NULL.", argument_count);
	for (i = 0; i < argument_count; i++)
		if (!arguments[i])
			return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				      "arguments[%u] is NULL.", i);
	return REKINDLE_OK;
}

int request_operation_busy(struct rekindle_error *error)
{
	return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
		      "The operation is in use by another run: make one for each run.");
}
