/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu_image.pb-c.h"
#include "store/image_test_support.h"

int __real_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags);
int __wrap_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags);
int __real_unlinkat(int folder, const char *name, int flags);
int __wrap_unlinkat(int folder, const char *name, int flags);

/* The link is made and fails all the same, as over a network whose answer was lost; and it cannot be removed so often. */
static bool links_fail;
static int unlinks_that_fail;

int __wrap_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	int result = __real_linkat(from_folder, from, to_folder, to, flags);

	if (!links_fail)
		return result;
	errno = EEXIST;
	return -1;
}

int __wrap_unlinkat(int folder, const char *name, int flags)
{
	if (unlinks_that_fail == 0)
		return __real_unlinkat(folder, name, flags);
	unlinks_that_fail--;
	errno = EIO;
	return -1;
}

/* The parent has three data files, of 4 MiB with what is kept in its first half, of a chunk that is a hole, and of 1 MiB. */

static ino_t inode(int folder, const char *name)
{
	struct stat status;

	assert_int_equal(fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW), 0);
	return status.st_ino;
}

static struct gpu_image *commit_and_read(int folder, struct gpu_image *image)
{
	struct gpu_image_name name = gpu_image_name_of(image);
	struct gpu_image *read = NULL;
	struct error_text error;

	assert_int_equal(gpu_image_commit(folder, image, &error), 0);
	assert_int_equal(gpu_image_read(folder, &name, &read, &error), 0);
	gpu_image_free(image);
	return read;
}

static uint32_t version_on_disk(int folder, const struct gpu_image *image)
{
	struct gpu_image_name name = gpu_image_name_of(image);
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	Rekindle__GpuImage *message;
	struct error_text error;
	uint8_t *buffer;
	uint32_t version;
	size_t bytes;

	gpu_image_manifest_name(manifest, &name);
	assert_int_equal(manifest_load(folder, manifest, &gpu_image_manifest, &buffer, &bytes, &error), 0);
	message = rekindle__gpu_image__unpack(NULL, bytes, buffer);
	version = message->format_version;
	rekindle__gpu_image__free_unpacked(message, NULL);
	free(buffer);
	return version;
}

static void a_difference_is_as_complete_as_any_image(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name parent_name;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &parent_name), *read;
	struct error_text error;
	uint64_t bytes;
	ino_t large = inode(fixture->folder, parent->files[0].name),
	      small = inode(fixture->folder, parent->files[2].name);

	assert_int_equal(version_on_disk(fixture->folder, parent), 2);
	read = commit_and_read(fixture->folder, make_difference(fixture->folder, parent));
	assert_int_equal(version_on_disk(fixture->folder, read), 4);
	assert_int_equal(read->file_count, 3);
	assert_true(inode(fixture->folder, read->files[0].name) == large);
	assert_true(inode(fixture->folder, read->files[1].name) == small);
	assert_true(read->files[0].linked && read->files[1].linked && !read->files[2].linked);
	assert_memory_equal(read->files[0].origin, parent->id, 16);
	assert_int_equal(read->files[2].bytes, CHUNK);
	assert_int_equal(read->allocations[0].zero_chunks[1], 1);
	assert_memory_equal(read->allocations[0].checksums, parent->allocations[0].checksums, 24);
	assert_int_equal(read->stored_bytes, 5 * MEBIBYTE);
	assert_int_equal(gpu_image_linked_bytes(read), 3 * MEBIBYTE);
	assert_int_equal(gpu_image_dead_bytes(read), 2 * MEBIBYTE);
	/* The parent is not needed any more. */
	gpu_image_remove(fixture->folder, &parent_name);
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), 0);
	assert_int_equal(bytes, 5 * MEBIBYTE);
	change_byte(fixture->folder, read->files[1].name, 5);
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), -EBADMSG);
	gpu_image_free(read);
	gpu_image_free(parent);
}

static void only_what_was_written_is_checked_on_the_disk(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &name), *read;
	_Atomic uint64_t done = 0;
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = 2, .bytes_done = &done};
	struct error_text error;

	read = commit_and_read(fixture->folder, make_difference(fixture->folder, parent));
	assert_int_equal(gpu_image_open_data(fixture->folder, read, &data, &error), 0);
	assert_int_equal(gpu_image_check_on_disk(read, &verification, &error), 0);
	assert_int_equal(done, CHUNK);
	change_byte(fixture->folder, read->files[2].name, 5);
	assert_int_equal(gpu_image_check_on_disk(read, &verification, &error), -EBADMSG);
	gpu_image_close_data(&data);
	gpu_image_free(read);
	gpu_image_free(parent);
}

