/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_THREAD_CONTROL_H
#define REKINDLE_PLUGIN_THREAD_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * Lets single threads of a process that CRIU has seized and stopped run for a while, all signals blocked, and stops
 * them again exactly as CRIU left them. Only for the process that traces: CRIU itself.
 */
struct released_thread {
	pid_t pid, tid;
	bool running;	  /* we let it run and have to stop it */
	bool seccomp;	  /* it has a seccomp filter, which CRIU suspends */
	bool sigstop;	  /* one was kept from it, and whoever called has to send it again */
	uint64_t signals; /* its own signal mask */
};

/* Lets it run. A thread that this process does not trace runs anyway: 0, and nothing to stop later. */
int thread_release(struct released_thread *thread, pid_t pid, pid_t tid, struct error_text *error);

/*
 * Lets it run on where something else has stopped it. SIGSTOP and SIGCONT stop a traced thread whatever its mask, and
 * nobody but its tracer can help it. Call it now and then while the thread has work to do.
 */
void thread_watch(struct released_thread *thread);

/* Stops it again where it was let run; waits at most timeout_ms for that. */
int thread_stop(struct released_thread *thread, unsigned int timeout_ms, struct error_text *error);

#endif
