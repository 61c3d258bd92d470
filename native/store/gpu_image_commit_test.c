/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/image_test_support.h"

/* What commit does to the disk, in its order; linked with --wrap for each of these calls. */

int __real_fdatasync(int file);
int __real_fsync(int file);
int __real_renameat(int from_folder, const char *from, int to_folder, const char *to);
ssize_t __real_write(int file, const void *buffer, size_t bytes);
ssize_t __real_pread(int file, void *buffer, size_t bytes, off_t offset);
int __real_posix_fadvise(int file, off_t offset, off_t bytes, int advice);

static struct {
	bool on;
	char text[2048];
	const char *fail; /* the call, as it is recorded, that fails with code */
	int code;
	size_t write_at_most;
	unsigned int interrupted; /* so many writes */
} calls;

static const char *fail_next;

/* Records the call; true when it is to fail. */
static bool record(const char *call, int file, const char *name)
{
	size_t length = strlen(calls.text);
	char link[64], target[PATH_MAX] = "";
	ssize_t got;

	if (!calls.on)
		return false;
	if (!name) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
		got = readlink(link, target, sizeof(target) - 1);
		assert_true(got > 0);
		name = strrchr(target, '/') + 1;
	}
	/* Names without pid and id: manifest, data, and the folder. */
	snprintf(calls.text + length, sizeof(calls.text) - length, "%s %s%s; ", call,
		 !strncmp(name, "rekindle-pages-", 15) ? "data"
		 : !strncmp(name, "rekindle-", 9)      ? "manifest"
						       : "folder",
		 strstr(name, ".tmp") ? ".tmp" : "");
	if (!calls.fail || strncmp(calls.text + length, calls.fail, strlen(calls.fail)))
		return false;
	errno = calls.code;
	return true;
}

int __wrap_fdatasync(int file)
{
	return record("fdatasync", file, NULL) ? -1 : __real_fdatasync(file);
}

int __wrap_fsync(int file)
{
	return record("fsync", file, NULL) ? -1 : __real_fsync(file);
}

int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	return record("rename", -1, from) ? -1 : __real_renameat(from_folder, from, to_folder, to);
}

ssize_t __wrap_write(int file, const void *buffer, size_t bytes)
{
	if (calls.on && calls.interrupted) {
		calls.interrupted--;
		errno = EINTR;
		return -1;
	}
	if (record("write", file, NULL))
		return -1;
	if (calls.on && calls.write_at_most && bytes > calls.write_at_most)
		bytes = calls.write_at_most;
	return __real_write(file, buffer, bytes);
}

int __wrap_posix_fadvise(int file, off_t offset, off_t bytes, int advice)
{
	assert_int_equal(offset | bytes, 0);
	assert_int_equal(advice, POSIX_FADV_DONTNEED);
	record("forget", file, NULL);
	return __real_posix_fadvise(file, offset, bytes, advice);
}

ssize_t __wrap_pread(int file, void *buffer, size_t bytes, off_t offset)
{
	return record("read", file, NULL) ? -1 : __real_pread(file, buffer, bytes, offset);
}

static void record_calls(void)
{
	memset(&calls, 0, sizeof(calls));
	calls.on = true;
	calls.fail = fail_next;
	calls.code = EIO;
}

static void each_step_is_on_the_disk_before_the_next(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	struct gpu_image *image;

	record_calls();
	image = make_image(fixture->folder, 42);
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	calls.on = false;
	assert_string_equal(calls.text, "write manifest.tmp; fsync manifest.tmp; rename data.tmp; "
					"rename manifest.tmp; fsync folder; ");
	gpu_image_free(image);
}

static void short_and_interrupted_writes_are_completed(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = make_image(fixture->folder, 42), *read = NULL;
	struct gpu_image_name name = gpu_image_name_of(image);
	struct error_text error;

	record_calls();
	calls.write_at_most = 50;
	calls.interrupted = 1;
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	calls.on = false;
	assert_non_null(strstr(calls.text, "write manifest.tmp; write manifest.tmp; "));
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	gpu_image_free(read);
	gpu_image_free(image);
}

static void a_failed_commit_leaves_nothing(void **state)
{
	static const char *const steps[] = {"write manifest.tmp", "fsync manifest.tmp", "rename data.tmp",
					    "rename manifest.tmp", "fsync folder"};
	static const struct {
		int code;
		const char *sentence;
	} failures[] = {{ENOSPC, "The disk is full"},
			{EDQUOT, "The disk is full"},
			{EROFS, "is read-only"},
			{EACCES, "No permission"},
			{EIO, "Input/output error"}};
	struct folder_fixture *fixture = *state;
	struct gpu_image_name older;
	struct error_text error;
	struct gpu_image *image;
	char before[4096];
	size_t i, j;

	gpu_image_free(write_image(fixture->folder, 42, &older));
	strcpy(before, folder_contents(fixture));
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (j = 0; j < sizeof(failures) / sizeof(failures[0]); j++) {
			image = make_image(fixture->folder, 42);
			record_calls();
			calls.fail = steps[i];
			calls.code = failures[j].code;
			assert_int_equal(gpu_image_commit(fixture->folder, image, &error), -failures[j].code);
			calls.on = false;
			assert_non_null(strstr(error.text, failures[j].sentence));
			assert_string_equal(folder_contents(fixture), before);
			gpu_image_free(image);
		}
	}
	/* A file system that cannot flush folders. */
	image = make_image(fixture->folder, 42);
	record_calls();
	calls.fail = "fsync folder";
	calls.code = EINVAL;
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	calls.on = false;
	gpu_image_free(image);
}