static void nobody_can_write_to_what_is_linked(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &name),
			 *image = make_difference(fixture->folder, parent);
	struct gpu_image_data data;
	struct error_text error;

	gpu_image_remove_unfinished(fixture->folder, 42);
	gpu_image_free(image);
	image = make_difference(fixture->folder, parent);
	assert_int_equal(gpu_image_create_data(fixture->folder, image, &data, &error), 0);
	assert_int_equal(pwrite(data.files[0], "x", 1, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pwrite(data.files[2], "x", 1, 0), 1);
	assert_int_equal(gpu_image_resize_data(image, &data, &error), 0);
	gpu_image_close_data(&data);
	gpu_image_remove_unfinished(fixture->folder, 42);
	assert_null(strstr(folder_contents(fixture), ".tmp"));
	gpu_image_free(image);
	gpu_image_free(parent);
}

/* Its parent's files, and not those that only the parent has; each says for which image it was written. */
static void a_difference_can_be_a_parent(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *first = write_spread_image(fixture->folder, 42, &name), *second, *third;
	struct error_text error;
	uint64_t bytes;

	second = commit_and_read(fixture->folder, make_difference(fixture->folder, first));
	third = commit_and_read(fixture->folder, make_difference(fixture->folder, second));
	assert_int_equal(third->file_count, 3);
	assert_memory_equal(third->files[0].origin, first->id, 16);
	assert_int_equal(gpu_image_dead_bytes(third), 2 * MEBIBYTE);
	gpu_image_remove(fixture->folder, &name);
	name = gpu_image_name_of(second);
	gpu_image_remove(fixture->folder, &name);
	assert_int_equal(verify_image(fixture->folder, third, &bytes, &error), 0);
	assert_int_equal(bytes, 5 * MEBIBYTE);
	gpu_image_free(first);
	gpu_image_free(second);
	gpu_image_free(third);
}

/* An image with the parent's allocations, of which this chunk of the first is inherited. */
static struct gpu_image *inherit_one(const struct gpu_image *parent, uint32_t chunk)
{
	struct gpu_image *image = gpu_image_create(parent->pid, CHUNK, 1, 2);
	uint32_t i;

	for (i = 0; i < 2; i++)
		assert_int_equal(gpu_image_place(image, i, parent->allocations[i].bytes), 0);
	assert_int_equal(gpu_image_inherit(image, 0, chunk, &parent->allocations[0]), 0);
	return image;
}

static void assert_is_whole(const struct gpu_image *image)
{
	assert_int_equal(image->file_count, 1);
	assert_int_equal(image->linked_count, 0);
	assert_false(image->files[0].linked);
	assert_null(image->allocations[0].inherited);
	assert_int_equal(image->files[0].bytes, 7 * MEBIBYTE);
	assert_int_equal(image->allocations[0].places[2].offset, 4 * MEBIBYTE);
	assert_int_equal(image->allocations[1].places[0].offset, 5 * MEBIBYTE);
}

/* The parent has one file of 5 MiB, of which 1 MiB, or nothing, would be in use. */
static void what_is_hardly_used_is_not_linked(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *parent = write_image(fixture->folder, 42, NULL), *image;
	struct gpu_image_data data;
	struct error_text error;
	uint32_t chunk;

	assert_int_equal(gpu_image_open_data(fixture->folder, parent, &data, &error), 0);
	for (chunk = 1; chunk < 3; chunk++) {
		image = inherit_one(parent, chunk);
		assert_int_equal(gpu_image_link(fixture->folder, image, parent, &data, 4, &error), 0);
		assert_is_whole(image);
		assert_null(strstr(folder_contents(fixture), ".tmp"));
		gpu_image_free(image);
	}
	gpu_image_close_data(&data);
	gpu_image_free(parent);
}

