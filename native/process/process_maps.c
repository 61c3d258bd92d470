/* SPDX-License-Identifier: MIT */
#include "process/process_maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "protocol/agent_protocol.h"

static bool is_library(const char *path, const char *begin)
{
	const char *name = strrchr(path, '/');

	return name && !strncmp(name + 1, begin, strlen(begin));
}

static bool is_agent_page(const char *path)
{
	static const char name[] = "/memfd:" AGENT_PAGE_NAME;
	const char *rest = path + strlen(name);

	if (strncmp(path, name, strlen(name)))
		return false;
	return !*rest || !strcmp(rest, " (deleted)");
}

/*
 * The file system of all memfds. A file of the page's name can lie elsewhere too, and reading memory of one that the
 * program itself serves (FUSE) takes as long as it likes.
 */
static bool is_of_memfds(unsigned int device_major, unsigned int device_minor)
{
	int memfd = memfd_create("rekindle-compare", MFD_CLOEXEC);
	struct stat own;
	bool same;

	if (memfd < 0)
		return false;
	same = !fstat(memfd, &own) && major(own.st_dev) == device_major && minor(own.st_dev) == device_minor;
	close(memfd);
	return same;
}

void process_maps_take_line(struct process_maps *maps, const char *line)
{
	unsigned int device_major, device_minor;
	uint64_t start;
	int path_at = 0;
	char path[4096];

	/* start-end permissions offset device inode path */
	if (sscanf(line, "%" SCNx64 "-%*x %*s %*x %x:%x %*u %n", &start, &device_major, &device_minor, &path_at) != 3 ||
	    !path_at)
		return;
	snprintf(path, sizeof(path), "%s", line + path_at);
	path[strcspn(path, "\n")] = '\0';
	if (is_library(path, "libcuda.so")) {
		if (!maps->has_cuda_library)
			maps->cuda_library = start;
		maps->has_cuda_library = true;
	} else if (is_library(path, AGENT_LIBRARY)) {
		maps->has_agent_library = true;
	} else if (is_agent_page(path) && maps->agent_page_count < PROCESS_MAPS_AGENT_PAGES_MAX &&
		   is_of_memfds(device_major, device_minor)) {
		maps->agent_pages[maps->agent_page_count++] = start;
	}
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
			    errno_text(errno));
	errno = 0;
	while (getline(&line, &capacity, file) >= 0)
		process_maps_take_line(maps, line);
	if (ferror(file) && errno == ESRCH)
		code = fail(error, -ESRCH, "process %d is gone", (int)pid);
	else if (ferror(file))
		code = fail(error, errno ? -errno : -EIO, "cannot read %s to see whether the process uses CUDA: %s",
			    path, errno_text(errno));
	free(line);
	fclose(file);
	return code;
}
