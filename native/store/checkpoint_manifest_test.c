/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_manifest.pb-c.h"
#include "store/checkpoint_gpu_images.h"
#include "store/checkpoint_manifest.h"
#include "store/image_test_support.h"

/* Which files were flushed; linked with --wrap=fsync. */

int __real_fsync(int file);

static struct {
	bool on;
	char text[1024];
	const char *fail;
} flushed;

int __wrap_fsync(int file)
{
	char link[64], target[4096] = "", *name;
	size_t length = strlen(flushed.text);

	if (!flushed.on)
		return __real_fsync(file);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	name = strrchr(target, '/') + 1;
	if (!strncmp(name, "image-test-", 11))
		name = "folder";
	snprintf(flushed.text + length, sizeof(flushed.text) - length, "%s ", name);
	if (flushed.fail && !strcmp(flushed.fail, name)) {
		errno = EIO;
		return -1;
	}
	return __real_fsync(file);
}

static const uint8_t id[16] = {3, 1, 4, 1, 5, 9};

static void write_file(int folder, const char *name, size_t bytes)
{
	int file = openat(folder, name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	unsigned char *contents = malloc(bytes + 1);
	size_t i;

	for (i = 0; i < bytes; i++)
		contents[i] = (unsigned char)((i * 2654435761u + bytes) >> 13);
	assert_true(file >= 0);
	assert_int_equal(write(file, contents, bytes), (ssize_t)bytes);
	close(file);
	free(contents);
}

/* An image of several chunks, small ones, an empty one, a GPU image, and what is none of a checkpoint's business. */
#define LARGE (33 * MEBIBYTE + 17)

static struct gpu_image *write_files(int folder)
{
	write_file(folder, "pages-1.img", LARGE);
	write_file(folder, "core-1.img", 1000);
	write_file(folder, "mm-1.img", 16 * MEBIBYTE);
	write_file(folder, "seccomp.img", 0);
	write_file(folder, "dump.log", 500);
	write_file(folder, "stats-dump", 50);
	return write_image(folder, 42, NULL);
}

static struct checkpoint_manifest *seal(int folder)
{
	struct checkpoint_reading reading = {.threads = 3};
	struct checkpoint_manifest *manifest = NULL;
	struct error_text error;

	gpu_image_free(write_files(folder));
	assert_int_equal(checkpoint_manifest_make(folder, id, &reading, &manifest, &error), 0);
	assert_int_equal(checkpoint_manifest_write(folder, manifest, &error), 0);
	return manifest;
}

static int verify(int folder, const struct checkpoint_manifest *manifest, uint64_t *bytes, struct error_text *error)
{
	_Atomic uint64_t done = 0;
	struct checkpoint_reading reading = {.threads = 3, .bytes_done = &done};
	int result = checkpoint_verify_files(folder, manifest, &reading, error);

	*bytes = done;
	return result;
}

static void lists_every_image_with_its_checksums(void **state)
{
	struct folder_fixture *fixture = *state;
	struct checkpoint_manifest *written = seal(fixture->folder), *read = NULL;
	struct error_text error;
	uint64_t bytes;
	size_t i, gpu_data = 0;

	assert_int_equal(checkpoint_manifest_read(fixture->folder, &read, &error), 0);
	assert_memory_equal(read->id, id, 16);
	assert_int_equal(read->created, written->created);
	assert_int_equal(read->count, 6);
	assert_string_equal(read->files[0].name, "core-1.img");
	assert_int_equal(read->files[0].bytes, 1000);
	assert_int_equal(read->files[0].chunk_count, 1);
	assert_string_equal(read->files[2].name, "pages-1.img");
	assert_int_equal(read->files[2].bytes, LARGE);
	assert_int_equal(read->files[2].chunk_count, 3);
	assert_int_equal(read->files[5].chunk_count, 0);
	for (i = 0; i < read->count; i++) {
		assert_true(checkpoint_manifest_lists(read, read->files[i].name));
		gpu_data += read->files[i].gpu_data;
		assert_int_equal(read->files[i].gpu_data, !strncmp(read->files[i].name, "rekindle-pages-", 15));
	}
	assert_int_equal(gpu_data, 1);
	assert_false(checkpoint_manifest_lists(read, "dump.log"));
	assert_false(checkpoint_manifest_lists(read, CHECKPOINT_MANIFEST_NAME));
	assert_int_equal(checkpoint_manifest_bytes(read, true) - checkpoint_manifest_bytes(read, false), 7 * MEBIBYTE);
	assert_int_equal(checkpoint_check_files(fixture->folder, read, &error), 0);
	assert_int_equal(verify(fixture->folder, read, &bytes, &error), 0);
	assert_int_equal(bytes, checkpoint_manifest_bytes(read, false));
	checkpoint_manifest_free(read);
	checkpoint_manifest_free(written);
}

static void each_file_is_flushed_before_the_manifest_is_named(void **state)
{
	struct folder_fixture *fixture = *state;
	struct checkpoint_reading reading = {.threads = 1};
	struct checkpoint_manifest *manifest = NULL;
	struct error_text error;
	struct gpu_image *image = write_files(fixture->folder);
	struct gpu_image_name name = gpu_image_name_of(image);
	char gpu_manifest[GPU_IMAGE_FILE_NAME_MAX], expected[1024];

	memset(&flushed, 0, sizeof(flushed));
	flushed.on = true;
	assert_int_equal(checkpoint_manifest_make(fixture->folder, id, &reading, &manifest, &error), 0);
	assert_int_equal(checkpoint_manifest_write(fixture->folder, manifest, &error), 0);
	flushed.on = false;
	gpu_image_manifest_name(gpu_manifest, &name);
	snprintf(expected, sizeof(expected),
		 "core-1.img mm-1.img pages-1.img %s %s seccomp.img folder rekindle-checkpoint.img.tmp folder ",
		 gpu_manifest, image->files[0].name);
	assert_string_equal(flushed.text, expected);
	checkpoint_manifest_free(manifest);
	gpu_image_free(image);
}

static void a_failed_flush_of_any_file_is_said(void **state)
{
	static const char *const names[] = {"core-1.img", "pages-1.img", "seccomp.img", "folder"};
	struct folder_fixture *fixture = *state;
	struct checkpoint_reading reading = {.threads = 1};
	struct checkpoint_manifest *manifest = NULL;
	struct error_text error;
	size_t i;

	gpu_image_free(write_files(fixture->folder));
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(&flushed, 0, sizeof(flushed));
		flushed.on = true;
		flushed.fail = names[i];
		assert_int_equal(checkpoint_manifest_make(fixture->folder, id, &reading, &manifest, &error), -EIO);
		assert_non_null(strstr(error.text, i < 3 ? names[i] : "folder"));
		flushed.on = false;
	}
	/* Of the manifest itself: it is not there then. */
	assert_int_equal(checkpoint_manifest_make(fixture->folder, id, &reading, &manifest, &error), 0);
	memset(&flushed, 0, sizeof(flushed));
	flushed.on = true;
	flushed.fail = "rekindle-checkpoint.img.tmp";
	assert_int_equal(checkpoint_manifest_write(fixture->folder, manifest, &error), -EIO);
	flushed.on = false;
	assert_null(strstr(folder_contents(fixture), "rekindle-checkpoint.img"));
	checkpoint_manifest_free(manifest);
}

