/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_RESTORED_DESCRIPTORS_H
#define REKINDLE_AGENT_MEMORY_RESTORED_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of device memory that a restore has brought, or a dump has mapped back, a duplicate of the descriptor by which it came. It
 * is imported memory, which the driver exports no more; but whoever is given that descriptor can import it. So it can be
 * offered to a pool and shared with other processes, and a dump needs no fresh memory in its place. While a descriptor is
 * kept its memory lives: it goes with the memory.
 *
 * Numbers are the program's. At most a quarter of those that its limit allows are taken, from the upper end, no more than
 * half of what it has left, and the largest pieces come first. Memory without one stays what it is. The program may close any
 * of them, or put files of its own at their numbers: each open file has RESTORED_MARK (protocol/share_mark.h), and what is
 * noted of a number goes when it is taken anew. Calls of fcntl(2) on the threads that export or free such memory are what it
 * costs.
 *
 * A number and the memory's id together name a descriptor; number 0 is none. With the table's mutex, or the claim.
 */

/* Keeps a duplicate of it, and returns its number, or 0 where there is no room for it. */
int restored_keep(int descriptor, uint64_t id, size_t bytes);
/* Is it kept, as far as is known? Asks nobody: the program may have closed it. */
bool restored_is_noted(int number, uint64_t id);
/* A duplicate, to be closed by the caller, or -1: with EMFILE, or with ENOENT where it is not there any more. */
int restored_duplicate(int number, uint64_t id);
/* It is the caller's from now on, to be closed without the mutex; -1 where it is not there. */
int restored_take(int number, uint64_t id);
/* What was taken is kept again. */
void restored_put_back(int number, uint64_t id, size_t bytes);
/* Closes it. */
void restored_drop(int number, uint64_t id);
/* Closes that of the smallest piece, for somebody who needs the number more. False: there is none. */
bool restored_drop_smallest(void);
/* Closes all of them; also in a forked child, whose they are not. */
void restored_drop_all(void);

#endif
