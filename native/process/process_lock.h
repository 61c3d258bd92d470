/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_LOCK_H
#define REKINDLE_PROCESS_PROCESS_LOCK_H

#include <sys/types.h>

#include "support/error_text.h"

/*
 * One run at a time works on a process, whoever starts it and in whatever pid namespace: the run holds a lock of flock(2)
 * on what the kernel has once for each process. That is the pidfd where pidfds have a file system of their own
 * (Linux 6.9), before that the process's folder in /proc, which is one for each pid namespace only.
 *
 * The lock belongs to the open file, so it lasts until every process that was handed a duplicate has closed it: a pool
 * that still undoes the dump of a criu that died keeps others away from the process.
 */

/* Returns the descriptor that holds the lock; -EBUSY with who holds it; another negative errno code. */
int process_lock_take(int pidfd, pid_t pid, struct error_text *error);
/*
 * Lets go of it for every duplicate, and closes this one; -1 is allowed. For whoever knows that no other holder needs it: a
 * program that starts another one holds duplicates of all its descriptors for a moment, and closing would leave those.
 */
void process_lock_release(int lock);

#endif
