/* SPDX-License-Identifier: MIT */
#include "plugin/process_status.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pid_t last_number(const char *text)
{
	long number = 0;
	char *end;

	for (;;) {
		long next = strtol(text, &end, 10);

		if (end == text)
			return (pid_t)number;
		number = next;
		text = end;
	}
}

int thread_status_read(pid_t pid, pid_t tid, struct thread_status *status)
{
	char path[64];
	char line[512];
	FILE *file;
	int code = 0;

	memset(status, 0, sizeof(*status));
	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "State: %c", &status->state);
		sscanf(line, "TracerPid: %d", &status->tracer);
		sscanf(line, "Seccomp: %d", &status->seccomp_mode);
		if (!strncmp(line, "NSpid:", 6))
			status->namespace_id = last_number(line + 6);
	}
	if (ferror(file))
		code = -ESRCH;
	fclose(file);
	return code;
}

pid_t thread_find_by_namespace_id(pid_t pid, pid_t namespace_id)
{
	pid_t found = -ESRCH;
	struct dirent *entry;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return -errno;
	while (found < 0 && (entry = readdir(folder))) {
		struct thread_status status;
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && !thread_status_read(pid, tid, &status) && status.namespace_id == namespace_id)
			found = tid;
	}
	closedir(folder);
	return found;
}

uint64_t process_start_time(pid_t pid)
{
	uint64_t ticks = 0;
	char path[64];
	char text[1024];
	const char *at;
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	/* The name is in parentheses and may hold anything; field 3 follows the last one, field 22 is the start time.
	 */
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%" SCNu64, &ticks) != 1)
		return 0;
	return ticks;
}
