/* SPDX-License-Identifier: MIT */
#include "plugin/read_ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Makes a FIFO that holds a byte, and returns it. */
static int make_fifo(int folder, const char *name)
{
	int fifo;

	assert_int_equal(mkfifoat(folder, name, 0600), 0);
	fifo = openat(folder, name, O_RDWR | O_CLOEXEC);
	assert_int_equal(write(fifo, "x", 1), 1);
	return fifo;
}

static int held_by(int fifo)
{
	int bytes = -1;

	assert_int_equal(ioctl(fifo, FIONREAD, &bytes), 0);
	close(fifo);
	return bytes;
}

/* What a reader of a FIFO takes is gone. */
static void only_the_folders_own_files_are_read(void **state)
{
	char path[] = "/tmp/read-ahead-test-XXXXXX";
	int folder, elsewhere, inside, status;

	(void)state;
	assert_non_null(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	close(openat(folder, "pages-1.img", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	elsewhere = make_fifo(folder, "elsewhere");
	assert_int_equal(symlinkat("elsewhere", folder, "pages-2.img"), 0);
	inside = make_fifo(folder, "pages-3.img");

	/* So that the process that reads, which is no child of ours, can be waited for. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	read_ahead_start(folder);
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	assert_int_equal(held_by(elsewhere), 1);
	assert_int_equal(held_by(inside), 1);

	assert_int_equal(unlinkat(folder, "pages-1.img", 0), 0);
	assert_int_equal(unlinkat(folder, "pages-2.img", 0), 0);
	assert_int_equal(unlinkat(folder, "pages-3.img", 0), 0);
	assert_int_equal(unlinkat(folder, "elsewhere", 0), 0);
	close(folder);
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_folders_own_files_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
