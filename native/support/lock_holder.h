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
/*
 * Whoever may open a file may lock it. Is a lock that keeps this process out in the hands of users only whom it does not
 * concern: neither root, nor this one, nor owner? False where one that it concerns has it, or where that is not seen from
 * here: by a user that may not look at others' descriptors, or from another pid namespace than the first.
 */
bool lock_is_in_other_hands(int locked, uid_t owner);

#endif
