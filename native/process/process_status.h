/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_STATUS_H
#define REKINDLE_PROCESS_PROCESS_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The lines of /proc/PID/task/TID/status that are needed here. */
struct thread_status {
	char state;	      /* R, S, D, t, Z ... */
	pid_t tracer;	      /* 0: none */
	pid_t namespace_id;   /* the thread's id as it sees itself: the last one of NSpid */
	unsigned int threads; /* of the process */
	unsigned int seccomp_filters;
	int seccomp_mode; /* 0: none */
	uint64_t pending; /* signals that wait in the thread alone: bit N - 1 for signal N */
};

/*
 * Does it stand still, or will it before it gets on? Stopped, held by a tracer, or about to take a SIGSTOP: where the
 * tracer is a criu that is dying, its descriptors are closed, and its locks gone, before it lets go of what it holds.
 */
bool thread_stands_still(const struct thread_status *status);

/*
 * Likewise of any thread of the process, of which one that takes a SIGSTOP soon stops all. A criu that is killed leaves
 * such in some of its threads only. True where it cannot be told.
 */
bool process_stands_still(pid_t pid);

/* Returns 0, -ESRCH where the thread is gone, or another negative errno code. */
int thread_status_read(pid_t pid, pid_t tid, struct thread_status *status);

/* The thread of process pid that sees itself as namespace_id, as this process sees it. Negative errno code: none. */
pid_t thread_find_by_namespace_id(pid_t pid, pid_t namespace_id);

/* Who traces a thread of the process; 0: nobody. Negative errno code: it cannot be told. */
pid_t process_find_tracer(pid_t pid);

#define PROCESS_NAME_MAX 32

/* The name of a process's program as the kernel keeps it, for people. Returns 0 or a negative errno code. */
int process_name_read(pid_t pid, char name[PROCESS_NAME_MAX]);

#endif
