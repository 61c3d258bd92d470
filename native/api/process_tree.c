/* SPDX-License-Identifier: MIT */
#include "api/process_tree.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PF_KTHREAD 0x00200000u
/* A killed process ends at once unless it sleeps in the kernel; then it still cannot run another instruction. */
#define KILL_ROUNDS 200

int process_facts_read(pid_t pid, struct process_facts *facts)
{
	char path[64], line[1024];
	char *rest;
	unsigned int flags;
	FILE *stream;
	int parent, tgid;
	int result = -ESRCH;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stream = fopen(path, "re");
	if (!stream)
		return errno == ENOENT ? -ESRCH : -errno;
	/* The name is in parentheses and may hold anything: go on after the last one. */
	if (fgets(line, sizeof(line), stream) && (rest = strrchr(line, ')')) &&
	    sscanf(rest + 1, " %c %d %*d %*d %*d %*d %u", &facts->state, &parent, &flags) == 3) {
		facts->parent = parent;
		facts->kernel_thread = flags & PF_KTHREAD;
		result = 0;
	}
	fclose(stream);
	if (result)
		return result;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	stream = fopen(path, "re");
	if (!stream)
		return errno == ENOENT ? -ESRCH : -errno;
	facts->is_thread = false;
	while (fgets(line, sizeof(line), stream))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			facts->is_thread = tgid != pid;
	fclose(stream);
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

/* Kills the living descendants of root, deepest first, and says how many there were. */
static unsigned int kill_descendants(pid_t root)
{
	unsigned int count = 0;
	char path[64];
	struct dirent *entry;
	FILE *children;
	DIR *threads;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task", root);
	threads = opendir(path);
	if (!threads)
		return 0;
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", root, entry->d_name);
		children = fopen(path, "re");
		if (!children)
			continue;
		while (fscanf(children, "%d", &child) == 1) {
			kill(child, SIGSTOP); /* it forks no more, so no orphan of it escapes */
			count += kill_descendants(child);
			if (process_alive(child)) {
				kill(child, SIGKILL);
				count++;
			}
		}
		fclose(children);
	}
	closedir(threads);
	return count;
}

void process_tree_kill(pid_t root, bool and_root)
{
	unsigned int round;

	/* Those that are forked while we look show up in the next round. Killed ones stay reachable: root does not reap. */
	if (and_root)
		kill(root, SIGSTOP);
	for (round = 0; round < KILL_ROUNDS && kill_descendants(root); round++)
		usleep(1000);
	if (!and_root)
		return;
	kill(root, SIGKILL);
	for (round = 0; round < KILL_ROUNDS && process_alive(root); round++)
		usleep(1000);
}
