/* SPDX-License-Identifier: MIT */
#include "process/process_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "support/lock_holder.h"
#include "support/log.h"

#define PIDFS_MAGIC 0x50494446

/* Before, all pidfds shared one inode, and a lock on it would have kept everybody from every process. */
bool process_lock_is_one_for_all(int pidfd)
{
	struct statfs file_system;

	return fstatfs(pidfd, &file_system) == 0 && file_system.f_type == PIDFS_MAGIC;
}

int process_lock_open(pid_t pid)
{
	char path[40];
	int lock;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return lock < 0 ? -errno : lock;
}

static int try(int locked)
{
	if (!flock(locked, LOCK_EX | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

/* -EBUSY: a run has it, of another /proc, or it is not to be seen who does. */
static int try_pidfd(int lock, int pidfd)
{
	struct lock_holder holder;
	struct stat status;
	int code;

	if (!process_lock_is_one_for_all(pidfd))
		return 0;
	code = try(pidfd);
	if (code != -EBUSY || fstat(lock, &status) || !lock_is_in_other_hands(pidfd, status.st_uid))
		return code;
	/* It may have been let go of meanwhile, which looks like that. */
	if (!try(pidfd))
		return 0;
	holder = lock_holder_find(pidfd);
	log_warning(
		"Another user, in process %d (%s), holds a lock on a process that is to be dumped or restored; it is "
		"passed over, and runs of other containers are not kept from the process meanwhile",
		(int)holder.pid, holder.lives ? holder.name : "which has ended");
	return 0;
}

/* *held: which of the two another one has. */
static int try_both(int lock, int pidfd, int *held)
{
	int code = try(lock);

	*held = lock;
	if (code)
		return code;
	*held = pidfd;
	code = try_pidfd(lock, pidfd);
	if (code)
		flock(lock, LOCK_UN);
	return code;
}

int process_lock_try(int lock, int pidfd)
{
	int held;

	return try_both(lock, pidfd, &held);
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
	int lock = process_lock_open(pid), code, held;

	if (lock < 0)
		return fail(error, lock == -ENOENT ? -ESRCH : lock,
			    "process %d cannot be locked against other runs: %s", (int)pid, errno_text(-lock));
	code = try_both(lock, pidfd, &held);
	if (!code)
		return lock;
	code = code == -EBUSY ? tell_holder(held, pid, error)
			      : fail(error, code, "process %d cannot be locked against other runs: %s", (int)pid,
				     errno_text(-code));
	close(lock);
	return code;
}

void process_lock_end(int lock, int pidfd)
{
	if (lock >= 0)
		flock(lock, LOCK_UN);
	if (pidfd >= 0 && process_lock_is_one_for_all(pidfd))
		flock(pidfd, LOCK_UN);
}

void process_lock_release(int lock, int pidfd)
{
	process_lock_end(lock, pidfd);
	if (lock >= 0)
		close(lock);
}
