/* SPDX-License-Identifier: MIT */
#include "support/lock_holder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "support/plain_text.h"

static pid_t find_pid(int locked)
{
	FILE *locks = fopen("/proc/locks", "re");
	unsigned int device_major, device_minor;
	unsigned long long inode;
	struct stat status;
	pid_t holder = 0;
	char line[256];
	int pid;

	if (!locks)
		return 0;
	while (!holder && fstat(locked, &status) == 0 && fgets(line, sizeof(line), locks))
		if (sscanf(line, "%*[^:]: FLOCK %*s %*s %d %x:%x:%llu", &pid, &device_major, &device_minor, &inode) ==
			    4 &&
		    inode == status.st_ino && makedev(device_major, device_minor) == status.st_dev)
			holder = pid > 0 ? pid : 0;
	fclose(locks);
	return holder;
}

struct lock_holder lock_holder_find(int locked)
{
	struct lock_holder holder = {.pid = find_pid(locked)};
	char path[32];
	FILE *file;

	if (!holder.pid)
		return holder;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)holder.pid);
	file = fopen(path, "re");
	if (!file)
		return holder;
	holder.lives = fgets(holder.name, sizeof(holder.name), file) != NULL;
	fclose(file);
	holder.name[strcspn(holder.name, "\n")] = '\0';
	plain_text(holder.name, sizeof(holder.name));
	return holder;
}
