/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_CRIU_PROGRAM_H
#define REKINDLE_API_CRIU_CRIU_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

#include "rekindle.h"

/* The criu program that is used, and what it can do. */
struct criu_program {
	char path[PATH_MAX];
	char version[REKINDLE_NAME_MAX];
	bool has_dump_threads;	    /* --dump-threads */
	bool has_restore_threads;   /* --restore-threads */
	bool has_restore_hugepages; /* --restore-thp */
};

/*
 * Finds the program (given, else $REKINDLE_CRIU, else in PATH and the system folders) and asks it for version and
 * options, once for each program and change of it. Returns REKINDLE_OK, REKINDLE_ERROR_CRIU_NOT_FOUND, or
 * REKINDLE_ERROR_INCOMPATIBLE for a version before 4.1. Any thread.
 */
int criu_program_find(struct criu_program *program, const char *given, struct rekindle_error *error);

/* Runs `criu check`. Returns REKINDLE_OK or REKINDLE_ERROR_CRIU_FAILED. */
int criu_program_check(const struct criu_program *program, struct rekindle_error *error);

#endif
