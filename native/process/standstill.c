/* SPDX-License-Identifier: MIT */
#include "process/standstill.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process/process_status.h"
#include "support/clock.h"

#define BIT_OF(signal_number) (UINT64_C(1) << ((signal_number) - 1))

/* The threads are stopped already, and run to no instruction of their own: not a wait for anybody's work. */
#define ANY_TIME_MS 1000u

struct standing_thread {
	pid_t tid;
	bool under_way; /* on the way back */
};

static bool is_one_of(pid_t tid, const pid_t *threads, size_t count)
{
	for (size_t index = 0; index < count; index++)
		if (threads[index] == tid)
			return true;
	return false;
}

static int add(struct standstill *standstill, pid_t tid, struct error_text *error)
{
	struct standing_thread *more = realloc(standstill->threads, (standstill->count + 1) * sizeof(*more));

	if (!more)
		return fail(error, -ENOMEM, "Out of memory");
	standstill->threads = more;
	if (syscall(SYS_tgkill, standstill->pid, tid, SIGSTOP))
		return errno == ESRCH ? 0
				      : fail(error, -errno, "cannot send thread %d of process %d a signal: %s",
					     (int)tid, (int)standstill->pid, errno_text(errno));
	more[standstill->count++] = (struct standing_thread){.tid = tid};
	return 0;
}

int standstill_begin(struct standstill *standstill, pid_t pid, const pid_t *except, size_t except_count,
		     struct error_text *error)
{
	struct thread_status status;
	struct dirent *entry;
	char path[64];
	int code = 0;
	DIR *folder;

	if (standstill->pid)
		return 0;
	*standstill = (struct standstill){.pid = pid};
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return fail(error, -errno, "cannot open %s: %s", path, errno_text(errno));
	while (!code && (entry = readdir(folder))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && !is_one_of(tid, except, except_count) && !thread_status_read(pid, tid, &status) &&
		    status.state == 't' && status.tracer == getpid())
			code = add(standstill, tid, error);
	}
	closedir(folder);
	if (code)
		standstill_end(standstill, ANY_TIME_MS, NULL);
	return code;
}

/*
 * Returns its next stop, as siginfo_t has it: the signal, and an event of ptrace above it; 0 where it has ended; a negative
 * errno code. The stop is still to be waited for: with a tracer that dies a signal is delivered, but no more once its stop
 * has been waited for.
 */
static int wait_for_stop(pid_t pid, pid_t tid, unsigned int timeout_ms, struct error_text *error)
{
	uint64_t deadline = monotonic_nanoseconds() + timeout_ms * UINT64_C(1000000);
	const struct timespec pause = {.tv_nsec = 20000};

	for (;;) {
		siginfo_t info = {.si_pid = 0};
		int code = waitid(P_PID, (id_t)tid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL);

		if (!code && info.si_pid == tid)
			return info.si_code == CLD_TRAPPED ? info.si_status : 0;
		if (code && errno == ECHILD)
			return 0;
		if (monotonic_nanoseconds() > deadline)
			return fail(error, -ETIMEDOUT, "thread %d of process %d did not stop within %u ms", (int)tid,
				    (int)pid, timeout_ms);
		nanosleep(&pause, NULL);
	}
}

static bool has_waiting_stop(pid_t pid, pid_t tid)
{
	struct thread_status status;

	return !thread_status_read(pid, tid, &status) && status.pending & BIT_OF(SIGSTOP);
}

/*
 * Lets it run to the signal, and to nothing of its program. Where somebody's SIGCONT has taken the signal away, the kernel
 * owes the thread another stop, which CRIU would not expect: that one is taken, too.
 */
static void set_out(pid_t pid, struct standing_thread *thread)
{
	if (!has_waiting_stop(pid, thread->tid))
		ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL);
	thread->under_way = !ptrace(PTRACE_CONT, thread->tid, NULL, NULL);
}

/*
 * It stops for the signal, and goes on without it to the stop that it came from. A signal of its own that comes before is
 * delivered: its handler begins when the thread runs again. Holding it back would take a mask, which a tracer that is
 * killed would leave to the program.
 */
static int turn_round(pid_t pid, pid_t tid, unsigned int timeout_ms, struct error_text *error)
{
	int stop, signal_number;

	for (;;) {
		stop = wait_for_stop(pid, tid, timeout_ms, error);
		if (stop < 0)
			return stop;
		if (!stop || (stop >> 8 == PTRACE_EVENT_STOP && !has_waiting_stop(pid, tid)))
			break;
		signal_number = stop >> 8 ? 0 : stop;
		if (signal_number == SIGSTOP) {
			ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
			signal_number = 0;
		}
		ptrace(PTRACE_CONT, tid, NULL, (void *)(long)signal_number);
	}
	waitpid(tid, NULL, __WALL | WNOHANG);
	return 0;
}

int standstill_end(struct standstill *standstill, unsigned int timeout_ms, struct error_text *error)
{
	struct error_text other;
	int code = 0, one;

	/* All at once: each waits for the scheduler, and there may be many. */
	for (size_t index = 0; index < standstill->count; index++)
		set_out(standstill->pid, &standstill->threads[index]);
	for (size_t index = 0; index < standstill->count; index++) {
		struct standing_thread *thread = &standstill->threads[index];

		if (!thread->under_way)
			continue;
		one = turn_round(standstill->pid, thread->tid, timeout_ms, code ? &other : error);
		if (!code)
			code = one;
	}
	standstill_leave(standstill);
	return code;
}

void standstill_leave(struct standstill *standstill)
{
	free(standstill->threads);
	*standstill = STANDSTILL_NONE;
}
