/* SPDX-License-Identifier: MIT */
#include "support/lock_holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "support/plain_text.h"

/* Is it the kernel's line of a lock on that file, behind its number? */
static bool is_lock_on(const char *text, const struct stat *file, pid_t *taker)
{
	unsigned int device_major, device_minor;
	unsigned long long inode;

	return sscanf(text, " FLOCK %*s %*s %d %x:%x:%llu", taker, &device_major, &device_minor, &inode) == 4 &&
	       inode == file->st_ino && makedev(device_major, device_minor) == file->st_dev;
}

static pid_t find_pid(int locked)
{
	FILE *locks = fopen("/proc/locks", "re");
	struct stat status;
	pid_t holder = 0, pid;
	char line[256], *colon;

	if (!locks)
		return 0;
	while (!holder && fstat(locked, &status) == 0 && fgets(line, sizeof(line), locks)) {
		colon = strchr(line, ':');
		if (colon && is_lock_on(colon + 1, &status, &pid))
			holder = pid > 0 ? pid : 0;
	}
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

/* ---- in whose hands it is ---- */

/* Is the lock that of this open file of a process? */
static bool has_lock(int descriptors, const char *number, const struct stat *locked)
{
	int descriptor = openat(descriptors, number, O_RDONLY | O_CLOEXEC);
	FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "r");
	char line[256], *colon;
	bool found = false;
	pid_t taker;

	if (!file && descriptor >= 0)
		close(descriptor);
	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		colon = strncmp(line, "lock:", 5) ? NULL : strchr(line + 5, ':');
		found = colon && is_lock_on(colon + 1, locked, &taker);
	}
	fclose(file);
	return found;
}

static bool process_has_lock(int process, const struct stat *locked)
{
	int folder = openat(process, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *descriptors = folder < 0 ? NULL : fdopendir(folder);
	struct dirent *entry;
	bool found = false;

	if (!descriptors && folder >= 0)
		close(folder);
	if (!descriptors)
		return false;
	while (!found && (entry = readdir(descriptors)))
		found = isdigit((unsigned char)entry->d_name[0]) && has_lock(folder, entry->d_name, locked);
	closedir(descriptors);
	return found;
}

/* Who started it: a program with the rights of its owner is whoever's that runs it. */
static bool read_user(int process, uid_t *user)
{
	int descriptor = openat(process, "status", O_RDONLY | O_CLOEXEC);
	FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "r");
	bool found = false;
	char line[256];

	if (!file && descriptor >= 0)
		close(descriptor);
	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "Uid: %u", user) == 1;
	if (file)
		fclose(file);
	return found;
}

/* Is this the first pid namespace, which sees all processes, and root there, who may look at them? */
static bool sees_all(void)
{
	struct stat status;

	/* PROC_PID_INIT_INO of the kernel. */
	return geteuid() == 0 && stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == 0xEFFFFFFCu;
}

enum hands { NOBODYS_HANDS, OTHER_HANDS, CONCERNED_HANDS };

static enum hands look_for_hands(const struct stat *locked, uid_t owner)
{
	enum hands hands = NOBODYS_HANDS;
	DIR *all = opendir("/proc");
	struct dirent *entry;
	uid_t user;
	int process;

	while (all && hands != CONCERNED_HANDS && (entry = readdir(all))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		process = openat(dirfd(all), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (process < 0)
			continue;
		if (process_has_lock(process, locked))
			hands = !read_user(process, &user) || user == 0 || user == geteuid() || user == owner
					? CONCERNED_HANDS
					: OTHER_HANDS;
		close(process);
	}
	if (all)
		closedir(all);
	return all ? hands : CONCERNED_HANDS;
}

bool lock_is_in_other_hands(int locked, uid_t owner)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	enum hands hands = NOBODYS_HANDS;
	struct stat status;
	int times;

	if (fstat(locked, &status))
		return false;
	/* It may go from one to another just then. */
	for (times = 0; hands == NOBODYS_HANDS && times < 3; times++) {
		if (times)
			nanosleep(&pause, NULL);
		hands = look_for_hands(&status, owner);
	}
	/* One that nobody has is on its way in a socket, for long: a run has its own in its hands. */
	return hands == OTHER_HANDS || (hands == NOBODYS_HANDS && sees_all());
}
