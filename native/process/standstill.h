/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_STANDSTILL_H
#define REKINDLE_PROCESS_STANDSTILL_H

#include <stddef.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * Keeps a process whose threads CRIU holds from running when CRIU dies. The kernel lets go of everything then, and a
 * process that is unlocked for its agent would go on at once, with memory that is not there and with a driver's lock that
 * is not as it left it.
 *
 * A SIGSTOP waits in each of the threads. No mask holds it back, and a thread takes its signals before it returns to its
 * program, so that none of them gets to an instruction of its own: the whole process stops. Whoever undoes the dump holds
 * the threads (pool/run/hold_threads.h) before he lets it go on with SIGCONT. Where CRIU lives, its threads never see the
 * signal: it is taken out of each again. No mask is changed for that, at no moment, as nobody could put it back for a CRIU
 * that dies then. Only for the process that traces them, CRIU itself.
 */
struct standstill {
	pid_t pid; /* 0: it has not begun */
	struct standing_thread *threads;
	size_t count;
};

#define STANDSTILL_NONE ((struct standstill){.pid = 0})

/*
 * except: threads that are to run meanwhile. Where it fails, nothing waits in any thread. One that has begun already goes
 * on, for a process that comes from the hands of a pool that died into those of another one.
 */
int standstill_begin(struct standstill *standstill, pid_t pid, const pid_t *except, size_t except_count,
		     struct error_text *error);

/*
 * Threads are as they were before, but that a signal which came to one of them alone may have been delivered: its handler
 * begins, or it ends the process, as if it had come before CRIU. Waits at most timeout_ms for each of them.
 */
int standstill_end(struct standstill *standstill, unsigned int timeout_ms, struct error_text *error);

/* Leaves the signals where they are: the process stops when CRIU lets it go, and waits for whoever brings it back. */
void standstill_leave(struct standstill *standstill);

#endif
