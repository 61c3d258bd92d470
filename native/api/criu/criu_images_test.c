/* SPDX-License-Identifier: MIT */
#include "api/criu/criu_images.h"
#include "api/test_images.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/rekindle-images-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	test_images_write(folder, 4000);
	test_images_write_statistics(folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void a_tree_is_read(void **state)
{
	struct criu_checkpoint checkpoint;
	struct error_text error;

	(void)state;
	assert_int_equal(criu_checkpoint_read(folder, &checkpoint, &error), 0);
	assert_int_equal(checkpoint.process_count, 2);
	assert_int_equal(checkpoint.processes[0].pid, 4000);
	assert_int_equal(checkpoint.processes[0].parent_pid, 0);
	assert_int_equal(checkpoint.processes[0].threads, 2);
	assert_string_equal(checkpoint.processes[0].name, "root");
	assert_int_equal(checkpoint.processes[0].host_bytes, TEST_IMAGES_HOST_BYTES);
	assert_int_equal(checkpoint.processes[1].pid, 4001);
	assert_int_equal(checkpoint.processes[1].parent_pid, 4000);
	assert_string_equal(checkpoint.processes[1].name, "child");
	assert_int_equal(checkpoint.processes[1].host_bytes, 0);
	assert_int_equal(checkpoint.host_bytes, TEST_IMAGES_HOST_BYTES);
	assert_true(checkpoint.uses_cuda_plugin);
	assert_true(checkpoint.created > 1000000000);
	assert_int_equal(checkpoint.id_count, 3);
	assert_int_equal(checkpoint.ids[0], 4000);
	assert_int_equal(checkpoint.ids[1], 4002);
	assert_int_equal(checkpoint.ids[2], 4001);
	assert_false(checkpoint.shares_pid_namespace);
	criu_checkpoint_free(&checkpoint);
}

static void the_pid_namespace_is_known_where_the_images_say_it(void **state)
{
	static const struct {
		uint32_t of_criu, of_tree;
		bool shared;
	} cases[] = {{2, 2, true}, {2, 7, false}, {0, 0, false}};
	struct criu_checkpoint checkpoint;
	struct error_text error;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_images_share_namespace(folder, 4000, cases[i].of_criu, cases[i].of_tree);
		assert_int_equal(criu_checkpoint_read(folder, &checkpoint, &error), 0);
		assert_int_equal(checkpoint.shares_pid_namespace, cases[i].shared);
		criu_checkpoint_free(&checkpoint);
	}
}

static void a_folder_without_inventory_holds_none(void **state)
{
	struct criu_checkpoint checkpoint;
	struct error_text error;

	(void)state;
	unlink(path_of("inventory.img"));
	assert_int_equal(criu_checkpoint_read(folder, &checkpoint, &error), -ENOENT);
	assert_non_null(strstr(error.text, "holds no checkpoint"));
}

/* Every image cut at every length is whole or an error, and never more than that. */
static void images_cut_short_are_damaged(void **state)
{
	static const char *const names[] = {"inventory.img", "pstree.img", "core-4000.img", "pagemap-4000.img"};
	struct criu_checkpoint checkpoint;
	struct error_text error;
	struct stat status;
	size_t i;
	off_t size;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(stat(path_of(names[i]), &status), 0);
		for (size = status.st_size - 1; size >= 0; size--) {
			int result;

			assert_int_equal(truncate(path_of(names[i]), size), 0);
			result = criu_checkpoint_read(folder, &checkpoint, &error);
			if (result) {
				assert_int_equal(result, -EBADMSG);
				assert_non_null(strstr(error.text, names[i]));
			} else {
				/* The tree may end after its first process. */
				assert_string_equal(names[i], "pstree.img");
				assert_int_equal(checkpoint.process_count, 1);
				criu_checkpoint_free(&checkpoint);
			}
		}
		test_images_write(folder, 4000);
	}
}

static void an_image_of_another_kind_is_damaged(void **state)
{
	struct criu_checkpoint checkpoint;
	struct error_text error;

	(void)state;
	assert_int_equal(rename(path_of("pagemap-4000.img"), "/tmp/rekindle-swapped.img"), 0);
	assert_int_equal(rename("/tmp/rekindle-swapped.img", path_of("core-4000.img")), 0);
	assert_int_equal(criu_checkpoint_read(folder, &checkpoint, &error), -EBADMSG);
}

static void a_huge_size_in_an_image_is_damaged(void **state)
{
	struct criu_checkpoint checkpoint;
	struct error_text error;
	uint32_t size = 0xfffffff0u;
	int file;

	(void)state;
	file = open(path_of("pstree.img"), O_WRONLY);
	assert_int_equal(pwrite(file, &size, sizeof(size), 8), sizeof(size));
	close(file);
	assert_int_equal(criu_checkpoint_read(folder, &checkpoint, &error), -EBADMSG);
}

static void statistics_of_both_kinds_are_read(void **state)
{
	struct rekindle_statistics statistics = {.kind = REKINDLE_RUN_CHECKPOINT};
	struct error_text error;

	(void)state;
	assert_int_equal(criu_statistics_read(folder, &statistics, &error), 0);
	assert_int_equal(statistics.freezing_time, 1);
	assert_int_equal(statistics.frozen_time, 2);
	assert_int_equal(statistics.memdump_time, 3);
	assert_int_equal(statistics.memwrite_time, 4);
	assert_int_equal(statistics.pages_scanned, 5);
	assert_int_equal(statistics.pages_written, 6);
	statistics.kind = REKINDLE_RUN_RESTORE;
	assert_int_equal(criu_statistics_read(folder, &statistics, &error), 0);
	assert_int_equal(statistics.forking_time, 1);
	assert_int_equal(statistics.restore_time, 2);
	assert_int_equal(statistics.pages_restored, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tree_is_read),
		TEST(the_pid_namespace_is_known_where_the_images_say_it),
		TEST(a_folder_without_inventory_holds_none),
		TEST(images_cut_short_are_damaged),
		TEST(an_image_of_another_kind_is_damaged),
		TEST(a_huge_size_in_an_image_is_damaged),
		TEST(statistics_of_both_kinds_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
