/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "api/criu/kernel_data.h"

static char remedy[256];

static void what_is_there_is_kept(void **state)
{
	char folder[] = "/tmp/rekindle-kernel-data-XXXXXX", file[sizeof(folder) + sizeof(KERNEL_DATA_FILE)];
	int descriptor;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_false(kernel_data_is_kept(folder, remedy, sizeof(remedy)));
	snprintf(file, sizeof(file), "%s/" KERNEL_DATA_FILE, folder);
	descriptor = open(file, O_CREAT | O_WRONLY, 0600);
	assert_true(descriptor >= 0);
	close(descriptor);
	assert_true(kernel_data_is_kept(folder, remedy, sizeof(remedy)));
	unlink(file);
	rmdir(folder);
}

/* Only what is so is named: proc is a folder that is no tmpfs and takes no file, /dev/shm is a tmpfs. */
static void the_remedy_is_for_what_is_in_the_way(void **state)
{
	struct statfs filesystem;

	(void)state;
	assert_false(kernel_data_is_kept("/nonexistent", remedy, sizeof(remedy)));
	assert_non_null(strstr(remedy, "make that folder writable"));
	assert_false(kernel_data_is_kept("/proc", remedy, sizeof(remedy)));
	assert_non_null(strstr(remedy, "/proc/" KERNEL_DATA_FILE));
	assert_null(strstr(remedy, "log says"));
	if (statfs("/dev/shm", &filesystem) || filesystem.f_type != TMPFS_MAGIC || access("/dev/shm", W_OK))
		return;
	assert_false(kernel_data_is_kept("/dev/shm", remedy, sizeof(remedy)));
	assert_null(strstr(remedy, "tmpfs"));
	assert_null(strstr(remedy, "writable"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_there_is_kept),
		cmocka_unit_test(the_remedy_is_for_what_is_in_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
