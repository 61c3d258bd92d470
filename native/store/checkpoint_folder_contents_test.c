/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checkpoint_folder.h"
#include "store/folder_test_support.h"

/* What a dump makes of a folder, and what it leaves alone. */

static void an_empty_folder_is_written_into(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images;

	put(fixture->folder, "dump.log", "log");
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	assert_int_equal(images, -1);
	write_new(fixture->folder);
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
	assert_true(checkpoint_folder_holds(fixture->folder, new_id));
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, true, &error), 0);
	assert_string_equal(folder_contents(fixture), "dump.log ");
}

/* A GPU image that nobody has removed holds what its process has lost. */
static void the_only_copy_of_memory_stays(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct error_text error;
	int images = begin_over(fixture, true);
	struct gpu_image *read = NULL;

	gpu_image_free(write_image(images, 999999999, &name)); /* nobody has that pid */
	close(images);
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	gpu_image_free(read);
	gpu_image_remove(fixture->folder, &name);
	assert_older(fixture, true);

	/* The run after one that could not end: only for a process that still runs. */
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	gpu_image_free(write_image(images, 999999999, NULL));
	gpu_image_free(write_image(images, getpid(), &name));
	close(images);
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	close(images);
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	gpu_image_free(read);
	gpu_image_remove(fixture->folder, &name);
	assert_older(fixture, true);

	/* Where there was no older checkpoint. */
	gpu_image_free(write_image(fixture->folder, 5, &name));
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, true, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	gpu_image_free(read);
}

static bool is_whole(int folder, const struct gpu_image_name *name)
{
	struct gpu_image *read = NULL;
	struct error_text error;
	bool whole = gpu_image_read(folder, name, &read, &error) == 0;

	gpu_image_free(read);
	return whole;
}

static void dump_over(const struct folder_fixture *fixture)
{
	struct error_text error;
	int images;

	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	write_new(images);
	close(images);
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
}

/* Nor does a dump that succeeds remove it, with a manifest to tell what is older or without. */
static void the_only_copy_of_memory_outlives_other_dumps(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name left, older;
	struct error_text error;
	int images;

	write_older(fixture->folder, false);
	gpu_image_free(write_spread_image(fixture->folder, getpid(), &left));
	gpu_image_free(write_spread_image(fixture->folder, 999999999, &older)); /* nobody has that pid */
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	write_new(images);
	close(images);
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
	/* Undone, both are where they were. */
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
	assert_true(is_whole(fixture->folder, &left));
	assert_true(is_whole(fixture->folder, &older));

	dump_over(fixture);
	assert_true(is_whole(fixture->folder, &left));
	assert_false(is_whole(fixture->folder, &older));
	gpu_image_remove(fixture->folder, &left);
	assert_new(fixture);

	gpu_image_free(write_spread_image(fixture->folder, getpid(), &left));
	dump_over(fixture);
	assert_true(is_whole(fixture->folder, &left));
	gpu_image_remove(fixture->folder, &left);
	assert_new(fixture);
}

/* A name that could be CRIU's is none of its images where there is no checkpoint, and seldom one where there is. */
static void files_of_the_user_stay(void **state)
{
	struct folder_fixture *fixture = *state;

	put(fixture->folder, "backup-2.img", "somebody's");
	put(fixture->folder, "disk.img", "somebody's");
	put(fixture->folder, "pages-5.img", "somebody's");
	dump_over(fixture);
	assert_string_equal(folder_contents(fixture), "backup-2.img core-1.img core-2.img disk.img inventory.img "
						      "pages-5.img pstree.img rekindle-checkpoint.img ");
	assert_true(says(fixture->folder, "backup-2.img", "somebody's"));

	/* Beside a checkpoint without a manifest, which goes. */
	assert_int_equal(unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0), 0);
	assert_int_equal(unlinkat(fixture->folder, "core-2.img", 0), 0);
	assert_int_equal(unlinkat(fixture->folder, "pages-5.img", 0), 0);
	write_older(fixture->folder, false);
	dump_over(fixture);
	assert_int_equal(unlinkat(fixture->folder, "backup-2.img", 0), 0);
	assert_new(fixture);
}

/* What has a name of the new checkpoint's is not the older one's, and back in its place when the dump is undone. */
static void what_was_covered_comes_back(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images, with_manifest;

	for (with_manifest = 0; with_manifest <= 1; with_manifest++) {
		images = begin_over(fixture, with_manifest);
		put(fixture->folder, "core-2.img", "somebody's");
		write_new(images);
		close(images);
		assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
		assert_true(says(fixture->folder, "core-2.img", "new"));
		assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
		assert_true(says(fixture->folder, "core-2.img", "somebody's"));
		assert_int_equal(unlinkat(fixture->folder, "core-2.img", 0), 0);
		assert_older(fixture, with_manifest);
	}
}

/* Which CRIU would read beside the new checkpoint's. */
static void what_an_unfinished_dump_has_left_goes(void **state)
{
	struct folder_fixture *fixture = *state;

	write_older(fixture->folder, false);
	assert_int_equal(unlinkat(fixture->folder, "inventory.img", 0), 0);
	assert_int_equal(unlinkat(fixture->folder, "pages-7.img", 0), 0);
	dump_over(fixture);
	assert_new(fixture);
}

static void nothing_is_followed_out_of_the_folder(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images;

	write_older(fixture->folder, true);
	assert_int_equal(mkdirat(fixture->folder, "elsewhere", 0700), 0);
	assert_int_equal(symlinkat("elsewhere", fixture->folder, CHECKPOINT_NEW_FOLDER), 0);
	assert_true(checkpoint_folder_begin(fixture->folder, &images, &error) < 0);
	assert_non_null(strstr(error.text, CHECKPOINT_NEW_FOLDER));
}

static void a_parent_is_reached_from_the_hidden_folder(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	struct stat status;
	int images;

	assert_int_equal(mkdirat(fixture->folder, "earlier", 0700), 0);
	put(fixture->folder, "earlier/inventory.img", "parent's");
	assert_int_equal(symlinkat("earlier", fixture->folder, "parent"), 0);
	images = begin_over(fixture, true);
	assert_int_equal(fstatat(images, "parent/inventory.img", &status, 0), 0);
	write_new(images);
	close(images);
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
	assert_int_equal(fstatat(fixture->folder, "parent/inventory.img", &status, 0), 0);
	assert_null(strstr(folder_contents(fixture), ".rekindle"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(an_empty_folder_is_written_into),
		FOLDER_TEST(the_only_copy_of_memory_stays),
		FOLDER_TEST(the_only_copy_of_memory_outlives_other_dumps),
		FOLDER_TEST(files_of_the_user_stay),
		FOLDER_TEST(what_was_covered_comes_back),
		FOLDER_TEST(what_an_unfinished_dump_has_left_goes),
		FOLDER_TEST(nothing_is_followed_out_of_the_folder),
		FOLDER_TEST(a_parent_is_reached_from_the_hidden_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
