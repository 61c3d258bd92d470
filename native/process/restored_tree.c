/* SPDX-License-Identifier: MIT */
#include "process/restored_tree.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "process/failed_restore.h"
#include "process/process_status.h"

struct restored_process *restored_tree_find(const struct restored_tree *tree, pid_t pid)
{
	for (size_t index = 0; index < tree->count; index++)
		if (tree->processes[index].pid == pid)
			return &tree->processes[index];
	return NULL;
}

static int add(struct restored_tree *tree, pid_t pid, struct error_text *error)
{
	struct restored_process *more = realloc(tree->processes, (tree->count + 1) * sizeof(*more));

	if (!more)
		return fail(error, -ENOMEM, "Out of memory");
	tree->processes = more;
	more[tree->count++] = (struct restored_process){.pid = pid};
	return 0;
}

/*
 * These options are the last ones that CRIU's tasks get: after the hook it only lets them go. (Where a task has a
 * seccomp filter, CRIU has suspended it for the code of its own that it ran in the task. There is no more of that.)
 */
static int end_with_us(pid_t pid, pid_t tid, struct error_text *error)
{
	if (!ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) ||
	    errno == ESRCH) /* it was killed just now */
		return 0;
	return fail(error, -errno, "cannot set the ptrace options of thread %d of process %d: %s", (int)tid, (int)pid,
		    errno_text(errno));
}

/* Those of the thread's children that this process traces. Others are no part of what CRIU restores. */
static int add_children(struct restored_tree *tree, pid_t pid, pid_t tid, struct error_text *error)
{
	struct thread_status status;
	char path[64];
	int child, code = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)tid);
	file = fopen(path, "re");
	if (!file)
		return fail(error, -errno, "cannot open %s to find the restored processes: %s", path,
			    errno_text(errno));
	while (!code && fscanf(file, "%d", &child) == 1)
		if (!thread_status_read(child, child, &status) && status.tracer == getpid())
			code = add(tree, child, error);
	fclose(file);
	return code;
}

static int take_process(struct restored_tree *tree, pid_t pid, struct error_text *error)
{
	struct dirent *entry;
	char path[64];
	int code = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return fail(error, -errno, "cannot open %s: %s", path, errno_text(errno));
	while (!code && (entry = readdir(folder))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0)
			continue;
		code = end_with_us(pid, tid, error);
		if (!code)
			code = add_children(tree, pid, tid, error);
	}
	closedir(folder);
	return code;
}

int restored_tree_show(struct restored_tree *tree, pid_t pid, struct error_text *error)
{
	struct restored_process *process = restored_tree_find(tree, pid);
	size_t taken = tree->count;
	int code = 0;

	if (!process)
		code = add(tree, pid, error);
	/* The list grows by the children of those that are taken. */
	for (; !code && taken < tree->count; taken++)
		code = take_process(tree, tree->processes[taken].pid, error);
	process = restored_tree_find(tree, pid);
	if (process && !process->shown) {
		process->shown = true;
		tree->shown_count++;
	}
	return code;
}

bool restored_tree_is_complete(const struct restored_tree *tree)
{
	return tree->shown_count == tree->count;
}

void restored_tree_kill(const struct restored_tree *tree)
{
	for (size_t index = 0; index < tree->count; index++)
		failed_restore_kill(tree->processes[index].pid);
}

void restored_tree_free(struct restored_tree *tree)
{
	free(tree->processes);
	*tree = (struct restored_tree){.count = 0};
}
