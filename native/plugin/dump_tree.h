/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_TREE_H
#define REKINDLE_PLUGIN_DUMP_TREE_H

#include "plugin/dumped_process.h"

/*
 * Saves the GPU memory of all processes that are to be saved and have not been yet, side by side: at the first of CRIU's
 * hooks every process of the tree is stopped. named: the one that the hook is for. None is touched before each of them can
 * be; the first failure is in error, and every process has come to its end, whatever became of another one.
 */
int dump_save_tree(struct plugin_run *run, struct dumped_process *processes, pid_t named, struct error_text *error);

/*
 * Ends the tree, if anything of it was saved, as CRIU does next: before the pool hears that the run is over, and looks no
 * more after who has not got its GPU back.
 */
void dump_end_tree(struct dumped_process *processes);

/* Gives each process its GPU back that has lost or locked it, and was not ended. */
void dump_bring_back_tree(struct plugin_run *run, struct dumped_process *processes, int criu_result);

#endif
