/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "image/gpu_image.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MEBIBYTE 1048576u
#define CHUNK (2 * MEBIBYTE)

struct fixture {
	char path[64];
	int folder;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->path, "gpu-image-XXXXXX");
	assert_non_null(mkdtemp(fixture->path));
	fixture->folder = open(fixture->path, O_RDONLY | O_DIRECTORY);
	assert_true(fixture->folder >= 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	assert_int_equal(gpu_image_remove_all(fixture->folder, 0, &error), 0);
	close(fixture->folder);
	assert_int_equal(rmdir(fixture->path), 0); /* nothing was left behind */
	free(fixture);
	return 0;
}

/* Two allocations, 5 and 2 MiB in chunks of 2; chunk 1 of the first is all zero. */
static struct gpu_image *write_image(int folder, int32_t pid)
{
	struct gpu_image *image = gpu_image_create(pid, CHUNK, 1, 2);
	unsigned char *contents = malloc(7 * MEBIBYTE);
	struct error_text error;
	uint32_t i, chunk;
	uint64_t offset, bytes;
	int data;

	assert_non_null(image);
	image->mode = GPU_IMAGE_OFFLOAD;
	image->driver_version = 13000;
	image->simulated = true;
	memset(image->devices[0].uuid, 7, 16);
	strcpy(image->devices[0].name, "Test GPU");
	image->devices[0].memory_bytes = 1 << 30;
	assert_int_equal(gpu_image_place(image, 0, 5 * MEBIBYTE), 0);
	assert_int_equal(gpu_image_place(image, 1, 2 * MEBIBYTE), 0);
	image->allocations[0].id = 11;
	image->allocations[1].id = 12;
	image->allocations[1].address = 0x7f0000000000;
	for (i = 0; i < 7 * MEBIBYTE; i++)
		contents[i] = (unsigned char)(i * 2654435761u >> 24);
	memset(contents + CHUNK, 0, CHUNK);
	data = gpu_image_create_data(folder, image, &error);
	assert_true(data >= 0);
	for (i = 0; i < 2; i++) {
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++) {
			offset = image->allocations[i].file_offset + chunk * CHUNK;
			bytes = gpu_image_chunk_bytes(image, i, chunk);
			if (i == 0 && chunk == 1) {
				image->allocations[i].zero_chunks[chunk] = 1;
				continue;
			}
			assert_int_equal(pwrite(data, contents + offset, bytes, (off_t)offset), (ssize_t)bytes);
			image->allocations[i].checksums[chunk] = XXH3_64bits(contents + offset, bytes);
		}
	}
	assert_int_equal(gpu_image_flush_data(data, image, &error), 0);
	close(data);
	assert_int_equal(gpu_image_commit(folder, image, &error), 0);
	free(contents);
	return image;
}

static int verify(int folder, const struct gpu_image *image, uint64_t *bytes, struct error_text *error)
{
	_Atomic uint64_t done = 0;
	struct gpu_image_verification verification = {.threads = 3, .bytes_done = &done};
	int result;

	verification.data = gpu_image_open_data(folder, image, error);
	assert_true(verification.data >= 0);
	result = gpu_image_verify(image, &verification, error);
	close(verification.data);
	*bytes = done;
	return result;
}

static void reads_back_what_was_written(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *written = write_image(fixture->folder, 42), *read = NULL;
	struct error_text error;
	uint64_t bytes;

	assert_int_equal(gpu_image_read(fixture->folder, 42, &read, &error), 0);
	assert_memory_equal(read->id, written->id, 16);
	assert_int_equal(read->pid, 42);
	assert_int_equal(read->mode, GPU_IMAGE_OFFLOAD);
	assert_int_equal(read->driver_version, 13000);
	assert_true(read->simulated);
	assert_int_equal(read->created, written->created);
	assert_int_equal(read->chunk_bytes, CHUNK);
	assert_string_equal(read->data_file, "rekindle-pages-42.img");
	assert_int_equal(read->data_bytes, 7 * MEBIBYTE);
	assert_int_equal(read->stored_bytes, 5 * MEBIBYTE);
	assert_int_equal(gpu_image_device_bytes(read), 7 * MEBIBYTE);
	assert_int_equal(read->device_count, 1);
	assert_string_equal(read->devices[0].name, "Test GPU");
	assert_int_equal(read->allocation_count, 2);
	assert_int_equal(read->allocations[0].chunk_count, 3);
	assert_int_equal(gpu_image_chunk_bytes(read, 0, 2), MEBIBYTE);
	assert_int_equal(read->allocations[0].zero_chunks[1], 1);
	assert_int_equal(read->allocations[1].id, 12);
	assert_int_equal(read->allocations[1].address, 0x7f0000000000);
	assert_int_equal(read->allocations[1].file_offset, 5 * MEBIBYTE);
	assert_memory_equal(read->allocations[0].checksums, written->allocations[0].checksums, 24);
	assert_int_equal(verify(fixture->folder, read, &bytes, &error), 0);
	assert_int_equal(bytes, 5 * MEBIBYTE);
	gpu_image_free(read);
	gpu_image_free(written);
}

