/* SPDX-License-Identifier: MIT */
#include "api/criu/environment.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/criu/kernel_data.h"
#include "settings/device_map.h"
#include "protocol/pool_protocol.h"
#include "support/layout.h"
#include "support/log.h"

#define PLUGIN_FILE "cuda_plugin.so"
#define RESTORE_THREADS_MAX 1024
#define MARK POOL_RUN_VARIABLE "="

/* Bits of CapEff in /proc/self/status. */
#define CAPABILITY_SYS_ADMIN 21
#define CAPABILITY_CHECKPOINT_RESTORE 40

void rekindle_environment_defaults(struct rekindle_environment *environment)
{
	if (!environment)
		return;
	memset(environment, 0, sizeof(*environment));
	environment->structure_size = sizeof(*environment);
	environment->context_pool = -1;
	environment->parallel_restore = -1;
	environment->checksums = -1;
}

static int out_of_range(struct rekindle_error *error, const char *name, int32_t value, const char *range)
{
	return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
		      "%s is %d in struct rekindle_environment: set it to %s.", name, value, range);
}

static int check_values(const struct rekindle_environment *given, struct rekindle_error *error)
{
	if (given->structure_size != sizeof(*given))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "structure_size of struct rekindle_environment is %u and has to be %zu: set it to "
			      "sizeof, with the header of library version %s.",
			      given->structure_size, sizeof(*given), rekindle_version());
	if (given->context_pool < -1 || given->context_pool > 1)
		return out_of_range(error, "context_pool", given->context_pool, "-1, 0 or 1");
	if (given->streams < 0 || given->streams > SETTING_streams_highest)
		return out_of_range(error, "streams", given->streams, "a number from 0 to 64");
	if (given->parallel_restore < -1 || given->parallel_restore > 1)
		return out_of_range(error, "parallel_restore", given->parallel_restore, "-1, 0 or 1");
	if (given->checksums < -1 || given->checksums > 1)
		return out_of_range(error, "checksums", given->checksums, "-1, 0 or 1");
	if (given->restore_threads < -1 || given->restore_threads > RESTORE_THREADS_MAX)
		return out_of_range(error, "restore_threads", given->restore_threads, "a number from -1 to 1024");
	if (given->restore_hugepages < REKINDLE_HUGEPAGES_DEFAULT ||
	    given->restore_hugepages > REKINDLE_HUGEPAGES_NEVER)
		return out_of_range(error, "restore_hugepages", given->restore_hugepages, "an enum rekindle_hugepages");
	if (given->pool_socket &&
	    (!*given->pool_socket || strlen(given->pool_socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "pool_socket has to be a path of 1 to %zu characters.",
			      sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	if (given->cuda_driver && strchr(given->cuda_driver, '/') && access(given->cuda_driver, R_OK))
		return report(error, REKINDLE_ERROR_NO_DRIVER, REKINDLE_PHASE_NONE,
			      "The CUDA driver library %.300s cannot be read (%s): name an existing libcuda.so.1.",
			      given->cuda_driver, errno_text(errno));
	return REKINDLE_OK;
}

int environment_settings(struct settings *settings, const struct rekindle_environment *given,
			 struct rekindle_error *error)
{
	struct error_text text = {""};
	int result = given ? check_values(given, error) : REKINDLE_OK;

	if (result)
		return result;
	if (settings_load(settings, given ? given->configuration : NULL, &text))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "%s", text.text);
	if (!given)
		return REKINDLE_OK;
	if (given->context_pool >= 0)
		settings->context_pool = given->context_pool;
	if (given->parallel_restore >= 0)
		settings->parallel_restore = given->parallel_restore;
	if (given->checksums >= 0)
		settings->checksums = given->checksums;
	if (given->streams)
		settings->streams = (unsigned int)given->streams;
	if (given->pool_socket)
		copy_text(settings->pool_socket, sizeof(settings->pool_socket), given->pool_socket);
	if (given->cuda_driver)
		copy_text(settings->cuda_driver, sizeof(settings->cuda_driver), given->cuda_driver);
	return REKINDLE_OK;
}

int environment_find_plugin(char *directory, const char *given, struct rekindle_error *error)
{
	char file[PATH_MAX];

	if (!given || !*given) {
		if (!layout_find(LAYOUT_PLUGIN, directory))
			return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				      PLUGIN_FILE " is not where this release of librekindle.so has it: set "
						  "plugin_directory to the folder that holds it.");
		*strrchr(directory, '/') = '\0';
		return REKINDLE_OK;
	}
	if ((size_t)snprintf(file, sizeof(file), "%s/%s", given, PLUGIN_FILE) >= sizeof(file) || access(file, R_OK))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The plugin folder %.300s holds no readable %s: set plugin_directory to one that does.",
			      given, PLUGIN_FILE);
	/* CRIU changes to the work folder before it loads plugins. */
	if (!realpath(given, directory))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The plugin folder %.300s cannot be reached: %s.", given, errno_text(errno));
	return REKINDLE_OK;
}

