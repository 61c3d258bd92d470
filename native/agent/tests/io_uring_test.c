/* SPDX-License-Identifier: MIT */
/* A program that asks the kernel for an io_uring, by number as libraries do, with REKINDLE_AGENT_IO_URING=0 and without. */
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_call_is_not_there_where_that_is_set),
		cmocka_unit_test(a_program_that_it_starts_has_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
