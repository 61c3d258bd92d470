/* SPDX-License-Identifier: MIT */
#include "process/process_handle.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process_lock.h"
#include "process/process_status.h"
#include "protocol/message_socket.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static pid_t start_process(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	return pid;
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void assert_taken(pid_t pid, const char *who)
{
	struct process_handle handle;
	struct error_text error = {""};

	assert_int_equal(process_handle_open(&handle, pid, &error), -EBUSY);
	if (!strstr(error.text, who))
		fail_msg("\"%s\" does not name %s", error.text, who);
}

static void the_second_one_is_told_who_was_first(void **state)
{
	pid_t pid = start_process(), other = start_process();
	struct process_handle first, second, third;
	struct error_text error;
	char who[64];

	(void)state;
	assert_int_equal(process_handle_open(&first, pid, &error), 0);
	snprintf(who, sizeof(who), "process %d (process_handle", (int)getpid());
	assert_taken(pid, who);
	/* Another process is another matter. */
	assert_int_equal(process_handle_open(&second, other, &error), 0);
	process_handle_close(&first);
	assert_int_equal(process_handle_open(&third, pid, &error), 0);
	process_handle_close(&second);
	process_handle_close(&third);
	end_process(pid);
	end_process(other);
}

/* As a criu that dies while its pool undoes the dump. */
static void a_duplicate_keeps_the_lock_when_its_taker_has_died(void **state)
{
	pid_t pid = start_process(), taker;
	struct process_handle handle;
	struct error_text error;
	int ends[2], lock;
	size_t count = 1;
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	taker = fork();
	if (!taker)
		_exit(process_handle_open(&handle, pid, &error) || message_send(ends[1], "l", 1, &handle.lock, 1));
	assert_int_equal(message_receive(ends[0], &byte, 1, &lock, &count, 10000), 1);
	assert_int_equal(count, 1);
	assert_int_equal(waitpid(taker, NULL, 0), taker);
	assert_taken(pid, "criu has ended");
	close(lock);
	assert_int_equal(process_handle_open(&handle, pid, &error), 0);
	/* As one that a program has which is just being started. */
	lock = dup(handle.lock);
	process_handle_release(&handle);
	assert_int_equal(process_handle_open(&handle, pid, &error), 0);
	process_handle_close(&handle);
	close(lock);
	close(ends[0]);
	close(ends[1]);
	end_process(pid);
}

/* Locks what it can open of the process; its end is to be closed. */
static int start_locking_user(pid_t pid)
{
	int ends[2], pidfd;
	char path[40], byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
		close(ends[0]);
		pidfd = setgid(65534) || setuid(65534) ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
		if (pidfd < 0 || flock(pidfd, LOCK_EX | LOCK_NB) || open(path, O_RDONLY) >= 0 || errno != EACCES ||
		    write(ends[1], "l", 1) != 1)
			_exit(1);
		_exit(read(ends[1], &byte, 1) != 0);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	return ends[0];
}

/* Anybody may open a pidfd of any process. Runs are kept from each other all the same. */
static void another_user_keeps_nobody_out(void **state)
{
	pid_t pid = start_process();
	struct process_handle handle;
	struct error_text error;
	char who[64];
	int user, status;

	(void)state;
	if (geteuid())
		skip();
	user = start_locking_user(pid);
	assert_int_equal(process_handle_open(&handle, pid, &error), 0);
	snprintf(who, sizeof(who), "process %d (process_handle", (int)getpid());
	assert_taken(pid, who);
	process_handle_close(&handle);
	close(user);
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	end_process(pid);
}

/* Its descriptors lie in another /proc, as those of a container do. */
static void a_run_of_another_proc_is_met(void **state)
{
	pid_t pid = start_process();
	struct process_handle handle;
	struct error_text error;
	char who[64];
	int pidfd;

	(void)state;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(pidfd >= 0);
	if (!process_lock_is_one_for_all(pidfd))
		skip();
	assert_int_equal(flock(pidfd, LOCK_EX | LOCK_NB), 0);
	snprintf(who, sizeof(who), "process %d (process_handle", (int)getpid());
	assert_taken(pid, who);
	close(pidfd);
	/* Nothing of the attempt is left. */
	assert_int_equal(process_handle_open(&handle, pid, &error), 0);
	process_handle_close(&handle);
	end_process(pid);
}

/* Its number may be another one's by then: nothing is looked up by it any more. */
static void a_process_that_has_ended_is_no_other_one(void **state)
{
	pid_t pid = start_process();
	struct process_handle handle, gone;
	struct error_text error;

	(void)state;
	assert_int_equal(process_handle_open(&handle, pid, &error), 0);
	assert_false(process_handle_has_ended(&handle));
	assert_int_equal(process_handle_signal(&handle, 0), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT), 0);
	/* A zombie has ended as well. */
	assert_true(process_handle_has_ended(&handle));
	end_process(pid);
	assert_int_equal(process_handle_signal(&handle, SIGKILL), -ESRCH);
	assert_int_equal(process_handle_open(&gone, pid, &error), -ESRCH);
	/* The one who has the number now is not meant. */
	handle.pid = getpid();
	assert_true(process_handle_has_ended(&handle));
	assert_int_equal(process_handle_signal(&handle, SIGKILL), -ESRCH);
	process_handle_close(&handle);
}

static void a_tracer_is_found(void **state)
{
	pid_t pid = start_process();
	char name[PROCESS_NAME_MAX];

	(void)state;
	assert_int_equal(process_find_tracer(pid), 0);
	assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
	assert_int_equal(process_find_tracer(pid), getpid());
	assert_int_equal(process_name_read(getpid(), name), 0);
	assert_string_equal(name, "process_handle_");
	end_process(pid);
	assert_int_equal(process_find_tracer(pid), -ESRCH);
	assert_true(process_name_read(pid, name) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_one_is_told_who_was_first),
		cmocka_unit_test(a_duplicate_keeps_the_lock_when_its_taker_has_died),
		cmocka_unit_test(another_user_keeps_nobody_out),
		cmocka_unit_test(a_run_of_another_proc_is_met),
		cmocka_unit_test(a_process_that_has_ended_is_no_other_one),
		cmocka_unit_test(a_tracer_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
