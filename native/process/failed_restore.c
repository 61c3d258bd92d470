/* SPDX-License-Identifier: MIT */
#include "process/failed_restore.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "process/process_status.h"
#include "support/clock.h"
#include "support/error_text.h"
#include "support/log.h"

/*
 * Nobody's work is waited for: the kernel ends what was killed, unless a driver's call hangs in it. Whoever waits here has
 * failed already, and goes on all the same.
 */
#define DEATH_TIMEOUT_NS (10 * UINT64_C(1000000000))

/* A traced thread stays a zombie until its tracer has seen it, and the process is not dead before its last thread. */
static void reap_threads(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && tid != pid)
			waitpid(tid, NULL, __WALL | WNOHANG);
	}
	closedir(folder);
}

static bool is_dead(pid_t pid)
{
	siginfo_t info = {0};
	struct thread_status status;

	if (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG | __WALL) && info.si_pid == pid)
		return true;
	/* Neither our child nor traced by us, or reaped by somebody else. */
	return thread_status_read(pid, pid, &status) != 0 || status.state == 'X';
}

void failed_restore_kill(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t deadline = monotonic_nanoseconds() + DEATH_TIMEOUT_NS;

	if (kill(pid, SIGKILL) && errno != ESRCH)
		log_error("cannot end process %d: %s", (int)pid, errno_text(errno));
	while (!is_dead(pid)) {
		if (monotonic_nanoseconds() > deadline) {
			log_error("process %d does not end: it hangs in the kernel", (int)pid);
			return;
		}
		reap_threads(pid);
		nanosleep(&pause, NULL);
	}
}
