/* SPDX-License-Identifier: MIT */
#include "api/criu/child_process.h"
#include "process/process_tree.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_shell(const char *script, char *output, size_t capacity)
{
	char *arguments[] = {"sh", "-c", (char *)(uintptr_t)script, NULL};
	char *variables[] = {"PATH=/usr/bin:/bin", "GREETING=hello", NULL};
	const struct child_start start = {.program = "/bin/sh", .arguments = arguments, .variables = variables};
	struct error_text error;

	return child_run(&start, output, capacity, &error);
}

static void output_and_exit_status_come_back(void **state)
{
	char output[64];

	(void)state;
	assert_int_equal(run_shell("echo $GREETING; echo there >&2; exit 7", output, sizeof(output)), 7);
	assert_string_equal(output, "hello\nthere\n");
	assert_int_equal(run_shell("kill -TERM $$", output, sizeof(output)), 128 + SIGTERM);
	assert_int_equal(run_shell("seq 1000", output, 6), 0);
	assert_string_equal(output, "1000\n");
}

static void a_missing_program_is_an_error(void **state)
{
	char *arguments[] = {"none", NULL};
	const struct child_start start = {
		.program = "/nonexistent", .arguments = arguments, .variables = arguments + 1};
	struct error_text error;
	char output[8];

	(void)state;
	assert_int_equal(child_run(&start, output, sizeof(output), &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent"));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* The caller's signals, blocked or handled, and its descriptors are its own. */
static void the_child_starts_clean(void **state)
{
	char output[4096];
	sigset_t blocked, before;
	int descriptor = dup(STDOUT_FILENO); /* not close-on-exec */

	(void)state;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	signal(SIGUSR1, SIG_IGN);
	assert_int_equal(run_shell("grep -E '^Sig(Blk|Ign):' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '",
				   output, sizeof(output)),
			 0);
	signal(SIGUSR1, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(descriptor);
	assert_non_null(strstr(output, "SigBlk:\t0000000000000000"));
	/* SIGXFSZ, 25, alone */
	assert_non_null(strstr(output, "SigIgn:\t0000000001000000"));
	assert_non_null(strstr(output, "0 1 2 3 ")); /* 3 is that of ls */
	assert_null(strstr(output, " 4 "));
}

static void a_terminals_signals_do_not_end_a_child_that_keeps_it(void **state)
{
	char *arguments[] = {"sh", "-c", "grep ^SigIgn: /proc/self/status", NULL};
	char *variables[] = {"PATH=/usr/bin:/bin", NULL};
	const struct child_start start = {
		.program = "/bin/sh", .arguments = arguments, .variables = variables, .keep_terminal = true};
	char output[512];
	struct error_text error;

	(void)state;
	assert_int_equal(child_run(&start, output, sizeof(output), &error), 0);
	/* SIGHUP, SIGINT, SIGQUIT; SIGXFSZ */
	assert_non_null(strstr(output, "SigIgn:\t0000000001000007"));
}

static void forbidden_writes_fail_and_do_not_kill(void **state)
{
	char *arguments[] = {
		"sh", "-c", "f=$(mktemp); read x <&0; while echo x >$f; do sleep 0.01; done 2>/dev/null; rm $f; exit 5",
		NULL};
	char *variables[] = {"PATH=/usr/bin:/bin", NULL};
	const struct child_start start = {.program = "/bin/sh", .arguments = arguments, .variables = variables};
	struct child_process child;
	struct error_text error;
	int status;

	(void)state;
	assert_int_equal(child_start(&child, &start, &error), 0);
	usleep(50000);
	assert_int_equal(child_wait(&child, 0), 0);
	child_forbid_writes(&child);
	assert_int_equal(child_wait(&child, 60000), 1);
	assert_int_equal(child_reap(&child, &status), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 5);
	child_free(&child);
}

static int number_from(const char *command)
{
	FILE *output = popen(command, "r");
	int number = -1;

	assert_non_null(output);
	assert_int_equal(fscanf(output, "%d", &number), 1);
	pclose(output);
	return number;
}

/* The processes have a number of this test in their command lines: another run of it may be under way. */
static void a_killed_tree_is_gone(void **state)
{
	char script[160], command[160];
	char *arguments[] = {"sh", "-c", script, NULL};
	char *variables[] = {"PATH=/usr/bin:/bin", NULL};
	const struct child_start start = {.program = "/bin/sh", .arguments = arguments, .variables = variables};
	struct child_process child;
	struct error_text error;

	(void)state;
	snprintf(script, sizeof(script), "s='sleep 300.%d'; ($s & $s) & setsid $s & wait", getpid());
	snprintf(command, sizeof(command), "grep -alzx '300[.]%d' /proc/[0-9]*/cmdline 2>/dev/null | wc -l", getpid());
	assert_int_equal(child_start(&child, &start, &error), 0);
	while (number_from(command) < 3)
		usleep(1000);
	process_tree_kill(child.pid, true);
	assert_int_equal(child_wait(&child, 60000), 1);
	assert_int_equal(child_reap(&child, &(int){0}), 0);
	child_free(&child);
	assert_int_equal(number_from(command), 0);
}

/* What escapes ends by itself, after so many and a while. */
#define CHAIN_MAX 50

/* A process that forks, whose child forks, and so on. */
static _Noreturn void fork_on(atomic_int *count)
{
	while (atomic_fetch_add(count, 1) < CHAIN_MAX) {
		usleep(300);
		if (fork() > 0)
			break;
	}
	sleep(3);
	_exit(0);
}

/* Where they are not stopped first, the last one escapes as an orphan: not always, so it is tried often. */
static void a_tree_that_forks_all_the_time_is_gone(void **state)
{
	atomic_int *count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int round, before;
	pid_t root;

	(void)state;
	assert_ptr_not_equal(count, MAP_FAILED);
	for (round = 0; round < 40; round++) {
		atomic_store(count, 0);
		root = fork();
		if (!root)
			fork_on(count);
		while (atomic_load(count) < 5)
			usleep(100);
		process_tree_kill(root, true);
		assert_int_equal(waitpid(root, NULL, 0), root);
		before = atomic_load(count);
		usleep(5000);
		assert_int_equal(atomic_load(count), before);
	}
	munmap(count, sizeof(*count));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_and_exit_status_come_back),
		cmocka_unit_test(a_missing_program_is_an_error),
		cmocka_unit_test(the_child_starts_clean),
		cmocka_unit_test(a_terminals_signals_do_not_end_a_child_that_keeps_it),
		cmocka_unit_test(forbidden_writes_fail_and_do_not_kill),
		cmocka_unit_test(a_killed_tree_is_gone),
		cmocka_unit_test(a_tree_that_forks_all_the_time_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
