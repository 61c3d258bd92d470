/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_LOCK_H
#define REKINDLE_PROCESS_PROCESS_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * One run at a time works on a process, whoever starts it and in whatever pid namespace. The run holds two locks of
 * flock(2): on the process's folder of descriptors in /proc, which only root and its owner may open, and which is one for
 * each mounted /proc; and, where pidfds have a file system of their own (Linux 6.9), on the pidfd, which is one for all of
 * them. As anybody may open that and lock it, one that only other users have keeps no run from the process.
 *
 * A lock belongs to the open file, so it lasts until every process that was handed a duplicate has closed it: a pool
 * that still undoes the dump of a criu that died keeps others away from the process. It is handed both, as the pidfd goes
 * with the lock.
 */

/*
 * Returns the descriptor that holds the first lock, pidfd holds the second; -EBUSY with who holds one; another negative
 * errno code.
 */
int process_lock_take(int pidfd, pid_t pid, struct error_text *error);
/*
 * In two steps, for whoever waits for the end of a run and may outlive the process: opened while it lives, the descriptor
 * stands for it also when it has ended. Returns it, or a negative errno code.
 */
int process_lock_open(pid_t pid);
/* Returns 0 when they hold the locks now, or did, -EBUSY while another one does, or another negative errno code. */
int process_lock_try(int lock, int pidfd);
/* Is the lock on a pidfd one for all pid namespaces and each mounted /proc? */
bool process_lock_is_one_for_all(int pidfd);
/* Lets go of both for every duplicate, and closes none. */
void process_lock_end(int lock, int pidfd);
/*
 * Likewise, and closes lock; -1 is allowed. For whoever knows that no other holder needs it: a
 * program that starts another one holds duplicates of all its descriptors for a moment, and closing would leave those.
 */
void process_lock_release(int lock, int pidfd);

#endif