static void native_image_has_a_manifest_only(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(7, CHUNK, 0, 0), *read = NULL;
	struct error_text error;

	image->mode = GPU_IMAGE_NATIVE;
	strcpy(image->reason, "the process has no agent");
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, 7, &read, &error), 0);
	assert_int_equal(read->mode, GPU_IMAGE_NATIVE);
	assert_string_equal(read->reason, "the process has no agent");
	assert_int_equal(read->allocation_count, 0);
	assert_int_equal(faccessat(fixture->folder, "rekindle-pages-7.img", F_OK, 0), -1);
	gpu_image_free(read);
	gpu_image_free(image);
}

static void lists_and_removes(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	int32_t *pids = NULL;
	size_t count = 0;
	int other;

	assert_int_equal(gpu_image_list(fixture->folder, &pids, &count, &error), 0);
	assert_int_equal(count, 0);
	free(pids);
	gpu_image_free(write_image(fixture->folder, 300));
	gpu_image_free(write_image(fixture->folder, 20));
	other = openat(fixture->folder, "rekindle-x.img", O_CREAT | O_WRONLY, 0600);
	close(other);
	assert_int_equal(gpu_image_list(fixture->folder, &pids, &count, &error), 0);
	assert_int_equal(count, 2);
	assert_int_equal(pids[0], 20);
	assert_int_equal(pids[1], 300);
	free(pids);
	gpu_image_remove(fixture->folder, 20);
	assert_int_equal(faccessat(fixture->folder, "rekindle-20.img", F_OK, 0), -1);
	assert_int_equal(faccessat(fixture->folder, "rekindle-pages-20.img", F_OK, 0), -1);
	assert_int_equal(gpu_image_remove_all(fixture->folder, 0, &error), 0);
	assert_int_equal(faccessat(fixture->folder, "rekindle-300.img", F_OK, 0), -1);
	assert_int_equal(unlinkat(fixture->folder, "rekindle-x.img", 0), 0); /* not ours: left alone */
}

static void change_byte(int folder, const char *name, off_t offset)
{
	int file = openat(folder, name, O_RDWR);
	unsigned char byte;

	assert_int_equal(pread(file, &byte, 1, offset), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(file, &byte, 1, offset), 1);
	close(file);
}

static void damaged_data_names_allocation_chunk_and_file(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42);
	struct error_text error;
	uint64_t bytes;

	change_byte(fixture->folder, "rekindle-pages-42.img", 4 * MEBIBYTE + 77);
	assert_int_equal(verify(fixture->folder, image, &bytes, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "allocation 11, chunk 2"));
	assert_non_null(strstr(error.text, "rekindle-pages-42.img"));
	gpu_image_free(image);
}

static void damaged_manifest_is_refused_at_every_byte(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *read = NULL;
	struct error_text error;
	struct stat status;
	off_t at;

	gpu_image_free(write_image(fixture->folder, 42));
	assert_int_equal(fstatat(fixture->folder, "rekindle-42.img", &status, 0), 0);
	for (at = 0; at < status.st_size; at++) {
		change_byte(fixture->folder, "rekindle-42.img", at);
		assert_true(gpu_image_read(fixture->folder, 42, &read, &error) < 0);
		assert_non_null(strstr(error.text, "rekindle-42.img"));
		change_byte(fixture->folder, "rekindle-42.img", at);
	}
	assert_int_equal(gpu_image_read(fixture->folder, 42, &read, &error), 0);
	gpu_image_free(read);
}

static void truncated_files_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *read = NULL;
	struct error_text error;
	int file;

	gpu_image_free(write_image(fixture->folder, 42));
	file = openat(fixture->folder, "rekindle-pages-42.img", O_RDWR);
	assert_int_equal(ftruncate(file, 7 * MEBIBYTE - 1), 0);
	close(file);
	assert_int_equal(gpu_image_read(fixture->folder, 42, &read, &error), -ENODATA);
	assert_non_null(strstr(error.text, "rekindle-pages-42.img is truncated"));
	file = openat(fixture->folder, "rekindle-42.img", O_RDWR);
	assert_int_equal(ftruncate(file, 60), 0);
	close(file);
	assert_int_equal(gpu_image_read(fixture->folder, 42, &read, &error), -EBADMSG);
	assert_int_equal(gpu_image_read(fixture->folder, 43, &read, &error), -ENOENT);
}

static void unwritable_folder_is_named_as_such(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(1, CHUNK, 1, 1);
	struct error_text error = {""};
	int folder;

	(void)fixture;
	assert_int_equal(gpu_image_place(image, 0, CHUNK), 0);
	folder = open("/proc/self", O_RDONLY | O_DIRECTORY);
	assert_true(gpu_image_create_data(folder, image, &error) < 0);
	assert_non_null(strstr(error.text, "create rekindle-pages-1.img.tmp"));
	close(folder);
	gpu_image_free(image);
}

static void verification_can_be_cancelled(void **state)
{
	struct fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42);
	atomic_bool cancel = true;
	struct gpu_image_verification verification = {.threads = 2, .cancel = &cancel};
	struct error_text error;

	verification.data = gpu_image_open_data(fixture->folder, image, &error);
	assert_int_equal(gpu_image_verify(image, &verification, &error), -ECANCELED);
	close(verification.data);
	gpu_image_free(image);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_back_what_was_written),
		TEST(native_image_has_a_manifest_only),
		TEST(lists_and_removes),
		TEST(damaged_data_names_allocation_chunk_and_file),
		TEST(damaged_manifest_is_refused_at_every_byte),
		TEST(truncated_files_are_refused),
		TEST(unwritable_folder_is_named_as_such),
		TEST(verification_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
