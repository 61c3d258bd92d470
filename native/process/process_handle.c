/* SPDX-License-Identifier: MIT */
#include "process/process_handle.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process/process_lock.h"

int process_handle_open(struct process_handle *handle, pid_t pid, struct error_text *error)
{
	*handle = PROCESS_HANDLE_NONE;
	handle->pid = pid;
	handle->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (handle->pidfd < 0)
		return fail(error, -errno, "process %d cannot be opened: %s", (int)pid, errno_text(errno));
	handle->lock = process_lock_take(handle->pidfd, pid, error);
	/* The folder in /proc may be a later process's; the pidfd is not. */
	if (handle->lock >= 0 && !process_handle_has_ended(handle))
		return 0;
	if (handle->lock >= 0) {
		close(handle->lock);
		handle->lock = fail(error, -ESRCH, "process %d has ended", (int)pid);
	}
	close(handle->pidfd);
	handle->pidfd = -1;
	return handle->lock;
}

bool process_handle_has_ended(const struct process_handle *handle)
{
	struct pollfd process = {.fd = handle->pidfd, .events = POLLIN};

	return poll(&process, 1, 0) > 0;
}

int process_handle_signal(const struct process_handle *handle, int number)
{
	return syscall(SYS_pidfd_send_signal, handle->pidfd, number, NULL, 0) ? -errno : 0;
}

void process_handle_release(struct process_handle *handle)
{
	process_lock_release(handle->lock, handle->pidfd);
	handle->lock = -1;
	process_handle_close(handle);
}

void process_handle_close(struct process_handle *handle)
{
	if (handle->lock >= 0)
		close(handle->lock);
	if (handle->pidfd >= 0)
		close(handle->pidfd);
	handle->lock = -1;
	handle->pidfd = -1;
}
