/* SPDX-License-Identifier: MIT */
#include "process/thread_control.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process/process_status.h"
#include "support/clock.h"

/* The kernel's signal set has 64 bits; glibc's sigset_t is longer. */
#define KERNEL_SIGNALS ((void *)sizeof(uint64_t))
#define ALL_SIGNALS_BUT_TRAP (~(UINT64_C(1) << (SIGTRAP - 1)))

static int failed(const struct released_thread *thread, const char *what, struct error_text *error)
{
	int code = errno;

	return fail(error, -code, "cannot %s thread %d of process %d: %s", what, (int)thread->tid, (int)thread->pid,
		    errno_text(code));
}

/* A tracer with a filter of its own may not suspend another's: then the thread has to do with what its filter lets it. */
static int set_options(pid_t tid, unsigned long *options)
{
	int result = (int)ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)*options);

	if (result && errno == EPERM && *options & PTRACE_O_SUSPEND_SECCOMP) {
		*options &= ~(unsigned long)PTRACE_O_SUSPEND_SECCOMP;
		result = (int)ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)*options);
	}
	return result;
}

int thread_release(struct released_thread *thread, pid_t pid, pid_t tid, struct error_text *error)
{
	uint64_t blocked = ALL_SIGNALS_BUT_TRAP;
	struct thread_status status;
	unsigned long options = 0;
	int code;

	*thread = (struct released_thread){.pid = pid, .tid = tid};
	code = thread_status_read(pid, tid, &status);
	if (code)
		return fail(error, code, "thread %d of process %d is gone", (int)tid, (int)pid);
	if (!status.tracer) {
		thread_unfilter(thread, pid, tid);
		thread->seized = thread->running;
		return 0;
	}
	if (status.tracer != getpid())
		return 0;
	if (status.seccomp_mode)
		options |= PTRACE_O_SUSPEND_SECCOMP;

	if (ptrace(PTRACE_GETSIGMASK, tid, KERNEL_SIGNALS, &thread->signals))
		return failed(thread, "read the signal mask of", error);
	if (ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGNALS, &blocked))
		return failed(thread, "block the signals of", error);
	/*
	 * Its seccomp filter stays suspended, as CRIU has it for its own code: what the driver and the agent call in it
	 * is theirs and not the program's, whose filter may well end the process for it.
	 */
	if (set_options(tid, &options)) {
		code = failed(thread, "set the ptrace options of", error);
		goto restore_signals;
	}
	thread->options = options | PTRACE_O_TRACESYSGOOD;
	if (ptrace(PTRACE_CONT, tid, NULL, NULL)) {
		code = failed(thread, "continue", error);
		goto restore_signals;
	}
	thread->running = true;
	return 0;

restore_signals:
	ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGNALS, &thread->signals);
	return code;
}

/*
 * Looks whether the thread has stopped, without waiting. Returns 1 where it has in the way in which PTRACE_INTERRUPT,
 * SIGCONT and a group's stop do it; 0 where it runs, after it was handed the signal that had come, if any.
 */
static int look(struct released_thread *thread, struct error_text *error)
{
	int status = 0, signal_number;
	pid_t waited = waitpid(thread->tid, &status, __WALL | WNOHANG);

	if (waited < 0 && errno != EINTR)
		return failed(thread, "wait for", error);
	if (waited != thread->tid)
		return 0;
	if (WIFEXITED(status) || WIFSIGNALED(status))
		return fail(error, -ESRCH, "thread %d of process %d ended while it worked for the dump",
			    (int)thread->tid, (int)thread->pid);
	if (status >> 16 == PTRACE_EVENT_STOP)
		return 1;
	signal_number = WSTOPSIG(status);
	/* The one that no mask holds back. */
	if (signal_number == SIGSTOP) {
		thread->sigstop = true;
		signal_number = 0;
	}
	if (ptrace(PTRACE_CONT, thread->tid, NULL, (void *)(long)signal_number))
		return failed(thread, "hand a signal to", error);
	return 0;
}

void thread_watch(struct released_thread *thread)
{
	struct error_text error;

	/* What fails here fails again, and is told, when the thread is stopped. */
	if (thread->running && look(thread, &error) == 1)
		ptrace(PTRACE_CONT, thread->tid, NULL, NULL);
}

/* Waits for the stop that PTRACE_INTERRUPT asked for. */
static int wait_for_stop(struct released_thread *thread, unsigned int timeout_ms, struct error_text *error)
{
	uint64_t deadline = monotonic_nanoseconds() + (uint64_t)timeout_ms * 1000000u;
	const struct timespec pause = {.tv_nsec = 50000};
	int seen;

	for (;;) {
		seen = look(thread, error);
		if (seen)
			return seen < 0 ? seen : 0;
		if (monotonic_nanoseconds() > deadline)
			return fail(error, -ETIMEDOUT,
				    "thread %d of process %d did not stop within %u ms: it hangs in the kernel",
				    (int)thread->tid, (int)thread->pid, timeout_ms);
		nanosleep(&pause, NULL);
	}
}

static int stop(struct released_thread *thread, unsigned int timeout_ms, struct error_text *error)
{
	int code;

	thread->running = false;
	/* Where it has stopped already, an interrupt would wait for the next time that it is let run. */
	code = look(thread, error);
	if (code == 0 && ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL))
		return failed(thread, "stop", error);
	if (code == 0)
		code = wait_for_stop(thread, timeout_ms, error);
	return code < 0 ? code : 0;
}

void thread_unfilter(struct released_thread *thread, pid_t pid, pid_t tid)
{
	struct thread_status status;

	*thread = (struct released_thread){.pid = pid, .tid = tid};
	if (!thread_status_read(pid, tid, &status) && status.seccomp_mode && !status.tracer)
		thread->running = !ptrace(PTRACE_SEIZE, tid, NULL, (void *)PTRACE_O_SUSPEND_SECCOMP);
}

void thread_filter_again(struct released_thread *thread, unsigned int timeout_ms)
{
	struct error_text error;

	/* What does not stop stays traced, which whoever wants to trace it next says. */
	if (!thread->running || stop(thread, timeout_ms, &error))
		return;
	/* As long as it is traced nobody else can have its id. */
	if (thread->sigstop)
		tgkill(thread->pid, thread->tid, SIGSTOP);
	ptrace(PTRACE_DETACH, thread->tid, NULL, NULL);
}

int thread_stop(struct released_thread *thread, unsigned int timeout_ms, struct error_text *error)
{
	int code;

	if (!thread->running)
		return 0;
	if (thread->seized) {
		thread_filter_again(thread, timeout_ms);
		return 0;
	}
	code = stop(thread, timeout_ms, error);
	if (code)
		return code;
	if (ptrace(PTRACE_SETOPTIONS, thread->tid, NULL, (void *)thread->options))
		return failed(thread, "restore the ptrace options of", error);
	if (ptrace(PTRACE_SETSIGMASK, thread->tid, KERNEL_SIGNALS, &thread->signals))
		return failed(thread, "restore the signal mask of", error);
	return 0;
}
