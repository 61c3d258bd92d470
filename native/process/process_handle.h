/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_HANDLE_H
#define REKINDLE_PROCESS_PROCESS_HANDLE_H

#include <stdbool.h>
#include <sys/types.h>

#include "support/error_text.h"

/* A process that this run works on: never another one that gets its number later, and no other run's meanwhile. */
struct process_handle {
	pid_t pid; /* as this process sees it */
	int pidfd; /* -1: none */
	int lock;  /* see process/process_lock.h */
};

#define PROCESS_HANDLE_NONE ((struct process_handle){.pidfd = -1, .lock = -1})

/* Returns 0; -ESRCH where there is no such process; -EBUSY, with who it is, where another run holds it. */
int process_handle_open(struct process_handle *handle, pid_t pid, struct error_text *error);
bool process_handle_has_ended(const struct process_handle *handle);
/* Sends it a signal. Returns 0 or a negative errno code. */
int process_handle_signal(const struct process_handle *handle, int number);
/* Closes it; the lock lasts as long as a pool holds it too. */
void process_handle_close(struct process_handle *handle);
/* Closes it, and ends the lock whoever holds it. */
void process_handle_release(struct process_handle *handle);

#endif
