/* SPDX-License-Identifier: MIT */
/*
 * A program that asks the kernel for an io_uring, by number as libraries do, with REKINDLE_AGENT_IO_URING=0 and without; with
 * the argument "another" it has a filter of somebody else's that answers in the same way.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/driver.h"
#include "process/agent_page.h"

/* After the others: cmocka has a macro named fail. */
#include <cmocka.h>

#define ANOTHER "IO_URING_TEST_ANOTHER"

/* Its errno, 0 where there is a ring. */
static int ask(void)
{
	struct io_uring_params parameters = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);

	if (ring < 0)
		return errno;
	close(ring);
	return 0;
}

static bool is_to_be_off(void)
{
	const char *setting = getenv("REKINDLE_AGENT_IO_URING");

	return setting && !strcmp(setting, "0");
}

static void *ask_in_thread(void *result)
{
	*(int *)result = ask();
	return NULL;
}

static unsigned int filters(void)
{
	unsigned int count = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "Seccomp_filters: %u", &count);
	fclose(file);
	return count;
}

static void the_call_is_not_there_where_that_is_set(void **state)
{
	int in_thread = -1;
	pthread_t thread;

	(void)state;
	if (!is_to_be_off()) {
		/* A kernel may forbid it. */
		assert_int_not_equal(ask(), ENOSYS);
		return;
	}
	assert_int_equal(ask(), ENOSYS);
	assert_int_equal(pthread_create(&thread, NULL, ask_in_thread, &in_thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(in_thread, ENOSYS);
	/* Nothing else is. */
	assert_true(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0) < 0 && errno == EBADF);
}

/* One filter, however many programs start each other. */
static void a_program_that_it_starts_has_the_same(void **state)
{
	unsigned int own = filters();
	int status;
	pid_t child;

	(void)state;
	if (getenv("IO_URING_TEST_AGAIN")) {
		assert_int_equal(own, atoi(getenv("IO_URING_TEST_AGAIN")));
		return;
	}
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		char text[16];

		snprintf(text, sizeof(text), "%u", own);
		setenv("IO_URING_TEST_AGAIN", text, 1);
		execl("/proc/self/exe", "io_uring_test", NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void the_agent_takes_no_other_filter_for_its_own(void **state)
{
	struct process_maps maps;
	struct agent agent;
	CUdeviceptr address;

	(void)state;
	driver_start();
	assert_success(cuMemAlloc_v2(&address, 8 * MIB));
	assert_int_equal(process_maps_read(getpid(), &maps, NULL), 0);
	/* Its page is there for others as soon as its thread is. */
	while (agent_open(&agent, getpid(), &maps), !agent.has_page) {
		assert_int_equal(agent.presence, AGENT_IDLE);
		agent_close(&agent);
		usleep(1000);
	}
	assert_int_equal(agent.page.filters, is_to_be_off() && !getenv(ANOTHER));
	agent_close(&agent);
	assert_success(cuMemFree_v2(address));
}

/* Starts the program again with that filter, before there is one of the agent's. */
static int start_with_another_filter(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return 1;
	setenv(ANOTHER, "1", 1);
	setenv("REKINDLE_AGENT_IO_URING", "0", 1);
	execl("/proc/self/exe", "io_uring_test", NULL);
	return 1;
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_call_is_not_there_where_that_is_set),
		cmocka_unit_test(a_program_that_it_starts_has_the_same),
		cmocka_unit_test(the_agent_takes_no_other_filter_for_its_own),
	};

	if (count > 1 && !strcmp(arguments[1], "another"))
		return start_with_another_filter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
