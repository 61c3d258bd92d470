/* SPDX-License-Identifier: MIT */
#include "api/criu/orphans.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rekindle.h"

/* This test is a child subreaper, which inherits as the first process of a pid namespace does. */

static pid_t child_that_ends_with(int status)
{
	pid_t pid = fork();

	if (!pid)
		_exit(status);
	waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT);
	return pid;
}

static pid_t child_that_stays(void)
{
	pid_t pid = fork();

	while (!pid)
		pause();
	return pid;
}

static void expect(pid_t pid, bool root)
{
	struct process_facts facts;

	assert_int_equal(process_facts_read(pid, &facts), 0);
	orphans_expect(&facts, root);
}

static void a_root_that_ends_tells_its_exit_status(void **state)
{
	struct rekindle_error error;
	int32_t status = -1;
	pid_t pid;

	(void)state;
	assert_true(orphans_come_here());
	pid = child_that_ends_with(7);
	expect(pid, true);
	expect(pid, false);
	/* It is waited for whether somebody asks or not, and the status is kept. */
	while (!kill(pid, 0))
		usleep(1000);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	assert_int_equal(rekindle_wait(pid, -1, &status, &error), REKINDLE_OK);
	assert_int_equal(status, 7);
	assert_int_equal(rekindle_wait(pid, -1, &status, &error), REKINDLE_ERROR_NO_SUCH_PROCESS);

	pid = child_that_stays();
	expect(pid, true);
	assert_int_equal(rekindle_wait(pid, 0, &status, &error), REKINDLE_ERROR_TIMEOUT);
	assert_int_equal(rekindle_wait(pid, 20, &status, &error), REKINDLE_ERROR_TIMEOUT);
	kill(pid, SIGKILL);
	assert_int_equal(rekindle_wait(pid, -1, &status, NULL), REKINDLE_OK);
	assert_int_equal(status, 128 + SIGKILL);
}

static void other_children_are_left_alone(void **state)
{
	struct process_facts facts;
	int32_t status;
	pid_t pid = child_that_ends_with(0);

	(void)state;
	orphans_reap();
	assert_int_equal(rekindle_wait(pid, 0, &status, NULL), REKINDLE_ERROR_NO_SUCH_PROCESS);
	/* A process that had the same id once: the one that has it now was born at another time. */
	assert_int_equal(process_facts_read(pid, &facts), 0);
	facts.start_time--;
	orphans_expect(&facts, true);
	orphans_reap();
	assert_int_equal(rekindle_wait(pid, 0, &status, NULL), REKINDLE_ERROR_NO_SUCH_PROCESS);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), pid);
}

static void what_was_below_a_root_is_reaped_when_it_comes(void **state)
{
	struct process_facts *descendants = NULL;
	size_t count = 0;
	pid_t root = fork();
	pid_t grandchild;
	int i;

	(void)state;
	if (!root) {
		child_that_stays();
		for (;;)
			pause();
	}
	while (!count)
		descendants = process_descendants(root, &count);
	assert_int_equal(count, 1);
	grandchild = descendants[0].process;
	orphans_expect(&descendants[0], false);
	free(descendants);
	kill(root, SIGKILL);
	assert_int_equal(waitpid(root, NULL, 0), root);
	assert_true(process_alive(grandchild));
	kill(grandchild, SIGKILL);
	/* By the library's own thread. */
	for (i = 0; i < 10000 && !kill(grandchild, 0); i++)
		usleep(1000);
	assert_int_equal(kill(grandchild, 0), -1);
}

static atomic_int waiter_id;

static void *wait_for_first(void *context)
{
	int32_t status = -1;

	atomic_store(&waiter_id, (int)syscall(SYS_gettid));
	return rekindle_wait(*(pid_t *)context, -1, &status, NULL) ? NULL : (void *)(intptr_t)status;
}

/* In a futex, as whoever waits for a process is. */
static bool waiter_waits(void)
{
	char path[64], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", atomic_load(&waiter_id));
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return atoi(text) == SYS_futex;
}

/* One image restored twice: the first one's waiter does not get the second one's end. */
static void a_later_process_of_the_same_id_is_another(void **state)
{
	struct process_facts facts;
	pid_t pid = child_that_stays();
	void *status = NULL;
	pthread_t waiter;

	(void)state;
	expect(pid, true);
	assert_int_equal(pthread_create(&waiter, NULL, wait_for_first, &pid), 0);
	assert_int_equal(process_facts_read(pid, &facts), 0);
	while (!waiter_waits())
		usleep(1000);
	kill(pid, SIGTERM);
	while (!kill(pid, 0))
		usleep(1000);
	facts.start_time++;
	orphans_expect(&facts, true);
	pthread_join(waiter, &status);
	assert_int_equal((intptr_t)status, 128 + SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_root_that_ends_tells_its_exit_status),
		cmocka_unit_test(other_children_are_left_alone),
		cmocka_unit_test(what_was_below_a_root_is_reaped_when_it_comes),
		cmocka_unit_test(a_later_process_of_the_same_id_is_another),
	};

	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
