/* SPDX-License-Identifier: MIT */
#include "api/call/request.h"

#include "api/call/criu_arguments.h"
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
	if (flags & REKINDLE_TCP_ESTABLISHED && flags & REKINDLE_TCP_CLOSE)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "Connections are either kept (tcp-established) or closed (tcp-close): choose one.");
	if (argument_count && !arguments)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "argument_count is %u, but arguments is NULL.", argument_count);
	for (i = 0; i < argument_count; i++) {
		if (!arguments[i])
			return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				      "arguments[%u] is NULL.", i);
		if (criu_argument_is_ours(arguments[i]))
			return report(
				error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				"The argument %.100s for criu is given by the library itself: leave it out, and use the "
				"request's own field.",
				arguments[i]);
	}
	return REKINDLE_OK;
}

int request_check_dump(uint32_t flags, uint32_t argument_count, const char *const *arguments,
		       struct rekindle_error *error)
{
	int result = request_check_common(flags, argument_count, arguments, error);
	uint32_t i;

	for (i = 0; !result && i < argument_count; i++)
		if (criu_argument_keeps_pages_out(arguments[i]))
			result = report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
					"With the argument %.100s criu leaves memory out of the folder, which would be "
					"no checkpoint then: leave it out.",
					arguments[i]);
	return result;
}

int request_operation_busy(struct rekindle_error *error)
{
	return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
		      "The operation is in use by another run: make one for each run.");
}
