/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu_image.pb-c.h"
#include "store/image_test_support.h"

static void damaged_data_names_allocation_chunk_and_file(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42, NULL);
	struct error_text error;
	uint64_t bytes;

	change_byte(fixture->folder, image->files[0].name, 4 * MEBIBYTE + 77);
	assert_int_equal(verify_image(fixture->folder, image, &bytes, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "allocation 11, chunk 2"));
	assert_non_null(strstr(error.text, image->files[0].name));
	gpu_image_free(image);
}

static void damaged_manifest_is_refused_at_every_byte(void **state)
{
	struct folder_fixture *fixture = *state;
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image *read = NULL;
	struct gpu_image_name name;
	struct error_text error;
	struct stat status;
	off_t at;

	gpu_image_free(write_image(fixture->folder, 42, &name));
	gpu_image_manifest_name(manifest, &name);
	assert_int_equal(fstatat(fixture->folder, manifest, &status, 0), 0);
	for (at = 0; at < status.st_size; at++) {
		change_byte(fixture->folder, manifest, at);
		assert_true(gpu_image_read(fixture->folder, &name, &read, &error) < 0);
		assert_non_null(strstr(error.text, manifest));
		change_byte(fixture->folder, manifest, at);
	}
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	gpu_image_free(read);
}

static void truncated_files_are_refused(void **state)
{
	struct folder_fixture *fixture = *state;
	char manifest[GPU_IMAGE_FILE_NAME_MAX], data[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image *read = NULL;
	struct gpu_image_name name;
	struct error_text error;
	off_t bytes;

	gpu_image_free(write_image(fixture->folder, 42, &name));
	gpu_image_manifest_name(manifest, &name);
	gpu_image_data_name(data, &name, 0);
	cut_file(fixture->folder, data, 7 * MEBIBYTE - 1);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -ENODATA);
	assert_non_null(strstr(error.text, data));
	assert_non_null(strstr(error.text, "is truncated"));
	for (bytes = 60; bytes >= 0; bytes--) {
		cut_file(fixture->folder, manifest, bytes);
		assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -EBADMSG);
	}
	assert_int_equal(unlinkat(fixture->folder, manifest, 0), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -ENOENT);
}

/* ---- manifests that no dump writes, with a checksum that is right ---- */

/* Writes the manifest of an image anew, with something changed in it. */
static void rewrite(int folder, const struct gpu_image_name *name, void (*change)(Rekindle__GpuImage *message))
{
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	Rekindle__GpuImage *message;
	struct error_text error;
	uint8_t *buffer;
	size_t bytes;

	gpu_image_manifest_name(manifest, name);
	assert_int_equal(manifest_load(folder, manifest, &gpu_image_manifest, &buffer, &bytes, &error), 0);
	message = rekindle__gpu_image__unpack(NULL, bytes, buffer);
	free(buffer);
	change(message);
	bytes = rekindle__gpu_image__get_packed_size(message);
	buffer = malloc(sizeof(struct manifest_header) + bytes);
	rekindle__gpu_image__pack(message, buffer + sizeof(struct manifest_header));
	assert_int_equal(manifest_write(folder, manifest, &gpu_image_manifest, buffer, bytes, &error), 0);
	assert_int_equal(rename_temporary(folder, manifest, &error), 0);
	free(buffer);
	rekindle__gpu_image__free_unpacked(message, NULL);
}

static void rename_data(Rekindle__GpuImage *message, const char *name)
{
	free(message->data_file);
	message->data_file = strdup(name);
}

static void be_of_format_1(Rekindle__GpuImage *message, uint64_t second_offset)
{
	message->format_version = 1;
	message->data_files = 0;
	message->allocations[1]->file_offset = second_offset;
}

/* More of them than the allocation has chunks. */
static void give_places(Rekindle__GpuImage *message)
{
	message->allocations[0]->n_places = 1000;
	message->allocations[0]->places = calloc(1000, sizeof(uint32_t));
}

static void give_offsets(Rekindle__GpuImage *message)
{
	message->allocations[0]->n_offsets = 1000;
	message->allocations[0]->offsets = calloc(1000, sizeof(uint64_t));
}

/* More of them than an image can have. */
static void leave_files_alone(Rekindle__GpuImage *message)
{
	while (message->n_allocations)
		rekindle__gpu_allocation__free_unpacked(message->allocations[--message->n_allocations], NULL);
	message->data_bytes = 0;
	message->data_files = 0;
	message->format_version = 4;
	message->files = calloc(1000, sizeof(*message->files));
	for (; message->n_files < 1000; message->n_files++) {
		message->files[message->n_files] = malloc(sizeof(**message->files));
		rekindle__gpu_file__init(message->files[message->n_files]);
	}
}

#define CHANGE(name, statement)                                \
	static void change_##name(Rekindle__GpuImage *message) \
	{                                                      \
		statement;                                     \
	}
