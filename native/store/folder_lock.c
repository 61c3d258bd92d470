/* SPDX-License-Identifier: MIT */
#include "store/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "support/lock_holder.h"
#include "support/log.h"

static int busy(int folder, struct error_text *error)
{
	struct lock_holder holder = lock_holder_find(folder);

	if (holder.lives)
		return fail(error, -EBUSY,
			    "process %d (%s) is at work in this folder of images: wait for its end, or use another "
			    "folder",
			    (int)holder.pid, holder.name);
	return fail(error, -EBUSY, "another run is at work in this folder of images, whose criu has ended%s: %s",
		    holder.pid ? "" : " or is in another pid namespace",
		    holder.pid ? "its pool still finishes it; try again in a moment, or use another folder"
			       : "try again when that run is over, or use another folder");
}

int folder_lock(int folder, bool shared, struct error_text *error)
{
	int lock = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

	if (lock < 0)
		return fail(error, -errno, "cannot open the folder of images: %s", errno_text(errno));
	do
		result = flock(lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
	while (result < 0 && errno == EINTR);
	if (result == 0)
		return lock;
	if (errno == EWOULDBLOCK) {
		result = busy(lock, error);
		close(lock);
		return result;
	}
	log_warning("the file system of the images knows no locks (%s): no other run may use this folder meanwhile",
		    errno_text(errno));
	return lock;
}

int folder_lock_share(int lock, struct error_text *error)
{
	/* Where it cannot be locked at all, folder_lock has said so. */
	return flock(lock, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK ? busy(lock, error) : 0;
}

void folder_unlock(int lock)
{
	if (lock < 0)
		return;
	flock(lock, LOCK_UN);
	close(lock);
}
