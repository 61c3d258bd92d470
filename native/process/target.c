/* SPDX-License-Identifier: MIT */
#include "process/target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process/process_status.h"
#include "process/process_tree.h"

/* What the kernel says of the process behind a pidfd: its number here, 0 where it is not seen here, -1 where it ended. */
static int read_pid(int pidfd, int *pid)
{
	int result = -EPROTO;
	char line[128];
	char path[48];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (result && fgets(line, sizeof(line), file))
		if (sscanf(line, "Pid: %d", pid) == 1)
			result = 0;
	fclose(file);
	return result;
}

int target_open(struct target *target, int pidfd, pid_t named, struct error_text *error)
{
	int pid = 0, result = pidfd >= 0 ? read_pid(pidfd, &pid) : -EPROTO;

	if (result)
		return fail(error, result, "The request names no process by a pidfd");
	if (pid == 0)
		return fail(error, -EXDEV,
			    "Process %d is not visible in the pid namespace of this pool: use a pool on the host or "
			    "in the same container (REKINDLE_POOL_SOCKET)",
			    (int)named);
	if (pid < 0)
		return fail(error, -ESRCH, "Process %d has ended", (int)named);
	*target = (struct target){.pidfd = pidfd, .pid = pid, .named = named};
	return 0;
}

bool target_has_ended(const struct target *target)
{
	struct pollfd process = {.fd = target->pidfd, .events = POLLIN};

	return poll(&process, 1, 0) > 0;
}

bool target_is_ending(const struct target *target)
{
	struct process_facts facts;

	/* What cannot be read, for want of a descriptor say, tells of no end: its image may be all there is of it. */
	if (!target_has_ended(target) && process_facts_read(target->pid, &facts) == 0 && facts.ending)
		return true;
	return target_has_ended(target);
}

int target_must_live(const struct target *target, struct error_text *error)
{
	return target_has_ended(target) ? fail(error, -ESRCH, "Process %d has ended", (int)target->named) : 0;
}

int target_signal(const struct target *target, int number)
{
	return syscall(SYS_pidfd_send_signal, target->pidfd, number, NULL, 0) ? -errno : 0;
}

void target_close(struct target *target)
{
	if (target->pidfd >= 0)
		close(target->pidfd);
	target->pidfd = -1;
}

pid_t target_own_pid(const struct target *target)
{
	struct thread_status status;

	if (thread_status_read(target->pid, target->pid, &status) || target_has_ended(target))
		return 0;
	return status.namespace_id;
}
