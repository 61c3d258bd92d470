/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_PROCESS_STATUS_H
#define REKINDLE_PLUGIN_PROCESS_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The lines of /proc/PID/task/TID/status that are needed here. */
struct thread_status {
	char state;	    /* R, S, D, t, Z ... */
	pid_t tracer;	    /* 0: none */
	pid_t namespace_id; /* the thread's id as it sees itself: the last one of NSpid */
	int seccomp_mode;   /* 0: none */
};

/* Returns 0, -ESRCH where the thread is gone, or another negative errno code. */
int thread_status_read(pid_t pid, pid_t tid, struct thread_status *status);

/* The thread of process pid that sees itself as namespace_id, as this process sees it. Negative errno code: none. */
pid_t thread_find_by_namespace_id(pid_t pid, pid_t namespace_id);

/* When the process started, in clock ticks since boot: tells a process from a later one with the same id. 0: gone. */
uint64_t process_start_time(pid_t pid);

#endif
