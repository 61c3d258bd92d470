/* SPDX-License-Identifier: MIT */
#include "process/process_status.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
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
		sscanf(line, "Threads: %u", &status->threads);
		sscanf(line, "Seccomp_filters: %u", &status->seccomp_filters);
		sscanf(line, "Seccomp: %d", &status->seccomp_mode);
		sscanf(line, "SigPnd: %" SCNx64, &status->pending);
		if (!strncmp(line, "NSpid:", 6))
			status->namespace_id = last_number(line + 6);
	}
	if (ferror(file))
		code = -ESRCH;
	fclose(file);
	return code;
}

/* Asks each thread until one is what is looked for; its id, 0 where none is, or a negative errno code. */
static pid_t find_thread(pid_t pid, bool (*is_it)(const struct thread_status *status, pid_t wanted), pid_t wanted,
			 struct thread_status *status)
{
	struct dirent *entry;
	pid_t found = 0;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!found && (entry = readdir(folder))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && !thread_status_read(pid, tid, status) && is_it(status, wanted))
			found = tid;
	}
	closedir(folder);
	return found;
}

static bool sees_itself_as(const struct thread_status *status, pid_t wanted)
{
	return status->namespace_id == wanted;
}

bool thread_stands_still(const struct thread_status *status)
{
	return status->state == 'T' || status->state == 't' || status->pending & (UINT64_C(1) << (SIGSTOP - 1));
}

static bool stands_still(const struct thread_status *status, pid_t unused)
{
	(void)unused;
	return thread_stands_still(status);
}

bool process_stands_still(pid_t pid)
{
	struct thread_status status;

	return find_thread(pid, stands_still, 0, &status) != 0;
}

pid_t thread_find_by_namespace_id(pid_t pid, pid_t namespace_id)
{
	struct thread_status status;
	pid_t found;

	/* As a rule both see it alike, and no other thread needs to be asked. */
	if (!thread_status_read(pid, namespace_id, &status) && sees_itself_as(&status, namespace_id))
		return namespace_id;
	found = find_thread(pid, sees_itself_as, namespace_id, &status);
	return found ? found : -ESRCH;
}

static bool is_traced(const struct thread_status *status, pid_t unused)
{
	(void)unused;
	return status->tracer != 0;
}

pid_t process_find_tracer(pid_t pid)
{
	struct thread_status status;
	pid_t traced = find_thread(pid, is_traced, 0, &status);

	return traced > 0 ? status.tracer : traced;
}

int process_name_read(pid_t pid, char name[PROCESS_NAME_MAX])
{
	char path[32];
	FILE *file;
	int code;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	code = fgets(name, PROCESS_NAME_MAX, file) ? 0 : -ESRCH;
	fclose(file);
	if (!code)
		name[strcspn(name, "\n")] = '\0';
	return code;
}
