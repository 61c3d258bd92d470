/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_AHEAD_H
#define REKINDLE_PLUGIN_DUMP_AHEAD_H

#include "plugin/dumped_process.h"

/*
 * Has the pool copy the device memory of all processes that are about to be locked, while they run (REKINDLE_COPY_WHILE_RUNNING). A
 * failure is one that the dump would meet later on as well, and no process has noticed anything yet. One whose memory cannot be
 * copied now is none.
 */
int dump_copy_ahead(struct plugin_run *run, struct dumped_process *processes, struct error_text *error);

#endif