static void missing_cut_and_changed_files_are_named(void **state)
{
	static const char *const names[] = {"core-1.img", "mm-1.img", "pages-1.img"};
	struct folder_fixture *fixture = *state;
	struct checkpoint_manifest *manifest = seal(fixture->folder);
	struct error_text error;
	uint64_t bytes;
	size_t i;

	for (i = 0; i < manifest->count; i++) {
		const struct checkpoint_file *file = &manifest->files[i];

		if (file->gpu_data || !file->bytes)
			continue;
		/* The first, a middle and the last byte. */
		for (int at = 0; at < 3; at++) {
			off_t offset = at == 0 ? 0 : at == 1 ? (off_t)file->bytes / 2 : (off_t)file->bytes - 1;

			change_byte(fixture->folder, file->name, offset);
			assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), 0);
			assert_int_equal(verify(fixture->folder, manifest, &bytes, &error), -EBADMSG);
			assert_non_null(strstr(error.text, file->name));
			change_byte(fixture->folder, file->name, offset);
		}
	}
	assert_int_equal(verify(fixture->folder, manifest, &bytes, &error), 0);
	for (i = 0; i < 3; i++) {
		struct stat status;

		assert_int_equal(fstatat(fixture->folder, names[i], &status, 0), 0);
		cut_file(fixture->folder, names[i], status.st_size - 1);
		assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), -ENODATA);
		assert_non_null(strstr(error.text, names[i]));
		assert_non_null(strstr(error.text, "is truncated"));
		assert_true(verify(fixture->folder, manifest, &bytes, &error) < 0);
		cut_file(fixture->folder, names[i], status.st_size + 1);
		assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), -ENODATA);
		assert_non_null(strstr(error.text, "is longer than it was"));
		assert_int_equal(unlinkat(fixture->folder, names[i], 0), 0);
		assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), -ENODATA);
		assert_non_null(strstr(error.text, names[i]));
		assert_non_null(strstr(error.text, "is missing"));
		assert_int_equal(mkfifoat(fixture->folder, names[i], 0600), 0);
		assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), -EBADMSG);
		assert_non_null(strstr(error.text, "no regular file"));
		assert_int_equal(verify(fixture->folder, manifest, &bytes, &error), -EBADMSG);
		unlinkat(fixture->folder, names[i], 0);
		write_file(fixture->folder, names[i], (size_t)status.st_size);
	}
	assert_int_equal(verify(fixture->folder, manifest, &bytes, &error), 0);
	/* GPU data is checked for its size here, and by its own manifest. */
	for (i = 0; !manifest->files[i].gpu_data; i++)
		;
	cut_file(fixture->folder, manifest->files[i].name, 100);
	assert_int_equal(checkpoint_check_files(fixture->folder, manifest, &error), -ENODATA);
	checkpoint_manifest_free(manifest);
}

