/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/inspection_internal.h"

static int look_at_line(const struct look *look, const char *line)
{
	uint64_t start, end;
	char file[96];
	const char *path;
	struct stat status;
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*x %*x:%*x %*u %n", &start, &end, &path_at) != 2 || !path_at)
		return 0;
	path = line + path_at;
	if (!strcmp(path, "anon_inode:[io_uring]"))
		return add_io_uring(look);
	snprintf(file, sizeof(file), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)look->process->pid, start, end);
	if (is_nvidia_device(path) && is_device_file(AT_FDCWD, file))
		look->process->has_device = true;
	if (!look->options->known || !is_deleted(path) || is_memory_file(path))
		return 0;
	return stat(file, &status) ? 0 : look_at_deleted(look, path, &status);
}

int look_at_mappings(const struct look *look)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	FILE *file;
	int code = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)look->process->pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (!code && getline(&line, &capacity, file) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		code = look_at_line(look, line);
	}
	free(line);
	fclose(file);
	return code;
}
