/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_THREAD_CONTROL_H
#define REKINDLE_PROCESS_THREAD_CONTROL_H

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
	bool running;	       /* we let it run and have to stop it */
	bool seized;	       /* nobody traced it, and nobody is to when it has been stopped */
	bool sigstop;	       /* one was kept from it, and whoever called has to send it again */
	unsigned long options; /* of ptrace, as they were before */
	uint64_t signals;      /* its own signal mask */
};

/*
 * Lets it run, without the seccomp filter that it may have. A thread that nobody traces runs anyway, and is unfiltered as
 * thread_unfilter does it.
 */
int thread_release(struct released_thread *thread, pid_t pid, pid_t tid, struct error_text *error);

/*
 * Lets it run on where something else has stopped it. SIGSTOP and SIGCONT stop a traced thread whatever its mask, and
 * nobody but its tracer can help it. Call it now and then while the thread has work to do.
 */
void thread_watch(struct released_thread *thread);

/*
 * Suspends the seccomp filter of a thread that nobody traces, for work of the driver's or the agent's in it; it runs all
 * the while, and wants thread_watch. Where it has no filter, or cannot be traced, nothing happens.
 */
void thread_unfilter(struct released_thread *thread, pid_t pid, pid_t tid);
/* Puts the filter in force again; waits at most timeout_ms for the thread to stop for that. */
void thread_filter_again(struct released_thread *thread, unsigned int timeout_ms);

/* Stops it again where it was let run; waits at most timeout_ms for that. */
int thread_stop(struct released_thread *thread, unsigned int timeout_ms, struct error_text *error);

#endif