static void what_stands_in_the_way_fails_the_commit(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = make_image(fixture->folder, 1);
	struct gpu_image_name name = gpu_image_name_of(image);
	char manifest[GPU_IMAGE_FILE_NAME_MAX], left[GPU_IMAGE_FILE_NAME_MAX + 1];
	struct error_text error;

	gpu_image_manifest_name(manifest, &name);
	assert_int_equal(mkdirat(fixture->folder, manifest, 0700), 0);
	assert_true(gpu_image_commit(fixture->folder, image, &error) < 0);
	snprintf(left, sizeof(left), "%s ", manifest);
	assert_string_equal(folder_contents(fixture), left);
	gpu_image_free(image);
}

static int check(const struct folder_fixture *fixture, const struct gpu_image *image, struct error_text *error)
{
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = 1};
	int result;

	assert_int_equal(gpu_image_open_data(fixture->folder, image, &data, error), 0);
	record_calls();
	result = gpu_image_check_on_disk(image, &verification, error);
	calls.on = false;
	gpu_image_close_data(&data);
	return result;
}

static void what_is_checked_comes_from_the_disk(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42, NULL);
	struct error_text error;

	assert_int_equal(check(fixture, image, &error), 0);
	assert_true(strncmp(calls.text, "fdatasync data; forget data; read data; read data; ", 50) == 0);
	change_byte(fixture->folder, image->files[0].name, 4 * MEBIBYTE);
	assert_int_equal(check(fixture, image, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "allocation 11, chunk 2"));
	gpu_image_free(image);
}

static void a_failed_flush_or_read_is_said(void **state)
{
	static const char *const steps[] = {"fdatasync data", "read data"};
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42, NULL);
	struct error_text error;
	size_t i;

	for (i = 0; i < 2; i++) {
		fail_next = steps[i];
		assert_int_equal(check(fixture, image, &error), -EIO);
		assert_non_null(strstr(error.text, image->files[0].name));
	}
	fail_next = NULL;
	gpu_image_free(image);
}

/* Somebody who may write into the folder must not choose what root overwrites. */
static void what_bears_a_temporary_name_is_not_written_to(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image;
	struct gpu_image_name name;
	char link[GPU_IMAGE_FILE_NAME_MAX + sizeof(MANIFEST_TEMPORARY)], manifest[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_data data;
	struct error_text error;
	struct stat status;
	int file, symbolic;

	file = openat(fixture->folder, "target", O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(file, "precious", 8), 8);
	close(file);
	for (symbolic = 0; symbolic <= 1; symbolic++) {
		image = gpu_image_create(1, CHUNK, 1, 1);
		name = gpu_image_name_of(image);
		assert_int_equal(gpu_image_place(image, 0, CHUNK), 0);
		snprintf(link, sizeof(link), "%s" MANIFEST_TEMPORARY, image->files[0].name);
		assert_int_equal(symbolic ? symlinkat("target", fixture->folder, link)
					  : linkat(fixture->folder, "target", fixture->folder, link, 0),
				 0);
		assert_int_equal(gpu_image_create_data(fixture->folder, image, &data, &error), 0);
		gpu_image_close_data(&data);
		gpu_image_manifest_name(manifest, &name);
		snprintf(link, sizeof(link), "%s" MANIFEST_TEMPORARY, manifest);
		assert_int_equal(symbolic ? symlinkat("target", fixture->folder, link)
					  : linkat(fixture->folder, "target", fixture->folder, link, 0),
				 0);
		assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
		assert_int_equal(fstatat(fixture->folder, "target", &status, 0), 0);
		assert_int_equal(status.st_size, 8);
		assert_int_equal(status.st_nlink, 1);
		gpu_image_free(image);
	}
}

static void unwritable_folder_is_named_as_such(void **state)
{
	struct gpu_image *image = gpu_image_create(1, CHUNK, 1, 1);
	struct gpu_image_data data;
	struct error_text error = {""};
	int folder;

	(void)state;
	assert_int_equal(gpu_image_place(image, 0, CHUNK), 0);
	folder = open("/proc/self", O_RDONLY | O_DIRECTORY);
	assert_true(gpu_image_create_data(folder, image, &data, &error) < 0);
	assert_non_null(strstr(error.text, "create rekindle-pages-1-"));
	close(folder);
	gpu_image_free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(each_step_is_on_the_disk_before_the_next),
		FOLDER_TEST(short_and_interrupted_writes_are_completed),
		FOLDER_TEST(a_failed_commit_leaves_nothing),
		FOLDER_TEST(what_stands_in_the_way_fails_the_commit),
		FOLDER_TEST(what_is_checked_comes_from_the_disk),
		FOLDER_TEST(a_failed_flush_or_read_is_said),
		FOLDER_TEST(what_bears_a_temporary_name_is_not_written_to),
		cmocka_unit_test(unwritable_folder_is_named_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
