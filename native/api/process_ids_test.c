/* SPDX-License-Identifier: MIT */
#include "api/process_ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct rekindle_error error;

static int check(int32_t id)
{
	struct criu_checkpoint checkpoint = {.ids = &id, .id_count = 1, .shares_pid_namespace = true};

	return process_ids_check(&checkpoint, "images", &error);
}

static void who_cannot_be_looked_at_is_not_waited_for_without_end(void **state)
{
	struct rlimit limit, none;
	int code;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	code = check(getpid());
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(code, REKINDLE_ERROR_PID_IN_USE);
	assert_non_null(strstr(error.message, "by somebody who cannot be looked at (Too many open files)"));
}

static void who_runs_is_named(void **state)
{
	(void)state;
	assert_int_equal(check(getpid()), REKINDLE_ERROR_PID_IN_USE);
	assert_non_null(strstr(error.message, ", which runs: end it first"));
	assert_int_equal(check(INT32_MAX), REKINDLE_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_cannot_be_looked_at_is_not_waited_for_without_end),
		cmocka_unit_test(who_runs_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