CHANGE(nothing, message->reason = message->reason)
CHANGE(version, message->format_version = GPU_IMAGE_FORMAT_VERSION + 1)
CHANGE(no_version, message->format_version = 0)
CHANGE(id_length, message->image_id.len = 15)
CHANGE(id, message->image_id.data[3] ^= 1)
CHANGE(pid, message->pid++)
CHANGE(mode, message->mode = 3)
CHANGE(no_mode, message->mode = 0)
CHANGE(small_chunks, message->chunk_bytes = MEBIBYTE - 4096)
CHANGE(large_chunks, message->chunk_bytes = 1024ull * MEBIBYTE + 4096)
CHANGE(odd_chunks, message->chunk_bytes += 512)
CHANGE(no_data_file, rename_data(message, ""))
CHANGE(data_elsewhere, rename_data(message, "../data"))
CHANGE(long_data_name,
       rename_data(message, "a-name-that-is-longer-than-any-that-a-dump-gives-to-a-data-file-of-an-image"))
CHANGE(uuid, message->devices[0]->uuid.len = 15)
CHANGE(device, message->allocations[1]->device = 1)
CHANGE(no_bytes, message->allocations[1]->bytes = 0)
CHANGE(odd_bytes, message->allocations[1]->bytes--)
CHANGE(overflow, message->allocations[1]->bytes = 0xfffffffffffff000ull)
CHANGE(too_far, message->allocations[1]->bytes = 0x7ffffffffffff000ull)
CHANGE(no_files, message->data_files = 0)
CHANGE(many_files, message->data_files = GPU_IMAGE_OWN_FILES_MAX + 1)
CHANGE(older_version, be_of_format_1(message, 5 * MEBIBYTE))
CHANGE(older_place, be_of_format_1(message, 5 * MEBIBYTE + 4096))
CHANGE(older_files, (be_of_format_1(message, 5 * MEBIBYTE), message->data_files = 1))
CHANGE(older_host, (message->format_version = 3, message->allocations[1]->on_host = 1))
CHANGE(device_node, message->allocations[1]->node = 1)
CHANGE(few_checksums, message->allocations[0]->n_checksums--)
CHANGE(few_zero_chunks, message->allocations[0]->zero_chunks.len--)
CHANGE(short_data, message->data_bytes -= 4096)
CHANGE(early_places, give_places(message))
CHANGE(early_offsets, give_offsets(message))
CHANGE(early_both, (give_places(message), give_offsets(message)))
CHANGE(files_alone, leave_files_alone(message))
CHANGE(in_pool, message->in_pool = 1)
CHANGE(in_pool_with_files, (message->in_pool = 1, message->format_version = 6))
CHANGE(in_pool_with_checksums, (message->in_pool = 1, message->format_version = 6, message->data_files = 0))
CHANGE(in_pool_without_hashes, (message->in_pool = 1, message->format_version = 6, message->data_files = 0,
				message->allocations[0]->n_checksums = 0, message->allocations[0]->zero_chunks.len = 0))

static void manifests_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		void (*change)(Rekindle__GpuImage *message);
		const char *sentence;
	} cases[] = {
		{change_nothing, NULL},
		{change_version, "the format version"},
		{change_no_version, "the format version"},
		{change_id_length, "the image id"},
		{change_id, "the image id"},
		{change_pid, "the pid"},
		{change_mode, "the mode"},
		{change_no_mode, "the mode"},
		{change_small_chunks, "the chunk size"},
		{change_large_chunks, "the chunk size"},
		{change_odd_chunks, "the chunk size"},
		{change_no_data_file, "the data file's name"},
		{change_data_elsewhere, "the data file's name"},
		{change_long_data_name, "the data file's name"},
		{change_uuid, "a device makes"},
		{change_older_host, "an allocation's location"},
		{change_device_node, "an allocation's location"},
		{change_device, "an allocation's device"},
		{change_no_bytes, "an allocation's size"},
		{change_odd_bytes, "an allocation's size"},
		{change_no_files, "the number of data files"},
		{change_many_files, "the number of data files"},
		{change_older_version, NULL},
		{change_older_place, "an allocation's place"},
		{change_older_files, "the number of data files"},
		{change_overflow, "an allocation's size"},
		{change_too_far, "an allocation's size"},
		{change_few_checksums, "an allocation's checksums"},
		{change_few_zero_chunks, "an allocation's checksums"},
		{change_short_data, "the size of the data"},
		{change_early_places, "an allocation's place"},
		{change_early_offsets, "an allocation's place"},
		{change_early_both, "an allocation's place"},
		{change_files_alone, "the number of data files"},
		{change_in_pool, "where the contents are"},
		{change_in_pool_with_files, "where the contents are"},
		{change_in_pool_with_checksums, "an allocation's checksums"},
		{change_in_pool_without_hashes, "an allocation's hashes"},
	};
	struct folder_fixture *fixture = *state;
	struct gpu_image *read;
	struct gpu_image_name name;
	struct error_text error;
	size_t i;
	int result;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		gpu_image_free(write_image(fixture->folder, 42, &name));
		rewrite(fixture->folder, &name, cases[i].change);
		read = NULL;
		result = gpu_image_read(fixture->folder, &name, &read, &error);
		if (cases[i].sentence) {
			assert_int_equal(result, -EBADMSG);
			if (!strstr(error.text, cases[i].sentence) || !strstr(error.text, "makes no sense"))
				fail_msg("case %zu says: %s", i, error.text);
		} else {
			assert_int_equal(result, 0);
		}
		gpu_image_free(read);
	}
}

