/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_CHILD_PROCESS_H
#define REKINDLE_API_CRIU_CHILD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "support/error_text.h"

/* A program that was started, with what it writes to stdout and stderr kept in memory. */
struct child_process {
	pid_t pid;
	int pidfd;
	int output; /* memfd; -1: none */
};

struct child_start {
	const char *program;
	char *const *arguments; /* argv, ends with NULL */
	char *const *variables; /* envp, ends with NULL */
	bool keep_terminal;	/* stay in the caller's process group and keep its stdin: CRIU's --shell-job */
};

/*
 * Starts a program with default signal dispositions, but SIGXFSZ ignored so that child_forbid_writes works, and with
 * keep_terminal those that a terminal sends.
 * Only the output's descriptors are inherited. Returns 0 or a negative errno code.
 */
int child_start(struct child_process *child, const struct child_start *start, struct error_text *error);

/* Waits for its end, timeout_ms at most (-1: no limit). Returns 1 when it has ended, 0 when not yet, or -errno. */
int child_wait(const struct child_process *child, int timeout_ms);

/* Reaps an ended child. *status: as waitpid gives it. Returns 0, or -ECHILD where somebody else in this process took it. */
int child_reap(const struct child_process *child, int *status);

/* From now on every write of the child to a file fails with EFBIG. */
void child_forbid_writes(const struct child_process *child);

/* Copies the end of its output into text (capacity counts the closing NUL). Returns the length. */
size_t child_output(const struct child_process *child, char *text, size_t capacity);

void child_free(struct child_process *child);

/* Runs a program to its end and returns its exit status (128 + signal where one ended it) or a negative errno code. */
int child_run(const struct child_start *start, char *output, size_t capacity, struct error_text *error);

#endif
