/* SPDX-License-Identifier: MIT */
#include "store/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/lock_holder.h"
#include "support/log.h"

static int take(int lock, bool shared)
{
	int result;

	do
		result = flock(lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
	while (result < 0 && errno == EINTR);
	return result;
}

/*
 * Whoever may read the folder may lock it. What only users have whom it does not concern keeps nobody out; then there is no
 * lock.
 */
static bool is_passed_over(int lock, bool shared)
{
	struct stat status;

	if (fstat(lock, &status) || !lock_is_in_other_hands(lock, status.st_uid))
		return false;
	/* They may have let go of it. */
	if (take(lock, shared))
		log_warning("another user holds a lock on the folder of images, which is passed over: no other run may "
			    "use the folder meanwhile. Let nobody else read it (mode 0700)");
	return true;
}

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
	int lock = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), code, result;

	if (lock < 0)
		return fail(error, -errno, "cannot open the folder of images: %s", errno_text(errno));
	if (take(lock, shared) == 0)
		return lock;
	code = errno;
	if (code == EWOULDBLOCK && is_passed_over(lock, shared))
		return lock;
	if (code == EWOULDBLOCK) {
		result = busy(lock, error);
		close(lock);
		return result;
	}
	log_warning("the file system of the images knows no locks (%s): no other run may use this folder meanwhile",
		    errno_text(code));
	return lock;
}

int folder_lock_share(int lock, struct error_text *error)
{
	/* Where it cannot be locked at all, folder_lock has said so. */
	return take(lock, true) && errno == EWOULDBLOCK && !is_passed_over(lock, true) ? busy(lock, error) : 0;
}

void folder_unlock(int lock)
{
	if (lock < 0)
		return;
	flock(lock, LOCK_UN);
	close(lock);
}
