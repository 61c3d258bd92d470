/* SPDX-License-Identifier: MIT */
#include "plugin/removed_files.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char top[] = "/tmp/removed-files-XXXXXX";
static int folder;

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(top))
		return -1;
	folder = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 || mkdirat(folder, "older", 0700);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	close(folder);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void make(const char *name, off_t bytes)
{
	int file = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, bytes), 0);
	close(file);
}

/* How many descriptors lead to files of the folder that are not there any more. */
static int held(void)
{
	char path[64], target[512];
	int count = 0;

	for (int i = 3; i < 1024; i++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		length = readlink(path, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		count += length > 0 && !strncmp(target, top, sizeof(top) - 1) && strstr(target, " (deleted)");
	}
	return count;
}

static void large_files_outlive_their_removal_until_they_are_let_go(void **state)
{
	struct removed_files *files;

	(void)state;
	make("older/pages-1.img", 16 << 20);
	make("older/rekindle-pages-1.img", 64 << 20);
	make("older/core-1.img", 4096);
	assert_int_equal(symlinkat("pages-1.img", folder, "older/link"), 0);
	files = removed_files_hold(folder, "older");
	assert_non_null(files);
	assert_int_equal(unlinkat(folder, "older/pages-1.img", 0), 0);
	assert_int_equal(unlinkat(folder, "older/rekindle-pages-1.img", 0), 0);
	assert_int_equal(unlinkat(folder, "older/core-1.img", 0), 0);
	assert_int_equal(unlinkat(folder, "older/link", 0), 0);
	assert_int_equal(held(), 2);
	removed_files_let_go(files);
	for (int i = 0; i < 10000 && held(); i++)
		usleep(1000);
	assert_int_equal(held(), 0);
}

static void where_nothing_is_large_nothing_is_held(void **state)
{
	(void)state;
	assert_null(removed_files_hold(folder, "missing"));
	make("older/core-1.img", 4096);
	assert_null(removed_files_hold(folder, "older"));
	removed_files_let_go(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_files_outlive_their_removal_until_they_are_let_go),
		cmocka_unit_test(where_nothing_is_large_nothing_is_held),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
