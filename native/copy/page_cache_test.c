/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "copy/page_cache.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define FILE_BYTES (16u << 20)

static void memory_files_are_never_cold(void **state)
{
	int file = memfd_create("page-cache-test", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(file, FILE_BYTES), 0);
	assert_false(file_is_cold(file, 0, FILE_BYTES));
	close(file);
}

static void cold_after_its_pages_were_dropped(void **state)
{
	char path[] = "page-cache-XXXXXX", *contents = calloc(1, FILE_BYTES);
	int file = mkstemp(path), direct;
	struct statfs file_system;
	ssize_t count;

	(void)state;
	unlink(path);
	contents[0] = 1;
	assert_int_equal(fstatfs(file, &file_system), 0);
	assert_int_equal(pwrite(file, contents, FILE_BYTES, 0), FILE_BYTES);
	assert_false(file_is_cold(file, 0, FILE_BYTES));
	direct = file_open_direct(file);
	assert_true(direct >= 0 || file_system.f_type == TMPFS_MAGIC);
	if (direct >= 0)
		close(direct);
	assert_int_equal(fsync(file), 0);
	assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
	/* Only where pages can be dropped at all; on a memory file system (also behind overlayfs) they stay. */
	if (file_system.f_type == EXT4_SUPER_MAGIC)
		assert_true(file_is_cold(file, 0, FILE_BYTES));
	count = pread(file, contents, FILE_BYTES, 0);
	assert_int_equal(count, FILE_BYTES);
	assert_false(file_is_cold(file, 0, FILE_BYTES));
	free(contents);
	close(file);
}

static void holes_are_not_cold(void **state)
{
	char path[] = "page-cache-XXXXXX";
	int file = mkstemp(path);

	(void)state;
	unlink(path);
	assert_int_equal(ftruncate(file, FILE_BYTES), 0);
	assert_false(file_is_cold(file, 0, FILE_BYTES));
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_files_are_never_cold),
		cmocka_unit_test(cold_after_its_pages_were_dropped),
		cmocka_unit_test(holes_are_not_cold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
