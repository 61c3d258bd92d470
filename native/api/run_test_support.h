/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_RUN_TEST_SUPPORT_H
#define REKINDLE_API_RUN_TEST_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <sys/types.h>

#include "rekindle.h"

/* Checkpoint and restore against a criu that is a script (tests/fake-criu.sh). */

struct fixture {
	char root[64];
	char plugin[96], images[96], work[96], arguments[96];
	pid_t target;
	struct rekindle_environment environment;
	struct rekindle_checkpoint_request dump;
	struct rekindle_restore_request restore;
	struct rekindle_error error;
};

void touch(const char *path);
int set_up(void **state);
int tear_down(void **state);
int dump(struct fixture *f, const char *behaviour);
int restore(struct fixture *f, const char *behaviour, int32_t *pid);

/* The whole text of a file in memory that lives until the next call. */
const char *text_of(const char *path);
bool passed(struct fixture *f, const char *arguments);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* For main: runs the tests, as root, whom checkpoint and restore need. */
#define RUN_TESTS(tests) (needs_root() ? 1 : cmocka_run_group_tests(tests, NULL, NULL))
bool needs_root(void);

#endif
