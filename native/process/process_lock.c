/* SPDX-License-Identifier: MIT */
#include "process/process_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "support/lock_holder.h"

#define PIDFS_MAGIC 0x50494446

/* Before, all pidfds shared one inode, and a lock on it would have kept everybody from every process. */
static bool has_an_inode_of_its_own(int pidfd)
{
	struct statfs file_system;

	return fstatfs(pidfd, &file_system) == 0 && file_system.f_type == PIDFS_MAGIC;
}

static int open_what_is_locked(int pidfd, pid_t pid)
{
	char path[32];

	if (has_an_inode_of_its_own(pidfd))
		return fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int tell_holder(int locked, pid_t pid, struct error_text *error)
{
	struct lock_holder holder = lock_holder_find(locked);

	if (holder.lives)
		return fail(error, -EBUSY,
			    "process %d is in the hands of another run, process %d (%s): wait until that has ended",
			    (int)pid, (int)holder.pid, holder.name);
	return fail(error, -EBUSY, "process %d is in the hands of another run, whose criu has ended%s: %s", (int)pid,
		    holder.pid ? "" : " or is in another pid namespace",
		    holder.pid ? "its pool is bringing the process back, try again in a moment"
			       : "try again when that run is over");
}

int process_lock_take(int pidfd, pid_t pid, struct error_text *error)
{
	int lock = open_what_is_locked(pidfd, pid);
	int code;

	if (lock < 0)
		return fail(error, errno == ENOENT ? -ESRCH : -errno,
			    "process %d cannot be locked against other runs: %s", (int)pid, errno_text(errno));
	if (!flock(lock, LOCK_EX | LOCK_NB))
		return lock;
	code = errno == EWOULDBLOCK ? tell_holder(lock, pid, error)
				    : fail(error, -errno, "process %d cannot be locked against other runs: %s",
					   (int)pid, errno_text(errno));
	close(lock);
	return code;
}

void process_lock_release(int lock)
{
	if (lock < 0)
		return;
	flock(lock, LOCK_UN);
	close(lock);
}
