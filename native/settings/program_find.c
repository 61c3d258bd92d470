/* SPDX-License-Identifier: MIT */
#include "settings/program_find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_program(const char *folder, const char *name, char *program)
{
	char candidate[PATH_MAX + 64];

	snprintf(candidate, sizeof(candidate), "%s/%s", folder, name);
	return realpath(candidate, program) && !access(program, X_OK);
}

int program_find(enum layout_part part, const struct settings *settings, char *program, struct error_text *error)
{
	static const char *const elsewhere[] = {"/usr/local/bin", "/usr/bin"};
	const char *name = part == LAYOUT_SEAL ? "rekindle-seal" : "rekindled";
	char configured[PATH_MAX];

	if (layout_find(part, program))
		return 0;
	for (size_t index = 0; index < sizeof(elsewhere) / sizeof(elsewhere[0]); index++)
		if (is_program(elsewhere[index], name, program))
			return 0;
	/* Beside a pool program that stands elsewhere. */
	if (settings->pool_program[0] && realpath(settings->pool_program, configured)) {
		*strrchr(configured, '/') = '\0';
		if (is_program(configured, name, program))
			return 0;
	}
	return fail(error, -ENOENT,
		    "the program %s is neither where the plugin's release has it nor in /usr/local/bin or /usr/bin: "
		    "install it",
		    name);
}

int pool_program_find(const struct settings *settings, char program[PATH_MAX], struct error_text *error)
{
	struct error_text missing;
	int code;

	if (settings->pool_program[0]) {
		if (!realpath(settings->pool_program, program) || access(program, X_OK))
			return fail(error, -ECONNREFUSED,
				    "REKINDLE_POOL_PROGRAM=%s is no program that can be run (%s): correct the setting",
				    settings->pool_program, errno_text(errno));
		return 0;
	}
	code = program_find(LAYOUT_POOL, settings, program, &missing);
	return code ? fail(error, -ECONNREFUSED, "%s, or set REKINDLE_POOL_PROGRAM to its path", missing.text) : 0;
}
