/* SPDX-License-Identifier: MIT */
#include "plugin/pool_start.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/log.h"

#define LOG_FILE "rekindled.log"

/* The descriptors that the pool keeps; everything above is closed. */
enum { POOL_PRIVATE_DESCRIPTOR = 3, POOL_REPORT_DESCRIPTOR = 4 };

/* What the new process tells before it becomes the pool: its id, then nothing, or why it could not. */
struct start_report {
	pid_t pid;
	int exec_error;
};

/* Finds the program: as configured, else where an installation or the build tree keeps it. */
static int find_program(const struct settings *settings, char *program, struct error_text *error)
{
	static const char *const from_plugin[] = {"../../bin/rekindled", "../../../bin/rekindled", "../bin/rekindled"};
	static const char *const elsewhere[] = {"/usr/local/bin/rekindled", "/usr/bin/rekindled"};
	char plugin[PATH_MAX] = "";
	char candidate[PATH_MAX + 32];
	Dl_info here;

	if (settings->pool_program[0]) {
		if (!realpath(settings->pool_program, program) || access(program, X_OK))
			return fail(error, -ENOENT,
				    "REKINDLE_POOL_PROGRAM=%s is no program that can be run (%s): correct the setting",
				    settings->pool_program, strerror(errno));
		return 0;
	}
	if (dladdr(__extension__(void *) pool_start, &here) && here.dli_fname && realpath(here.dli_fname, plugin)) {
		*strrchr(plugin, '/') = '\0';
		for (size_t index = 0; index < sizeof(from_plugin) / sizeof(from_plugin[0]); index++) {
			snprintf(candidate, sizeof(candidate), "%s/%s", plugin, from_plugin[index]);
			if (realpath(candidate, program) && !access(program, X_OK))
				return 0;
		}
	}
	for (size_t index = 0; index < sizeof(elsewhere) / sizeof(elsewhere[0]); index++)
		if (realpath(elsewhere[index], program) && !access(program, X_OK))
			return 0;
	return fail(error, -ENOENT,
		    "the pool program rekindled is neither beside the plugin (%s) nor in /usr/local/bin or /usr/bin: "
		    "install "
		    "it, or set REKINDLE_POOL_PROGRAM to its path",
		    plugin);
}

/* The log goes beside CRIU's; without a place for it the pool still serves. */
static int open_log(int work_folder)
{
	int log = openat(work_folder, LOG_FILE, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (log < 0) {
		log_warning("cannot write " LOG_FILE " in the work folder (%s): the pool runs without a log",
			    strerror(errno));
		log = open("/dev/null", O_WRONLY | O_CLOEXEC);
	}
	return log;
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

	umask(077);
	if (private_end < 0 && chdir("/"))
		_exit(1);
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

	code = find_program(settings, program, error);
	if (code)
		goto out;
	log = open_log(work_folder);
	if (log < 0 || pipe2(report_pipe, O_CLOEXEC)) {
		code = fail(error, -errno, "cannot start the pool: %s", strerror(errno));
		goto out;
	}
	child = fork();
	if (child < 0) {
		code = fail(error, -errno, "cannot start the pool: fork: %s", strerror(errno));
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
		fail(error, code, "cannot start the pool: the new process ended before it ran %s", program);
		goto out;
	}
	if (report.exec_error) {
		code = fail(error, -report.exec_error, "cannot run the pool program %s: %s", program,
			    strerror(report.exec_error));
		goto out;
	}
	code = (int)syscall(SYS_pidfd_open, report.pid, 0);
	if (code < 0)
		code = fail(error, -errno, "the pool (%s) ended at once: see " LOG_FILE " in the work folder", program);
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
