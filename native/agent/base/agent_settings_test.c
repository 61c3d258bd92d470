/* SPDX-License-Identifier: MIT */
#include "agent/base/agent_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Settings are read once in a process, so each case is a child. Checks them, and whether the user is told something. */
static void check(const char *agent, const char *minimum, bool enabled, size_t bytes, bool complains)
{
	char said[1024] = "";
	ssize_t length;
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		dup2(ends[1], STDERR_FILENO);
		unsetenv("REKINDLE_AGENT");
		unsetenv("REKINDLE_AGENT_MINIMUM");
		if (agent)
			setenv("REKINDLE_AGENT", agent, 1);
		if (minimum)
			setenv("REKINDLE_AGENT_MINIMUM", minimum, 1);
		_exit(agent_is_enabled() == enabled && agent_minimum_bytes() == bytes ? 0 : 1);
	}
	close(ends[1]);
	length = read(ends[0], said, sizeof(said) - 1);
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(length >= 0);
	assert_int_equal(length > 0, complains);
	if (complains) {
		assert_int_equal(strncmp(said, "rekindle-preload: REKINDLE_AGENT", 32), 0);
		assert_int_equal(said[length - 1], '\n');
	}
}

static void settings_come_from_the_environment(void **state)
{
	(void)state;
	check(NULL, NULL, true, (size_t)2 << 20, false);
	check("1", "64M", true, (size_t)64 << 20, false);
	check("0", "1G", false, (size_t)1 << 30, false);
	check(NULL, "4194304", true, (size_t)4 << 20, false);
	check(NULL, "4096K", true, (size_t)4 << 20, false);
	check(NULL, "1K", true, 1024, false);
}

static void wrong_settings_are_named_and_change_nothing(void **state)
{
	(void)state;
	check("yes", NULL, true, (size_t)2 << 20, true);
	check(NULL, "1023", true, (size_t)2 << 20, true);
	check(NULL, "-1", true, (size_t)2 << 20, true);
	check(NULL, "2MB", true, (size_t)2 << 20, true);
	check(NULL, "99999999999G", true, (size_t)2 << 20, true);
	check(NULL, "", true, (size_t)2 << 20, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_come_from_the_environment),
		cmocka_unit_test(wrong_settings_are_named_and_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
