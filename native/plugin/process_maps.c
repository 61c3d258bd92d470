/* SPDX-License-Identifier: MIT */
#include "plugin/process_maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/agent_protocol.h"

static bool is_cuda_library(const char *path)
{
	const char *name = strrchr(path, '/');

	return name && !strncmp(name + 1, "libcuda.so", strlen("libcuda.so"));
}

static bool is_agent_page(const char *path)
{
	static const char name[] = "/memfd:" AGENT_PAGE_NAME;
	const char *rest = path + strlen(name);

	if (strncmp(path, name, strlen(name)))
		return false;
	return !*rest || !strcmp(rest, " (deleted)");
}

void process_maps_take_line(struct process_maps *maps, const char *line)
{
	uint64_t start;
	int path_at = 0;
	char path[4096];

	/* start-end permissions offset device inode path */
	if (sscanf(line, "%" SCNx64 "-%*x %*s %*x %*x:%*x %*u %n", &start, &path_at) != 1 || !path_at)
		return;
	snprintf(path, sizeof(path), "%s", line + path_at);
	path[strcspn(path, "\n")] = '\0';
	if (is_cuda_library(path))
		maps->has_cuda_library = true;
	else if (is_agent_page(path) && maps->agent_page_count < PROCESS_MAPS_AGENT_PAGES_MAX)
		maps->agent_pages[maps->agent_page_count++] = start;
}

int process_maps_read(pid_t pid, struct process_maps *maps, struct error_text *error)
{
	char path[64];
	char *line = NULL;
	size_t capacity = 0;
	FILE *file;
	int code = 0;

	memset(maps, 0, sizeof(*maps));
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file && (errno == ENOENT || errno == ESRCH))
		return fail(error, -ESRCH, "process %d is gone", (int)pid);
	if (!file)
		return fail(error, -errno, "cannot open %s to see whether the process uses CUDA: %s", path,
			    strerror(errno));
	errno = 0;
	while (getline(&line, &capacity, file) >= 0)
		process_maps_take_line(maps, line);
	if (ferror(file) && errno == ESRCH)
		code = fail(error, -ESRCH, "process %d is gone", (int)pid);
	else if (ferror(file))
		code = fail(error, errno ? -errno : -EIO, "cannot read %s to see whether the process uses CUDA: %s",
			    path, strerror(errno));
	free(line);
	fclose(file);
	return code;
}
