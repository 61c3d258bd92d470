/* SPDX-License-Identifier: MIT */
#include "process/process_devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool is_nvidia_device(const char *path)
{
	const char *name = strrchr(path, '/');
	size_t length = strlen(path);

	/* The driver's libraries are called libnvidia, its files of /proc nvidia too. */
	return name && !strncmp(name + 1, "nvidia", 6) && strncmp(path, "/proc/", 6) && strncmp(path, "/sys/", 5) &&
	       (length < 3 || !strstr(name, ".so"));
}

bool is_device_file(int folder, const char *name)
{
	struct stat file;

	return fstatat(folder, name, &file, 0) || S_ISCHR(file.st_mode) || S_ISBLK(file.st_mode);
}

static bool is_mapped_device(pid_t pid, const char *line)
{
	unsigned long start, end;
	char path[96];

	if (sscanf(line, "%lx-%lx", &start, &end) != 2)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, start, end);
	return is_device_file(AT_FDCWD, path);
}

static int has_mapped(pid_t pid)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -ESRCH;
	while (!found && getline(&line, &capacity, file) >= 0) {
		char *name = strchr(line, '/');

		line[strcspn(line, "\n")] = '\0';
		found = name && is_nvidia_device(name) && is_mapped_device(pid, line);
	}
	free(line);
	fclose(file);
	return found;
}

static int has_open(pid_t pid)
{
	char path[64], target[PATH_MAX];
	struct dirent *entry;
	int found = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	if (!folder)
		return -ESRCH;
	while (!found && (entry = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);

		target[length > 0 ? length : 0] = '\0';
		found = is_nvidia_device(target) && is_device_file(dirfd(folder), entry->d_name);
	}
	closedir(folder);
	return found;
}

int process_has_devices(pid_t pid)
{
	int found = has_mapped(pid);

	return found ? found : has_open(pid);
}
