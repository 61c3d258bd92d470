/* SPDX-License-Identifier: MIT */
#include "process/process_tree.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"

/* Flags in /proc/PID/stat. */
#define PF_EXITING 0x00000004u
#define PF_KTHREAD 0x00200000u
/* Far from what any takes on a busy machine: one that hangs in the kernel cannot run another instruction either. */
#define WAIT_NS (60 * UINT64_C(1000000000))
#define STOP_PAUSE_US 100
#define END_PAUSE_US 1000

/* The number of the stat line's field, which begins after the name. */
static int parse_stat(const char *rest, struct process_facts *facts)
{
	unsigned long long start;
	unsigned int flags;
	int parent, group, session;

	if (sscanf(rest, " %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu", &facts->state,
		   &parent, &group, &session, &flags, &start) != 6)
		return -ESRCH;
	facts->parent = parent;
	facts->group = group;
	facts->session = session;
	facts->start_time = start;
	facts->kernel_thread = flags & PF_KTHREAD;
	facts->ending = flags & PF_EXITING || strchr("ZX", facts->state);
	return 0;
}

static int read_stat(pid_t pid, struct process_facts *facts)
{
	char path[64], line[1024];
	const char *name;
	char *rest;
	FILE *stream;
	int result = -ESRCH;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stream = fopen(path, "re");
	if (!stream)
		return errno == ENOENT ? -ESRCH : -errno;
	line[fread(line, 1, sizeof(line) - 1, stream)] = '\0';
	/* The name is in parentheses and may hold anything, lines too: go on after the last one. */
	if ((rest = strrchr(line, ')')) && (name = strchr(line, '('))) {
		*rest = '\0';
		snprintf(facts->name, sizeof(facts->name), "%s", name + 1);
		result = parse_stat(rest + 1, facts);
	}
	fclose(stream);
	return result;
}

int process_facts_read(pid_t pid, struct process_facts *facts)
{
	unsigned long long pending;
	char path[64], line[1024];
	FILE *stream;
	int process;
	int result;

	memset(facts, 0, sizeof(*facts));
	result = read_stat(pid, facts);
	if (result)
		return result;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	stream = fopen(path, "re");
	if (!stream)
		return errno == ENOENT ? -ESRCH : -errno;
	facts->process = pid;
	while (fgets(line, sizeof(line), stream)) {
		if (sscanf(line, "Tgid: %d", &process) == 1)
			facts->process = process;
		else if ((sscanf(line, "SigPnd: %llx", &pending) == 1 || sscanf(line, "ShdPnd: %llx", &pending) == 1) &&
			 pending >> (SIGKILL - 1) & 1)
			facts->ending = true;
	}
	fclose(stream);
	facts->is_thread = facts->process != pid;
	return 0;
}

bool process_alive(pid_t pid)
{
	struct process_facts facts;

	return !process_facts_read(pid, &facts) && facts.state != 'Z' && facts.state != 'X';
}

bool process_descends_from(pid_t pid, pid_t ancestor)
{
	struct process_facts facts;

	while (pid > 0 && pid != ancestor) {
		if (process_facts_read(pid, &facts))
			return false;
		pid = facts.parent;
	}
	return pid == ancestor;
}

static bool stands_still(pid_t pid)
{
	struct process_facts facts;

	return process_facts_read(pid, &facts) || strchr("TtZX", facts.state);
}

static void wait_stopped(pid_t pid, uint64_t deadline)
{
	while (!stands_still(pid) && monotonic_nanoseconds() < deadline)
		usleep(STOP_PAUSE_US);
}

void process_wait_stopped(pid_t pid)
{
	wait_stopped(pid, monotonic_nanoseconds() + WAIT_NS);
}

/*
 * Every thread of it? A pidfd does not tell: of a traced process it waits until the tracer has seen all threads, which may be
 * one of those that are to end.
 */
static bool has_ended(pid_t pid)
{
	struct process_facts thread;
	struct dirent *entry;
	bool ended = true;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	if (!threads)
		return errno == ENOENT;
	while (ended && (entry = readdir(threads)))
		ended = entry->d_name[0] == '.' || read_stat((pid_t)strtol(entry->d_name, NULL, 10), &thread) ||
			strchr("ZX", thread.state);
	closedir(threads);
	return ended;
}

static void wait_ended(pid_t pid, uint64_t deadline)
{
	while (!has_ended(pid) && monotonic_nanoseconds() < deadline)
		usleep(END_PAUSE_US);
}

/* Calls visit for each child of a process, as its threads list them. */
static void for_each_child(pid_t parent, void (*visit)(pid_t child, void *context), void *context)
{
	char path[64];
	struct dirent *entry;
	FILE *children;
	DIR *threads;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task", parent);
	threads = opendir(path);
	if (!threads)
		return;
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", parent, entry->d_name);
		children = fopen(path, "re");
		if (!children)
			continue;
		while (fscanf(children, "%d", &child) == 1)
			visit(child, context);
		fclose(children);
	}
	closedir(threads);
}

struct process_list {
	struct process_facts *entries;
	size_t count;
};

static void add_child(pid_t child, void *context)
{
	struct process_list *list = context;
	struct process_facts *grown = realloc(list->entries, (list->count + 1) * sizeof(*grown));

	if (!grown)
		return;
	list->entries = grown;
	if (!process_facts_read(child, &grown[list->count]))
		list->count++;
}

static void add_with_descendants(pid_t child, void *context)
{
	add_child(child, context);
	for_each_child(child, add_with_descendants, context);
}

struct process_facts *process_children(pid_t parent, size_t *count)
{
	struct process_list list = {NULL, 0};

	for_each_child(parent, add_child, &list);
	*count = list.count;
	return list.entries;
}

struct process_facts *process_descendants(pid_t root, size_t *count)
{
	struct process_list list = {NULL, 0};

	for_each_child(root, add_with_descendants, &list);
	*count = list.count;
	return list.entries;
}

struct killing {
	uint64_t deadline;
	bool any; /* was killed */
};

static void wait_for_child(pid_t child, void *context)
{
	const struct killing *killing = context;

	wait_ended(child, killing->deadline);
}

static void kill_with_descendants(pid_t child, void *context);

/* All that there are just now: side by side, and they are gone then. */
static void kill_children(pid_t parent, struct killing *killing)
{
	for_each_child(parent, kill_with_descendants, killing);
	for_each_child(parent, wait_for_child, killing);
}

/* Deepest first: whose parent has ended is out of sight. */
static void kill_with_descendants(pid_t child, void *context)
{
	struct killing *killing = context;

	kill(child, SIGSTOP); /* it forks no more, so no orphan of it escapes */
	wait_stopped(child, killing->deadline);
	kill_children(child, killing);
	if (!has_ended(child)) {
		kill(child, SIGKILL);
		killing->any = true;
	}
}

void process_tree_kill(pid_t root, bool and_root)
{
	struct killing killing = {.deadline = monotonic_nanoseconds() + WAIT_NS};

	if (and_root) {
		kill(root, SIGSTOP);
		wait_stopped(root, killing.deadline);
	}
	/* Those that are forked while we look show up in the next round. Killed ones stay reachable: root does not reap. */
	do {
		killing.any = false;
		kill_children(root, &killing);
	} while (killing.any && monotonic_nanoseconds() < killing.deadline);
	if (!and_root)
		return;
	kill(root, SIGKILL);
	wait_ended(root, killing.deadline);
}
