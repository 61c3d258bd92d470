/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_LOCK_H
#define REKINDLE_PLUGIN_DUMP_LOCK_H

#include "plugin/dump_tree.h"

/*
 * Locks CUDA of all processes that run with it and are not locked yet, within timeout_ms. None of them is stopped.
 *
 * Processes whose GPU work waits for each other (the ranks of a collective) cannot be locked one after the other: the first
 * one stands, and what the second one has begun waits for it. So all are locked at once, with a short limit; where one does
 * not come to rest in it, because another one was held just before its part of the work, all go on, and it is tried again
 * a moment later, most times with a short limit, as that costs little, and now and then with a longer one. The second half
 * of the time is one attempt, for work that takes long without waiting for anybody.
 */
int dump_lock_tree(struct plugin_run *run, struct dumped_process *processes, unsigned int timeout_ms,
		   struct error_text *error);

#endif