static void a_damaged_manifest_is_refused_at_every_byte(void **state)
{
	struct folder_fixture *fixture = *state;
	struct checkpoint_manifest *manifest = seal(fixture->folder);
	struct error_text error;
	struct stat status;
	off_t at;

	checkpoint_manifest_free(manifest);
	assert_int_equal(fstatat(fixture->folder, CHECKPOINT_MANIFEST_NAME, &status, 0), 0);
	for (at = 0; at < status.st_size; at++) {
		change_byte(fixture->folder, CHECKPOINT_MANIFEST_NAME, at);
		assert_true(checkpoint_manifest_read(fixture->folder, &manifest, &error) < 0);
		assert_non_null(strstr(error.text, CHECKPOINT_MANIFEST_NAME));
		change_byte(fixture->folder, CHECKPOINT_MANIFEST_NAME, at);
	}
	for (at = status.st_size - 1; at >= 0; at--) {
		cut_file(fixture->folder, CHECKPOINT_MANIFEST_NAME, at);
		assert_int_equal(checkpoint_manifest_read(fixture->folder, &manifest, &error), -EBADMSG);
	}
	unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	assert_int_equal(checkpoint_manifest_read(fixture->folder, &manifest, &error), -ENOENT);
}

/* ---- manifests that no dump writes, with a checksum that is right ---- */

static const struct manifest_kind kind = {
	.magic = 0x544b504b43524b00ull, .format_version = 1, .oldest_version = 1, .what = "manifest"};

static void rewrite(int folder, void (*change)(Rekindle__Checkpoint *message))
{
	Rekindle__Checkpoint *message;
	struct error_text error;
	uint8_t *buffer;
	size_t bytes;

	assert_int_equal(manifest_load(folder, CHECKPOINT_MANIFEST_NAME, &kind, &buffer, &bytes, &error), 0);
	message = rekindle__checkpoint__unpack(NULL, bytes, buffer);
	free(buffer);
	change(message);
	bytes = rekindle__checkpoint__get_packed_size(message);
	buffer = malloc(sizeof(struct manifest_header) + bytes);
	rekindle__checkpoint__pack(message, buffer + sizeof(struct manifest_header));
	assert_int_equal(manifest_write(folder, CHECKPOINT_MANIFEST_NAME, &kind, buffer, bytes, &error), 0);
	assert_int_equal(rename_temporary(folder, CHECKPOINT_MANIFEST_NAME, &error), 0);
	free(buffer);
	rekindle__checkpoint__free_unpacked(message, NULL);
}

static void give_name(Rekindle__Checkpoint *message, const char *name)
{
	free(message->files[1]->name);
	message->files[1]->name = strdup(name);
}

static void give_long_name(Rekindle__Checkpoint *message)
{
	char name[300];

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	give_name(message, name);
}

#define CHANGE(name, statement)                                  \
	static void change_##name(Rekindle__Checkpoint *message) \
	{                                                        \
		statement;                                       \
	}
