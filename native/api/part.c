/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "api/call/report.h"
#include "api/criu/environment.h"
#include "settings/program_find.h"
#include "support/layout.h"

static int find_pool(const struct rekindle_environment *environment, char *path, struct rekindle_error *error)
{
	struct settings settings;
	struct error_text text = {""};
	int result = environment_settings(&settings, environment, error);

	if (result)
		return result;
	result = pool_program_find(&settings, path, &text);
	return result ? report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text) : REKINDLE_OK;
}

static int find_agent(char *path, struct rekindle_error *error)
{
	return layout_find(LAYOUT_AGENT, path) ? REKINDLE_OK
					       : report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
							"librekindle-preload.so is not where this release of "
							"librekindle.so has it: install all of the release.");
}

/* Each by itself: what is wrong with another part is said where that one is asked for. */
static int find(const struct rekindle_environment *environment, int32_t part, char *path, struct rekindle_error *error)
{
	struct rekindle_environment defaults;
	struct criu_program criu;
	struct settings settings;
	int result;

	if (part == REKINDLE_PART_POOL)
		return find_pool(environment, path, error);
	if (part == REKINDLE_PART_AGENT)
		return find_agent(path, error);
	if (part != REKINDLE_PART_CRIU && part != REKINDLE_PART_PLUGIN)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "part is %d: set it to an enum rekindle_part.", part);
	rekindle_environment_defaults(&defaults);
	if (!environment)
		environment = &defaults;
	result = environment_settings(&settings, environment, error);
	if (!result && part == REKINDLE_PART_PLUGIN)
		return environment_find_plugin(path, environment->plugin_directory, error);
	if (!result)
		result = criu_program_find(&criu, environment->criu, error);
	if (!result)
		strcpy(path, criu.path);
	return result;
}

int rekindle_find_part(const struct rekindle_environment *environment, int32_t part, char *path, uint32_t capacity,
		       struct rekindle_error *error)
{
	char found[PATH_MAX];
	int result = find(environment, part, found, error);

	if (result)
		return result;
	if (!path || strlen(found) >= capacity)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "path has room for %u bytes and needs %zu: give it PATH_MAX.", path ? capacity : 0,
			      strlen(found) + 1);
	strcpy(path, found);
	return REKINDLE_OK;
}
