/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_PROCESS_TREE_H
#define REKINDLE_API_PROCESS_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* What /proc says about a process. */
struct process_facts {
	char state; /* R, S, D, T, t, Z, X ... */
	bool kernel_thread;
	bool is_thread; /* the number is that of a thread, not of a process */
	pid_t parent;
};

/* Returns 0; -ESRCH where there is no such process; another negative errno code. */
int process_facts_read(pid_t pid, struct process_facts *facts);

/* Runs and is no zombie. */
bool process_alive(pid_t pid);

/* Is ancestor the process itself or one of those above it? */
bool process_descends_from(pid_t pid, pid_t ancestor);

/* Kills every descendant of a process, until none is left that lives; and the process itself where and_root is set. */
void process_tree_kill(pid_t root, bool and_root);

#endif