CHANGE(nothing, message->created = message->created)
CHANGE(version, message->format_version++)
CHANGE(id, message->checkpoint_id.len--)
CHANGE(small_chunks, message->chunk_bytes = 1)
CHANGE(large_chunks, message->chunk_bytes = (1u << 30) + 1)
CHANGE(no_name, give_name(message, ""))
CHANGE(elsewhere, give_name(message, "d/../../mm-1.img"))
CHANGE(dot, give_name(message, "."))
CHANGE(dots, give_name(message, ".."))
CHANGE(twice, give_name(message, "core-1.img"))
CHANGE(order, give_name(message, "a.img"))
CHANGE(long_name, give_long_name(message))
CHANGE(size, message->files[1]->bytes = 1ull << 63)
CHANGE(more_bytes, message->files[1]->bytes += 1)
CHANGE(few_checksums, message->files[1]->n_checksums--)
CHANGE(sums_of_gpu_data, message->files[1]->gpu_data = 1)

static void manifests_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		void (*change)(Rekindle__Checkpoint *message);
		const char *sentence;
	} cases[] = {
		{change_nothing, NULL},
		{change_version, "the format version"},
		{change_id, "the checkpoint id"},
		{change_small_chunks, "the chunk size"},
		{change_large_chunks, "the chunk size"},
		{change_no_name, "a file's name"},
		{change_elsewhere, "a file's name"},
		{change_dot, "a file's name"},
		{change_dots, "a file's name"},
		{change_long_name, "a file's name"},
		{change_twice, "the order of the files"},
		{change_order, "the order of the files"},
		{change_size, "a file's size"},
		{change_more_bytes, "a file's checksums"},
		{change_few_checksums, "a file's checksums"},
		{change_sums_of_gpu_data, "a file's checksums"},
	};
	struct folder_fixture *fixture = *state;
	struct checkpoint_manifest *manifest;
	struct error_text error;
	size_t i;
	int result;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		checkpoint_manifest_free(seal(fixture->folder));
		rewrite(fixture->folder, cases[i].change);
		manifest = NULL;
		result = checkpoint_manifest_read(fixture->folder, &manifest, &error);
		assert_int_equal(result, cases[i].sentence ? -EBADMSG : 0);
		if (cases[i].sentence && !strstr(error.text, cases[i].sentence))
			fail_msg("case %zu says: %s", i, error.text);
		checkpoint_manifest_free(manifest);
	}
}

static void reading_can_be_cancelled(void **state)
{
	struct folder_fixture *fixture = *state;
	struct checkpoint_manifest *manifest = seal(fixture->folder);
	atomic_bool cancel = true;
	struct checkpoint_reading reading = {.threads = 2, .cancel = &cancel};
	struct error_text error;

	assert_int_equal(checkpoint_verify_files(fixture->folder, manifest, &reading, &error), -ECANCELED);
	checkpoint_manifest_free(manifest);
}

static void only_gpu_images_of_the_checkpoint_count(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name *names, other;
	struct error_text error;
	size_t count;

	checkpoint_manifest_free(seal(fixture->folder));
	gpu_image_free(write_image(fixture->folder, 42, &other)); /* of another dump */
	assert_int_equal(checkpoint_gpu_images(fixture->folder, &names, &count, &error), 0);
	assert_int_equal(count, 1);
	assert_int_equal(names[0].pid, 42);
	assert_memory_not_equal(names[0].id, other.id, 16);
	free(names);
	unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	assert_int_equal(checkpoint_gpu_images(fixture->folder, &names, &count, &error), 0);
	assert_int_equal(count, 2);
	free(names);
	write_file(fixture->folder, CHECKPOINT_MANIFEST_NAME, 100);
	assert_int_equal(checkpoint_gpu_images(fixture->folder, &names, &count, &error), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(lists_every_image_with_its_checksums),
		FOLDER_TEST(each_file_is_flushed_before_the_manifest_is_named),
		FOLDER_TEST(a_failed_flush_of_any_file_is_said),
		FOLDER_TEST(missing_cut_and_changed_files_are_named),
		FOLDER_TEST(a_damaged_manifest_is_refused_at_every_byte),
		FOLDER_TEST(manifests_that_make_no_sense_are_refused),
		FOLDER_TEST(reading_can_be_cancelled),
		FOLDER_TEST(only_gpu_images_of_the_checkpoint_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
