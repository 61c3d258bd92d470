/* SPDX-License-Identifier: MIT */
#include "client/pool_start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "settings/program_find.h"
#include "support/log.h"

#define LOG_FILE "rekindled.log"

/* The descriptors that the pool keeps; everything above is closed. */
enum { POOL_PRIVATE_DESCRIPTOR = 3, POOL_REPORT_DESCRIPTOR = 4 };

/* What the new process tells before it becomes the pool: its id, then nothing, or why it could not. */
struct start_report {
	pid_t pid;
	int exec_error;
};

/* The log goes beside CRIU's; without a place for it the pool still serves. */
static int open_log(int work_folder)
{
	int log = openat(work_folder, LOG_FILE, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
			 0600);

	if (log < 0) {
		log_warning("cannot write " LOG_FILE " in the work folder (%s): the pool runs without a log",
			    errno_text(errno));
		log = open("/dev/null", O_WRONLY | O_CLOEXEC);
	}
	return log;
}

/*
 * What whoever started CRIU has set for that run only: a limit on the size of files (a run is cancelled by one), code
 * for other programs. A pool that stays also has later runs, whatever this one's weight is.
 */
static void reset_environment(bool stays)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	const struct sched_param parameters = {0};

	setrlimit(RLIMIT_FSIZE, &unlimited);
	setrlimit(RLIMIT_CPU, &unlimited);
	unsetenv("LD_PRELOAD");
	unsetenv("LD_AUDIT");
	umask(077);
	if (!stays)
		return;
	sched_setscheduler(0, SCHED_OTHER, &parameters);
	setpriority(PRIO_PROCESS, 0, 0);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
}

static void reset_signals(void)
{
	struct sigaction normal = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		sigaction(number, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the new process and does not return. */
static void become_pool(const char *program, const struct settings *settings, int log, int private_end, int report_end)
{
	struct start_report report = {.pid = getpid()};
	char number[16], idle[16];
	const char *arguments[6] = {program};
	int null = open("/dev/null", O_RDONLY);
	int last = POOL_REPORT_DESCRIPTOR;

	snprintf(number, sizeof(number), "%d", POOL_PRIVATE_DESCRIPTOR);
	snprintf(idle, sizeof(idle), "%u", settings->idle_seconds);
	if (private_end >= 0) {
		arguments[1] = "--private-descriptor";
		arguments[2] = number;
	} else {
		arguments[1] = "--socket";
		arguments[2] = settings->pool_socket;
		arguments[3] = "--idle";
		arguments[4] = idle;
	}

	/* Above everything that is about to be overwritten. */
	null = fcntl(null, F_DUPFD_CLOEXEC, 10);
	log = fcntl(log, F_DUPFD_CLOEXEC, 10);
	report_end = fcntl(report_end, F_DUPFD_CLOEXEC, 10);
	private_end = private_end >= 0 ? fcntl(private_end, F_DUPFD_CLOEXEC, 10) : -1;
	if (null < 0 || log < 0 || report_end < 0 || write(report_end, &report, sizeof(report)) < 0)
		_exit(1);
	dup2(null, STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	close(POOL_PRIVATE_DESCRIPTOR);
	if (private_end >= 0)
		dup2(private_end, POOL_PRIVATE_DESCRIPTOR);
	dup3(report_end, POOL_REPORT_DESCRIPTOR, O_CLOEXEC);
	syscall(SYS_close_range, last + 1, ~0u, 0);

	/* The folder in which CRIU runs may have to be unmounted before the pool ends. */
	if (chdir("/"))
		_exit(1);
	reset_environment(private_end < 0);
	reset_signals();
	execv(program, (char *const *)arguments);
	report.exec_error = errno;
	(void)!write(POOL_REPORT_DESCRIPTOR, &report, sizeof(report));
	_exit(1);
}

/* Reads what the new process tells, until it has become the pool (its end closes on exec). */
static int read_report(int report_end, struct start_report *report)
{
	struct start_report next;
	bool any = false;
	ssize_t got;

	while ((got = read(report_end, &next, sizeof(next))) == (ssize_t)sizeof(next) || (got < 0 && errno == EINTR)) {
		if (got > 0) {
			*report = next;
			any = true;
		}
	}
	return any ? 0 : -ECHILD;
}

int pool_start(const struct settings *settings, int work_folder, int private_end, struct error_text *error)
{
	struct start_report report = {0};
	char program[PATH_MAX];
	int report_pipe[2] = {-1, -1};
	sigset_t child_signal, old_signals;
	int log = -1;
	pid_t child;
	int code;

	/* The one who waits for our child must be us, not a SIGCHLD handler of CRIU's. */
	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, &old_signals);

	code = pool_program_find(settings, program, error);
	if (code)
		goto out;
	log = open_log(work_folder);
	if (log < 0 || pipe2(report_pipe, O_CLOEXEC)) {
		code = fail(error, -errno, "cannot start the pool: %s", errno_text(errno));
		goto out;
	}
	child = fork();
	if (child < 0) {
		code = fail(error, -errno, "cannot start the pool: fork: %s", errno_text(errno));
		goto out;
	}
	if (!child) {
		/* The second fork leaves the pool without a parent here. */
		if (setsid() < 0)
			_exit(1);
		child = fork();
		if (!child)
			become_pool(program, settings, log, private_end, report_pipe[1]);
		_exit(child < 0);
	}
	close(report_pipe[1]);
	report_pipe[1] = -1;
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	code = read_report(report_pipe[0], &report);
	if (code) {
		code = fail(error, -ECONNREFUSED, "cannot start the pool: the new process ended before it ran %s",
			    program);
		goto out;
	}
	if (report.exec_error) {
		code = fail(error, -ECONNREFUSED, "cannot run the pool program %s: %s", program,
			    errno_text(report.exec_error));
		goto out;
	}
	code = (int)syscall(SYS_pidfd_open, report.pid, 0);
	if (code < 0 && errno == ESRCH)
		code = fail(error, -ESRCH, "the pool (%s) ended at once: see " LOG_FILE " in the work folder", program);
	else if (code < 0)
		code = fail(error, -errno, "cannot hold the pool's process %d: %s", (int)report.pid, errno_text(errno));
	else
		log_info("started the pool %s as process %d", program, (int)report.pid);
out:
	for (int end = 0; end < 2; end++)
		if (report_pipe[end] >= 0)
			close(report_pipe[end]);
	if (log >= 0)
		close(log);
	sigprocmask(SIG_SETMASK, &old_signals, NULL);
	return code;
}

int pool_has_ended(int pidfd, int timeout_ms)
{
	struct pollfd process = {.fd = pidfd, .events = POLLIN};

	return poll(&process, 1, timeout_ms) > 0;
}
