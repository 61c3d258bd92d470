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
		FOLDER_TEST(nothing_is_followed_out_of_the_folder),
		FOLDER_TEST(a_parent_is_reached_from_the_hidden_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