/* Puts an entry, which it takes over, between the others of an envp and the NULL that ends it. */
static bool append(char ***entries, size_t count, char *entry)
{
	char **grown = realloc(*entries, (count + 2) * sizeof(*grown));

	if (!grown) {
		free(entry);
		return false;
	}
	grown[count] = entry;
	grown[count + 1] = NULL;
	*entries = grown;
	return true;
}

/* An envp that is being made. */
struct variables {
	char **entries;
	size_t count;
	bool failed;
};

static void add_variable(struct variables *variables, const char *name, const char *value)
{
	char *entry = NULL;

	if (variables->failed || asprintf(&entry, "%s%s%s", name, value ? "=" : "", value ? value : "") < 0) {
		variables->failed = true;
		return;
	}
	if (append(&variables->entries, variables->count, entry))
		variables->count++;
	else
		variables->failed = true;
}

/* CRIU changes to the work folder before the plugin reads it. */
static void add_file(struct variables *variables, const char *name, const char *path)
{
	char absolute[PATH_MAX];

	add_variable(variables, name, realpath(path, absolute) ? absolute : path);
}

static void add_number(struct variables *variables, const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	add_variable(variables, name, text);
}

static bool is_named(const char *entry, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(entry, name, length) && entry[length] == '=';
}

/* Is the variable replaced by a member of the environment, or not for CRIU at all? */
static bool is_replaced(const char *entry, const struct rekindle_environment *given)
{
	/* What a program has preloaded into itself (our agent, a sanitizer) is not meant for criu. */
	if (is_named(entry, "LD_PRELOAD"))
		return true;
	/* That of a run whose hook or pool we are. */
	if (!strncmp(entry, MARK, strlen(MARK)))
		return true;
	return (given->context_pool >= 0 && is_named(entry, "CRIU_CUDA_CONTEXT_POOL")) ||
	       (given->parallel_restore >= 0 && is_named(entry, "CRIU_CUDA_PARALLEL_RESTORE")) ||
	       (given->streams && is_named(entry, "CRIU_CUDA_STREAMS")) ||
	       (given->checksums >= 0 && is_named(entry, "REKINDLE_CHECKSUMS")) ||
	       (given->pool_socket && is_named(entry, "REKINDLE_POOL_SOCKET")) ||
	       (given->cuda_driver && is_named(entry, "REKINDLE_CUDA_DRIVER")) ||
	       (given->configuration && is_named(entry, "REKINDLE_CONFIGURATION"));
}

static int make_variables(struct run_environment *run, const struct rekindle_environment *given,
			  struct rekindle_error *error)
{
	static atomic_uint runs;
	struct variables variables = {NULL, 0, false};
	char **entry;

	for (entry = environ; entry && *entry; entry++)
		if (!is_replaced(*entry, given))
			add_variable(&variables, *entry, NULL);
	if (given->context_pool >= 0)
		add_number(&variables, "CRIU_CUDA_CONTEXT_POOL", given->context_pool);
	if (given->parallel_restore >= 0)
		add_number(&variables, "CRIU_CUDA_PARALLEL_RESTORE", given->parallel_restore);
	if (given->streams)
		add_number(&variables, "CRIU_CUDA_STREAMS", given->streams);
	if (given->checksums >= 0)
		add_number(&variables, "REKINDLE_CHECKSUMS", given->checksums);
	if (given->pool_socket)
		add_variable(&variables, "REKINDLE_POOL_SOCKET", given->pool_socket);
	/* A mere name is searched for by the dynamic loader. */
	if (given->cuda_driver && !strchr(given->cuda_driver, '/'))
		add_variable(&variables, "REKINDLE_CUDA_DRIVER", given->cuda_driver);
	else if (given->cuda_driver)
		add_file(&variables, "REKINDLE_CUDA_DRIVER", given->cuda_driver);
	if (given->configuration)
		add_file(&variables, "REKINDLE_CONFIGURATION", given->configuration);
	snprintf(run->mark, sizeof(run->mark), "%s%d-%u", MARK, getpid(), atomic_fetch_add(&runs, 1));
	add_variable(&variables, run->mark, NULL);
	run->variables = variables.entries;
	if (variables.failed)
		return report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
	return REKINDLE_OK;
}

/* entry: NAME=VALUE, taken over. */
static int set_variable(struct run_environment *run, char *entry, const char *name, struct rekindle_error *error)
{
	size_t at = 0;

	if (!entry)
		return report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
	while (run->variables[at] && !is_named(run->variables[at], name))
		at++;
	if (!run->variables[at])
		return append(&run->variables, at, entry)
			       ? REKINDLE_OK
			       : report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
	free(run->variables[at]);
	run->variables[at] = entry;
	return REKINDLE_OK;
}