/* The first file is linked, the next one is gone and cannot be. */
static void without_links_it_is_a_whole_image(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &name), *image;
	struct gpu_image_data data;
	struct error_text error;

	assert_int_equal(gpu_image_open_data(fixture->folder, parent, &data, &error), 0);
	image = inherit_one(parent, 0);
	assert_int_equal(gpu_image_inherit(image, 0, 2, &parent->allocations[0]), 0);
	assert_int_equal(unlinkat(fixture->folder, parent->files[2].name, 0), 0);
	assert_int_equal(gpu_image_link(fixture->folder, image, parent, &data, 4, &error), -ENOENT);
	assert_non_null(strstr(error.text, parent->files[2].name));
	assert_is_whole(image);
	assert_null(strstr(folder_contents(fixture), ".tmp"));
	gpu_image_close_data(&data);
	gpu_image_free(image);
	gpu_image_free(parent);
}

static void a_link_that_was_made_and_failed_is_not_written_to(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &name), *image;
	struct gpu_image_data data;
	struct error_text error;
	uint64_t bytes;
	int failing;

	for (failing = 0; failing <= 2; failing++) {
		image = inherit_one(parent, 0);
		assert_int_equal(gpu_image_open_data(fixture->folder, parent, &data, &error), 0);
		links_fail = true;
		unlinks_that_fail = failing;
		assert_int_equal(gpu_image_link(fixture->folder, image, parent, &data, 4, &error), -EEXIST);
		links_fail = false;
		gpu_image_close_data(&data);
		assert_is_whole(image);
		assert_true(!strstr(folder_contents(fixture), ".tmp") == !failing);
		/* Where it cannot be removed there either, no file can be made. */
		assert_int_equal(gpu_image_create_data(fixture->folder, image, &data, &error),
				 failing == 2 ? -EEXIST : 0);
		gpu_image_close_data(&data);
		assert_int_equal(unlinks_that_fail, 0);
		assert_int_equal(verify_image(fixture->folder, parent, &bytes, &error), 0);
		gpu_image_remove_unfinished(fixture->folder, 42);
		gpu_image_free(image);
	}
	gpu_image_free(parent);
}

/* So that a process that is dumped again and again, and changes here and there, does not get more and more files. */
static void files_stay_few(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *parent = gpu_image_create(42, CHUNK, 1, 1), *image;
	struct gpu_image_data data = {.count = 0};
	struct error_text error;
	uint32_t i;

	gpu_image_name_files(parent, GPU_IMAGE_FILES_MAX);
	assert_int_equal(gpu_image_place(parent, 0, (uint64_t)GPU_IMAGE_FILES_MAX * CHUNK), 0);
	gpu_image_count_stored(parent);
	assert_int_equal(gpu_image_create_data(fixture->folder, parent, &data, &error), 0);
	image = gpu_image_create(42, CHUNK, 1, 1);
	assert_int_equal(gpu_image_place(image, 0, parent->allocations[0].bytes), 0);
	for (i = 0; i < parent->allocations[0].chunk_count; i++)
		assert_int_equal(gpu_image_inherit(image, 0, i, &parent->allocations[0]), 0);
	assert_int_equal(gpu_image_link(fixture->folder, image, parent, &data, 4, &error), 0);
	assert_int_equal(image->linked_count, GPU_IMAGE_FILES_MAX - 8);
	assert_int_equal(image->file_count, image->linked_count + 1);
	assert_int_equal(image->files[image->linked_count].bytes, 8 * CHUNK);
	gpu_image_close_data(&data);
	gpu_image_free(image);
	gpu_image_free(parent);
}

static void hashes_are_kept(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = make_image(fixture->folder, 42), *read;
	uint8_t expected[3 * GPU_IMAGE_HASH_BYTES];

	memset(expected, 0x5a, sizeof(expected));
	assert_int_equal(gpu_image_make_hashes(&image->allocations[0]), 0);
	memcpy(image->allocations[0].hashes, expected, sizeof(expected));
	read = commit_and_read(fixture->folder, image);
	assert_int_equal(version_on_disk(fixture->folder, read), 2);
	assert_memory_equal(read->allocations[0].hashes, expected, sizeof(expected));
	assert_null(read->allocations[1].hashes);
	gpu_image_free(read);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(a_difference_is_as_complete_as_any_image),
		FOLDER_TEST(only_what_was_written_is_checked_on_the_disk),
		FOLDER_TEST(nobody_can_write_to_what_is_linked),
		FOLDER_TEST(a_difference_can_be_a_parent),
		FOLDER_TEST(what_is_hardly_used_is_not_linked),
		FOLDER_TEST(without_links_it_is_a_whole_image),
		FOLDER_TEST(a_link_that_was_made_and_failed_is_not_written_to),
		FOLDER_TEST(files_stay_few),
		FOLDER_TEST(hashes_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
