/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_RUN_CRIU_H
#define REKINDLE_API_CRIU_RUN_CRIU_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/criu/criu_log.h"
#include "api/criu/environment.h"
#include "rekindle.h"

/* One run of CRIU, either way. */
struct criu_run {
	bool restore;
	int32_t pid;	  /* dump: root of the tree */
	bool was_stopped; /* before the dump, by SIGSTOP */
	const struct run_environment *environment;
	char directory[PATH_MAX];      /* absolute */
	char work_directory[PATH_MAX]; /* absolute */
	char log_path[PATH_MAX];
	char pid_path[PATH_MAX]; /* restore: where CRIU writes the pid of the root */
	uint32_t flags;
	int32_t log_level;
	uint32_t timeout_seconds;
	uint32_t argument_count;
	const char *const *arguments;
	struct rekindle_operation *operation;

	/* How it went. */
	uint64_t start, duration;	  /* nanoseconds, CLOCK_MONOTONIC */
	uint64_t criu_born;		  /* its start time as /proc has it */
	int exit_status;		  /* 128 + signal where one ended it */
	bool cancelled;			  /* ended because of the cancellation, not in spite of it */
	bool left_behind;		  /* the pool did not say that it has brought the process back */
	int restore_threads;		  /* passed to CRIU, -1: not used */
	uint64_t bytes_done, bytes_total; /* as the last progress with bytes said */
	int32_t phase;
	struct criu_log_excerpt log;
};

/* Checks and fills the folders and names of a run. log_file: NULL for the default. */
int criu_run_prepare(struct criu_run *run, const char *directory, const char *work_directory, const char *log_file,
		     struct rekindle_error *error);

/*
 * Is nobody else at work in the folder of images, and for a restore, is what the checkpoint's manifest lists there? Before
 * anything of another run is touched; the plugin looks again and holds the folder then.
 */
int criu_run_check_folder(const struct criu_run *run, struct rekindle_error *error);

/* The last progress of a run: all of bytes where it succeeded, else how far it came. */
void criu_run_last_progress(const struct criu_run *run, bool succeeded, uint64_t bytes);

/*
 * Runs CRIU to its end, calls the operation's callback and obeys its cancellation. Returns REKINDLE_OK when CRIU ran,
 * whatever its exit status, and the code of what kept it from running otherwise.
 */
int criu_run_execute(struct criu_run *run, struct rekindle_error *error);

#endif
