/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_ENVIRONMENT_H
#define REKINDLE_API_CRIU_ENVIRONMENT_H

#include <limits.h>

#include "api/criu/criu_program.h"
#include "rekindle.h"
#include "settings/settings.h"

/* A struct rekindle_environment with its defaults filled in and checked. */
struct run_environment {
	struct criu_program criu;
	char plugin_directory[PATH_MAX];
	char **variables; /* envp for criu: ours, with the settings of this run and the mark; owned */
	char mark[56];	  /* a variable of its own for each run, by which what it starts is known */
	unsigned int timeout_seconds;
	int restore_threads; /* as in struct rekindle_environment */
	int restore_hugepages;
};

/* Resolves everything that a run of CRIU needs; given may be NULL. Undo with run_environment_free. */
int run_environment_resolve(struct run_environment *run, const struct rekindle_environment *given,
			    struct rekindle_error *error);
/* The GPUs of a restore, see struct rekindle_restore_request; NULL leaves what is configured. */
int run_environment_choose_gpus(struct run_environment *run, const char *device_map, struct rekindle_error *error);
/* Where a dump leaves device memory, see enum rekindle_park. */
int run_environment_choose_park(struct run_environment *run, int32_t park, struct rekindle_error *error);
/* Where else the images of processes are looked for, see struct rekindle_checkpoint_request; NULL leaves what is configured. */
int run_environment_choose_parent(struct run_environment *run, const char *parent, struct rekindle_error *error);
void run_environment_free(struct run_environment *run);

/* Of the run that this environment is for, see POOL_RUN_VARIABLE. */
const char *run_environment_name(const struct run_environment *run);

/* The settings of a pool in this process: file, environment variables, then what is given (which may be NULL). */
int environment_settings(struct settings *settings, const struct rekindle_environment *given,
			 struct rekindle_error *error);

/* The folder of the plugin, given or else (NULL, "") of this release, into directory[PATH_MAX]. */
int environment_find_plugin(char *directory, const char *given, struct rekindle_error *error);

/* The capabilities that CRIU needs, or a clear sentence. */
int environment_check_privileges(struct rekindle_error *error);

#endif
