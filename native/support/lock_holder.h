/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_LOCK_HOLDER_H
#define REKINDLE_SUPPORT_LOCK_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

/* Who took a lock of flock() on a file, for people. */
struct lock_holder {
	/* As this pid namespace sees it. 0: it is not seen here, as it has ended or is in another pid namespace; from the
	 * first pid namespace one that has ended is seen too. */
	pid_t pid;
	bool lives;    /* at this moment, as far as it is seen here */
	char name[32]; /* of its program, where it lives */
};

/* Looks into /proc/locks for a lock on the open file of the descriptor. */
struct lock_holder lock_holder_find(int locked);

#endif