CHANGE(no_file, (message->data_files--, rekindle__gpu_file__free_unpacked(message->files[--message->n_files], NULL)))
CHANGE(another_file, message->data_files--)
CHANGE(many_differences, message->data_files = GPU_IMAGE_FILES_MAX + 1)
CHANGE(file_size, message->files[0]->bytes = UINT64_MAX)
CHANGE(origin, message->files[0]->origin.len = 15)
CHANGE(few_places, message->allocations[0]->n_places--)
CHANGE(few_offsets, message->allocations[0]->n_offsets--)
CHANGE(odd_place, message->allocations[0]->offsets[0]++)
CHANGE(far_place, message->allocations[0]->offsets[0] = message->files[0]->bytes)
CHANGE(very_far_place, message->allocations[0]->offsets[0] = 0xfffffffffffff000ull)
CHANGE(nothing_there, message->allocations[0]->offsets[1] = 0x7ffffffffffff000ull)
CHANGE(long_hashes, (message->allocations[0]->hashes.len = 16, message->allocations[0]->hashes.data = calloc(1, 16)))
CHANGE(total, message->data_bytes++)

static void differences_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		void (*change)(Rekindle__GpuImage *message);
		const char *sentence;
	} cases[] = {
		{change_nothing, NULL},
		{change_no_file, "an allocation's place"},
		{change_another_file, "the number of data files"},
		{change_many_differences, "the number of data files"},
		{change_file_size, "the size of a data file"},
		{change_origin, "where a data file comes from"},
		{change_few_places, "an allocation's place"},
		{change_few_offsets, "an allocation's place"},
		{change_odd_place, "an allocation's place"},
		{change_far_place, "an allocation's place"},
		{change_very_far_place, "an allocation's place"},
		{change_nothing_there, "an allocation's place"},
		{change_long_hashes, "an allocation's hashes"},
		{change_total, "the size of the data"},
	};
	struct folder_fixture *fixture = *state;
	struct gpu_image *parent = write_spread_image(fixture->folder, 42, &(struct gpu_image_name){.pid = 0}), *image,
			 *read;
	struct gpu_image_name name;
	struct error_text error;
	size_t i;
	int result;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		image = make_difference(fixture->folder, parent);
		assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
		name = gpu_image_name_of(image);
		gpu_image_free(image);
		rewrite(fixture->folder, &name, cases[i].change);
		read = NULL;
		result = gpu_image_read(fixture->folder, &name, &read, &error);
		assert_int_equal(result, cases[i].sentence ? -EBADMSG : 0);
		if (cases[i].sentence && !strstr(error.text, cases[i].sentence))
			fail_msg("case %zu says: %s", i, error.text);
		gpu_image_free(read);
		gpu_image_remove(fixture->folder, &name);
	}
	gpu_image_free(parent);
}

static void a_manifest_under_another_name_is_refused(void **state)
{
	struct folder_fixture *fixture = *state;
	char from[GPU_IMAGE_FILE_NAME_MAX], to[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_name name, other;
	struct gpu_image *read = NULL;
	struct error_text error;

	gpu_image_free(write_image(fixture->folder, 42, &name));
	other = name;
	other.pid = 43;
	gpu_image_manifest_name(from, &name);
	gpu_image_manifest_name(to, &other);
	assert_int_equal(renameat(fixture->folder, from, fixture->folder, to), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &other, &read, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "the pid makes no sense"));
	/* A name of an older version says nothing about the id. */
	other = (struct gpu_image_name){.pid = 42};
	assert_int_equal(renameat(fixture->folder, to, fixture->folder, "rekindle-42.img"), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &other, &read, &error), 0);
	assert_memory_equal(read->id, name.id, 16);
	gpu_image_free(read);
}

static void a_newer_version_is_named(void **state)
{
	struct folder_fixture *fixture = *state;
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image *read = NULL;
	struct gpu_image_name name;
	struct error_text error;
	uint32_t version = GPU_IMAGE_FORMAT_VERSION + 1;
	int file;

	gpu_image_free(write_image(fixture->folder, 42, &name));
	gpu_image_manifest_name(manifest, &name);
	file = openat(fixture->folder, manifest, O_WRONLY);
	assert_int_equal(pwrite(file, &version, 4, 8), 4);
	close(file);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -ENOTSUP);
	assert_non_null(strstr(error.text, "use the one that wrote it"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(damaged_data_names_allocation_chunk_and_file),
		FOLDER_TEST(damaged_manifest_is_refused_at_every_byte),
		FOLDER_TEST(truncated_files_are_refused),
		FOLDER_TEST(manifests_that_make_no_sense_are_refused),
		FOLDER_TEST(differences_that_make_no_sense_are_refused),
		FOLDER_TEST(a_manifest_under_another_name_is_refused),
		FOLDER_TEST(a_newer_version_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
