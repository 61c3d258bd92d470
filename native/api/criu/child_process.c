/* SPDX-License-Identifier: MIT */
#include "api/criu/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/call/report.h"

/*
 * The child's half of vfork: it shares our memory, so it only makes system calls, and it stores its error before it
 * ends. fork would copy the page tables of what may be a very large program.
 */
static void become(const struct child_start *start, int null_file, int output, volatile int *child_error)
{
	static const int of_the_terminal[] = {SIGHUP, SIGINT, SIGQUIT};
	struct sigaction action = {.sa_handler = SIG_IGN};
	/* All zero is SIG_DFL. glibc's function refuses the two signals of its own, which children of a JVM may ignore. */
	static const unsigned long kernel_default[8];
	sigset_t none;
	int number;

	for (number = 1; number < NSIG; number++)
		syscall(SYS_rt_sigaction, number, kernel_default, NULL, NSIG / 8);
	sigaction(SIGXFSZ, &action, NULL);
	/* A terminal's Ctrl-C must not end CRIU in the middle of a dump: that is what cancellation is for. What CRIU restores
	 * has its own dispositions. */
	for (number = 0; start->keep_terminal && number < 3; number++)
		sigaction(of_the_terminal[number], &action, NULL);
	if (!start->keep_terminal && setpgid(0, 0))
		goto failed;
	if (!start->keep_terminal && dup2(null_file, STDIN_FILENO) < 0)
		goto failed;
	if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
		goto failed;
	/* Descriptors of the calling program, not all of which need be close-on-exec. */
	syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(start->program, start->arguments, start->variables);
failed:
	*child_error = errno;
	_exit(127);
}

int child_start(struct child_process *child, const struct child_start *start, struct error_text *error)
{
	volatile int child_error = 0;
	int null_file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t all, before;
	pid_t pid;
	int result;

	child->pid = -1;
	child->pidfd = -1;
	child->output = memfd_create("rekindle-output", MFD_CLOEXEC);
	if (child->output < 0 || null_file < 0) {
		result = fail(error, -errno, "Cannot prepare a start of %s: %s.", start->program, errno_text(errno));
		goto out;
	}
	/* No handler of ours may run in the child while it shares our memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (pid == 0)
		become(start, null_file, child->output, &child_error);
	result = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result) {
		fail(error, result, "Cannot start %s: %s.", start->program, errno_text(-result));
		goto out;
	}
	child->pid = pid;
	if (child_error) {
		result = fail(error, -child_error, "Cannot start %s: %s.", start->program, errno_text(child_error));
		waitpid(pid, NULL, 0);
		goto out;
	}
	child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (child->pidfd < 0) {
		result = fail(error, -errno, "Cannot watch %s: %s.", start->program, errno_text(errno));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
out:
	if (null_file >= 0)
		close(null_file);
	if (result)
		child_free(child);
	return result;
}

int child_wait(const struct child_process *child, int timeout_ms)
{
	struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
	int count = poll(&end, 1, timeout_ms);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	return count;
}

int child_reap(const struct child_process *child, int *status)
{
	pid_t pid;

	do
		pid = waitpid(child->pid, status, 0);
	while (pid < 0 && errno == EINTR);
	return pid < 0 ? -errno : 0;
}

void child_forbid_writes(const struct child_process *child)
{
	struct rlimit none = {0, 0};

	prlimit(child->pid, RLIMIT_FSIZE, &none, NULL);
}

size_t child_output(const struct child_process *child, char *text, size_t capacity)
{
	off_t size = lseek(child->output, 0, SEEK_END);
	off_t begin;
	ssize_t got;

	text[0] = '\0';
	if (size <= 0)
		return 0;
	begin = size > (off_t)capacity - 1 ? size - ((off_t)capacity - 1) : 0;
	got = pread(child->output, text, (size_t)(size - begin), begin);
	if (got < 0)
		got = 0;
	text[got] = '\0';
	return (size_t)got;
}

void child_free(struct child_process *child)
{
	if (child->pidfd >= 0)
		close(child->pidfd);
	if (child->output >= 0)
		close(child->output);
	child->pidfd = -1;
	child->output = -1;
}

int child_run(const struct child_start *start, char *output, size_t capacity, struct error_text *error)
{
	struct child_process child;
	int status;
	int result = child_start(&child, start, error);

	if (result)
		return result;
	while (child_wait(&child, -1) == 0)
		;
	result = child_reap(&child, &status);
	if (result)
		fail(error, result, "The exit status of %s was taken by another wait in this program.", start->program);
	else
		result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	child_output(&child, output, capacity);
	child_free(&child);
	return result;
}
