/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_RESTORED_TREE_H
#define REKINDLE_PROCESS_RESTORED_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * The processes that CRIU restores, from its first RESUME_DEVICES_LATE on: every one is there and stopped, and CRIU, in
 * whose process this runs, traces it until all of them are let go.
 */
struct restored_process {
	pid_t pid;
	bool shown;    /* CRIU has called the hook for it */
	bool has_cuda; /* the plugin's: the CUDA driver is loaded in it */
};

struct restored_tree {
	struct restored_process *processes;
	size_t count, shown_count;
};

/*
 * Takes the tree below root, the process that CRIU shows first, on the first call; notes that pid was shown. From then
 * on the kernel kills every task of it that CRIU has not let go when CRIU itself ends, however it does: the devices of
 * such a process are not whole, and it must not run.
 */
int restored_tree_show(struct restored_tree *tree, pid_t pid, struct error_text *error);
/* The one with that number, or NULL. */
struct restored_process *restored_tree_find(const struct restored_tree *tree, pid_t pid);
/* CRIU has shown every one of them. */
bool restored_tree_is_complete(const struct restored_tree *tree);
/* Ends every process of the tree, see failed_restore_kill. */
void restored_tree_kill(const struct restored_tree *tree);
void restored_tree_free(struct restored_tree *tree);

#endif
