/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_TREE_H
#define REKINDLE_PROCESS_PROCESS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What /proc says about a process. */
struct process_facts {
	char state; /* R, S, D, T, t, Z, X ... */
	bool kernel_thread;
	bool is_thread; /* the number is that of a thread, not of a process */
	bool ending;	/* has ended, or was killed and executes no more of its program */
	pid_t process;	/* the number itself, or that of the process which the thread belongs to */
	pid_t parent, group, session;
	uint64_t start_time; /* in the kernel's own unit; with the number it names a process for ever */
	char name[64];
};

/* Returns 0; -ESRCH where there is no such process; another negative errno code. */
int process_facts_read(pid_t pid, struct process_facts *facts);

/* The children of a process. Returns a list to be freed and its length, NULL where there are none. */
struct process_facts *process_children(pid_t parent, size_t *count);
/* The living processes below one, root not among them. Returns a list to be freed and its length, NULL where there are none. */
struct process_facts *process_descendants(pid_t root, size_t *count);

/* Waits until a process that was sent SIGSTOP has stopped, or ended; a minute at most, for what hangs in the kernel. */
void process_wait_stopped(pid_t pid);

/* Runs and is no zombie. */
bool process_alive(pid_t pid);

/* Is ancestor the process itself or one of those above it? */
bool process_descends_from(pid_t pid, pid_t ancestor);

/*
 * Kills every descendant of a process, until none is left that lives; and the process itself where and_root is set. What
 * hangs in the kernel is waited for a minute.
 */
void process_tree_kill(pid_t root, bool and_root);

#endif
