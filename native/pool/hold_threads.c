/* SPDX-License-Identifier: MIT */
#include "pool/hold_threads.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin/agent_page.h"
#include "plugin/process_maps.h"
#include "pool/driver_checkpoint.h"
#include "support/clock.h"
#include "support/log.h"

/* How long a dying CRIU, or a thread in the kernel, may take. */
#define PATIENCE_NANOSECONDS 5000000000ull
#define STEP_MICROSECONDS 2000

static pid_t find_agent_thread(pid_t pid)
{
	struct error_text error;
	struct process_maps maps;
	struct agent agent;
	pid_t thread;

	if (process_maps_read(pid, &maps, &error))
		return -1;
	agent_open(&agent, pid, &maps);
	thread = agent.has_page ? agent.thread : -1;
	agent_close(&agent);
	return thread;
}

static bool is_held(const struct held_threads *held, pid_t thread)
{
	size_t i;

	for (i = 0; i < held->count; i++)
		if (held->threads[i] == thread)
			return true;
	return false;
}

static int add(struct held_threads *held, pid_t thread)
{
	pid_t *threads = realloc(held->threads, (held->count + 1) * sizeof(*threads));
	int *signals;

	if (threads)
		held->threads = threads;
	signals = realloc(held->signals, (held->count + 1) * sizeof(*signals));
	if (signals)
		held->signals = signals;
	if (!threads || !signals)
		return -ENOMEM;
	held->threads[held->count] = thread;
	held->signals[held->count++] = 0;
	return 0;
}

/* Waits until a seized thread has stopped; the signal that it stopped for is kept for later. */
static int wait_stopped(pid_t thread, int *signal_out, uint64_t deadline)
{
	pid_t got;
	int status;

	for (;;) {
		got = waitpid(thread, &status, __WALL | WNOHANG);
		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == thread && !WIFSTOPPED(status))
			return -ESRCH;
		if (got == thread) {
			*signal_out = status >> 16 ? 0 : WSTOPSIG(status);
			return 0;
		}
		if (monotonic_nanoseconds() > deadline)
			return -ETIMEDOUT;
		usleep(STEP_MICROSECONDS);
	}
}

/* A thread that ended meanwhile is no failure. */
static int hold_one(struct held_threads *held, pid_t thread, uint64_t deadline)
{
	int result;

	while (ptrace(PTRACE_SEIZE, thread, NULL, NULL) < 0) {
		if (errno == ESRCH)
			return 0;
		if (errno != EPERM || monotonic_nanoseconds() > deadline)
			return -errno;
		usleep(STEP_MICROSECONDS);
	}
	result = add(held, thread);
	if (result) {
		ptrace(PTRACE_DETACH, thread, NULL, NULL);
		return result;
	}
	if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0)
		return errno == ESRCH ? 0 : -errno;
	result = wait_stopped(thread, &held->signals[held->count - 1], deadline);
	return result == -ESRCH || result == -ECHILD ? 0 : result;
}

/* One pass over the threads; *found: new ones that were held. */
static int hold_new_ones(struct held_threads *held, pid_t pid, pid_t restore_thread, pid_t agent_thread,
			 uint64_t deadline, bool *found)
{
	char path[64];
	struct dirent *entry;
	int result = 0;
	pid_t thread;
	DIR *entries;

	*found = false;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	entries = opendir(path);
	if (!entries)
		return -errno;
	while (result == 0 && (entry = readdir(entries))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		thread = (pid_t)atoi(entry->d_name);
		if (thread == restore_thread || thread == agent_thread || is_held(held, thread))
			continue;
		*found = true;
		result = hold_one(held, thread, deadline);
	}
	closedir(entries);
	return result;
}

void hold_threads(struct pool *pool, pid_t pid, struct held_threads *held)
{
	uint64_t deadline = monotonic_nanoseconds() + PATIENCE_NANOSECONDS;
	struct driver_process process;
	struct error_text error;
	pid_t agent_thread;
	bool found = true;
	int result = 0;

	*held = (struct held_threads){.count = 0};
	agent_thread = find_agent_thread(pid);
	if (agent_thread <= 0 || driver_process_query(pool, pid, &process, &error) || !process.uses_cuda) {
		log_warning("Process %d runs while it gets its memory back: its agent's thread was not found", pid);
		return;
	}
	while (result == 0 && found)
		result = hold_new_ones(held, pid, process.restore_thread, agent_thread, deadline, &found);
	if (result) {
		log_warning("Process %d runs while it gets its memory back: its threads could not be stopped: %s", pid,
			    strerror(-result));
		let_threads_go(held);
	}
}

void let_threads_go(struct held_threads *held)
{
	size_t i;

	for (i = 0; i < held->count; i++)
		ptrace(PTRACE_DETACH, held->threads[i], NULL, (void *)(intptr_t)held->signals[i]);
	free(held->threads);
	free(held->signals);
	*held = (struct held_threads){.count = 0};
}
