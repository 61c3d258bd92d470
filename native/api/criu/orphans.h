/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_ORPHANS_H
#define REKINDLE_API_CRIU_ORPHANS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "process/process_tree.h"

/*
 * Where this program is the first process of its pid namespace, as in a container, or a child subreaper, it inherits the
 * processes whose parents have ended: those of a restored tree, and those that a dump has ended. Nobody else can wait for
 * them, and until somebody does their ids stay taken and the next restore fails. So they are kept here, each with its
 * start time, and a thread waits for them one by one; no other child of the program is ever waited for. Any thread.
 */

/* May orphans come to this program at all? */
bool orphans_come_here(void);

/*
 * From now on the process is waited for when it has ended and is a child of this program; once more says nothing new.
 * root: of a restored tree, whose exit status is kept until orphans_wait takes it.
 */
void orphans_expect(const struct process_facts *process, bool root);

/* Waits for all those that have ended, on this thread: for who needs their ids now. */
void orphans_reap(void);

/*
 * Waits for the end of a root that is a child of this program, timeout_ms at most (-1: no limit). Returns 0 and its
 * status as waitpid gives it; -ETIMEDOUT; -ESRCH where there is none.
 */
int orphans_wait(pid_t pid, int timeout_ms, int *status);

#endif
