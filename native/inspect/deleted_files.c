/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "inspect/inspection_internal.h"

#define DELETED " (deleted)"

bool is_deleted(const char *path)
{
	size_t length = strlen(path);

	return *path == '/' && length > strlen(DELETED) && !strcmp(path + length - strlen(DELETED), DELETED);
}

bool is_memory_file(const char *path)
{
	return !strncmp(path, "/memfd:", 7) || !strncmp(path, "/SYSV", 5) || !strcmp(path, "/dev/zero" DELETED) ||
	       !strncmp(path, "/anon_hugepage", 14);
}

/* A file may be called so. */
static bool is_there(pid_t pid, const char *path, const struct stat *file)
{
	char there[4200];
	struct stat found;

	snprintf(there, sizeof(there), "/proc/%d/root%s", (int)pid, path);
	return !lstat(there, &found) && found.st_ino == file->st_ino && found.st_dev == file->st_dev;
}

int look_at_deleted(const struct look *look, const char *path, const struct stat *file)
{
	const struct inspected_process *process = look->process;
	uint64_t bytes = (uint64_t)file->st_blocks * 512;
	int length = (int)(strlen(path) - strlen(DELETED));
	char remedy[128];

	/* CRIU asks first whether somebody else answers for a file. */
	if (!look->options->known || look->options->external_files || !S_ISREG(file->st_mode) || is_memory_file(path) ||
	    is_there(process->pid, path, file))
		return 0;
	if (file->st_nlink && !look->options->links)
		return inspection_add(look->inspection, OBSTACLE_LINKED_FILE, process->pid, "dump it with --link-remap",
				      "process %d (%s) has a file whose name is gone though it has another (%.*s), as "
				      "named semaphores are",
				      (int)process->pid, process->name, length, path);
	if (file->st_nlink || bytes <= look->options->ghost_bytes)
		return 0;
	snprintf(remedy, sizeof(remedy), "dump it with --ghost-limit %lluM", (unsigned long long)((bytes >> 20) + 1));
	return inspection_add(look->inspection, OBSTACLE_GHOST_FILE, process->pid, remedy,
			      "process %d (%s) has a deleted file of %llu bytes (%.*s), and CRIU carries at most %llu",
			      (int)process->pid, process->name, (unsigned long long)bytes, length, path,
			      (unsigned long long)look->options->ghost_bytes);
}