int run_environment_choose_gpus(struct run_environment *run, const char *device_map, struct rekindle_error *error)
{
	struct error_text why;
	struct device_map map;
	char *entry = NULL;

	if (!device_map)
		return REKINDLE_OK;
	if (strlen(device_map) >= DEVICE_MAP_TEXT_MAX)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "device_map has %zu characters: at most %d are allowed.", strlen(device_map),
			      DEVICE_MAP_TEXT_MAX - 1);
	if (device_map_parse(device_map, &map, &why))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "device_map %.200s is not valid: %s.", device_map, why.text);
	if (asprintf(&entry, "REKINDLE_DEVICE_MAP=%s", device_map) < 0)
		entry = NULL;
	return set_variable(run, entry, "REKINDLE_DEVICE_MAP", error);
}

int run_environment_choose_park(struct run_environment *run, int32_t park, struct rekindle_error *error)
{
	static const char *const entries[] = {
		[REKINDLE_PARK_FILE] = "REKINDLE_PARK=" PARK_FILE,
		[REKINDLE_PARK_DEVICE] = "REKINDLE_PARK=" PARK_DEVICE,
		[REKINDLE_PARK_PINNED] = "REKINDLE_PARK=" PARK_PINNED,
		[REKINDLE_PARK_EPHEMERAL] = "REKINDLE_PARK=" PARK_EPHEMERAL,
	};

	if (park == REKINDLE_PARK_AS_CONFIGURED)
		return REKINDLE_OK;
	if (park < REKINDLE_PARK_FILE || park > REKINDLE_PARK_EPHEMERAL)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "park is %d: set it to an enum rekindle_park.", park);
	return set_variable(run, strdup(entries[park]), "REKINDLE_PARK", error);
}

int run_environment_choose_parent(struct run_environment *run, const char *parent, struct rekindle_error *error)
{
	const size_t limit = sizeof(((struct settings *)NULL)->parent) + strlen("REKINDLE_PARENT=");
	char folder[PATH_MAX] = "", *entry = NULL;

	if (!parent)
		return REKINDLE_OK;
	/* CRIU goes to its work folder. Whether it is there the plugin finds out. */
	if (*parent && *parent != '/' && strcmp(parent, PARENT_NONE) && !getcwd(folder, sizeof(folder)))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "parent %.200s is relative to a current folder that is gone: make it absolute.", parent);
	if (asprintf(&entry, "REKINDLE_PARENT=%s%s%s", folder, *folder ? "/" : "", parent) < 0)
		entry = NULL;
	if (entry && strlen(entry) >= limit) {
		free(entry);
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "parent %.200s is too long: with the current folder it has at most %zu characters.",
			      parent, sizeof(((struct settings *)NULL)->parent) - 1);
	}
	return set_variable(run, entry, "REKINDLE_PARENT", error);
}

int run_environment_resolve(struct run_environment *run, const struct rekindle_environment *given,
			    struct rekindle_error *error)
{
	struct rekindle_environment defaults;
	struct settings settings;
	int result;

	memset(run, 0, sizeof(*run));
	rekindle_environment_defaults(&defaults);
	if (!given)
		given = &defaults;
	/* A wrong setting is better named here than by a plugin in the middle of a run. */
	result = environment_settings(&settings, given, error);
	if (!result)
		result = criu_program_find(&run->criu, given->criu, error);
	if (!result)
		result = environment_find_plugin(run->plugin_directory, given->plugin_directory, error);
	if (!result)
		result = make_variables(run, given, error);
	run->timeout_seconds = settings.timeout_seconds;
	run->restore_threads = given->restore_threads;
	run->restore_hugepages = given->restore_hugepages;
	if (result)
		run_environment_free(run);
	return result;
}

const char *run_environment_name(const struct run_environment *run)
{
	return run->mark + strlen(MARK);
}

void run_environment_free(struct run_environment *run)
{
	size_t i;

	for (i = 0; run->variables && run->variables[i]; i++)
		free(run->variables[i]);
	free(run->variables);
	run->variables = NULL;
}

int environment_check_privileges(struct rekindle_error *error)
{
	unsigned long long effective = 0;
	FILE *stream = fopen("/proc/self/status", "re");
	char line[256];

	while (stream && fgets(line, sizeof(line), stream))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (stream)
		fclose(stream);
	if (effective >> CAPABILITY_SYS_ADMIN & 1 || effective >> CAPABILITY_CHECKPOINT_RESTORE & 1)
		return REKINDLE_OK;
	return report(error, REKINDLE_ERROR_PERMISSION, REKINDLE_PHASE_NONE,
		      "Checkpoint and restore need root or the capability CAP_CHECKPOINT_RESTORE: run as root.");
}

int rekindle_check(const struct rekindle_environment *environment, struct rekindle_error *error)
{
	struct run_environment run;
	char remedy[256];
	int result = run_environment_resolve(&run, environment, error);

	if (result)
		return result;
	result = environment_check_privileges(error);
	if (!result)
		result = criu_program_check(&run.criu, error);
	/* Another user's criu keeps it elsewhere, or not at all. */
	if (!result && geteuid() == 0 && !kernel_data_is_kept(KERNEL_DATA_FOLDER, remedy, sizeof(remedy)))
		log_warning("%s", remedy);
	run_environment_free(&run);
	return result;
}
