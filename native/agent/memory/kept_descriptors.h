/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_KEPT_DESCRIPTORS_H
#define REKINDLE_AGENT_MEMORY_KEPT_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/agent_protocol.h"

/*
 * Of device memory that processes share, a duplicate of the descriptor by which it was handed over: the one that the owner
 * gave out and the one that came to whoever imported it are one open file, and that is how the outside finds out which
 * memory is whose (kcmp), whatever way the descriptor went. It is also what the memory can be exported by once more when it
 * has become imported memory in a restore.
 *
 * The program may close any of them, or put files of its own at their numbers. So each open file has a mark, in a place that
 * travels with it (protocol/share_mark.h): a number that leads to a file with another one is no longer ours. Nothing here takes a lock or memory.
 */

/*
 * Keeps a duplicate, and returns its place, or 0 where there is none, no number is left for it, or, with imported, no agent
 * has marked it: then its owner runs without one. id: the memory's, of which the mark is made where there is none.
 */
uint32_t kept_add(int descriptor, bool imported, uint64_t id);
/* A duplicate, to be closed by the caller, or -1 where it is not there any more. */
int kept_duplicate(uint32_t place, bool close_on_exec);
/* Has the program left it where it was? */
bool kept_is_there(uint32_t place);
/* Closes it; 0 is allowed. */
void kept_drop(uint32_t place);
/* For one that was kept before its memory had an id. */
void kept_name(uint32_t place, uint64_t id);
/* Is there any? */
bool kept_any(void);
/* Closes all of them; also in a forked child, whose they are not. */
void kept_drop_all(void);

/* For the outside: AGENT_KEPT_MAX of them. */
const struct agent_kept *kept_table(void);

#endif
