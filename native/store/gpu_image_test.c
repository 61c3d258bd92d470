/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/checkpoint_gpu_images.h"
#include "store/image_test_support.h"
#include "store/manifest_file.h"

static void reads_back_what_was_written(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *written = write_image(fixture->folder, 42, &name), *read = NULL;
	char data_name[GPU_IMAGE_FILE_NAME_MAX];
	struct error_text error;
	uint64_t bytes;

	gpu_image_data_name(data_name, &name, 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_memory_equal(read->id, written->id, 16);
	assert_int_equal(read->pid, 42);
	assert_int_equal(read->own_pid, 1042);
	assert_int_equal(gpu_image_criu_pid(read), 1042);
	read->own_pid = 0;
	assert_int_equal(gpu_image_criu_pid(read), 42);
	assert_int_equal(read->mode, GPU_IMAGE_OFFLOAD);
	assert_int_equal(read->driver_version, 13000);
	assert_true(read->simulated);
	assert_int_equal(read->created, written->created);
	assert_int_equal(read->chunk_bytes, CHUNK);
	assert_string_equal(read->files[0].name, data_name);
	assert_non_null(strstr(data_name, "rekindle-pages-42-"));
	assert_int_equal(read->files[0].bytes, 7 * MEBIBYTE);
	assert_int_equal(read->stored_bytes, 5 * MEBIBYTE);
	assert_int_equal(gpu_image_bytes(read), 7 * MEBIBYTE);
	assert_int_equal(read->device_count, 1);
	assert_string_equal(read->devices[0].name, "Test GPU");
	assert_int_equal(read->devices[0].driver_bytes, 3 << 20);
	assert_int_equal(read->allocation_count, 2);
	assert_int_equal(read->allocations[0].chunk_count, 3);
	assert_int_equal(gpu_image_chunk_bytes(read, 0, 2), MEBIBYTE);
	assert_int_equal(read->allocations[0].zero_chunks[1], 1);
	assert_int_equal(read->allocations[1].id, 12);
	assert_int_equal(read->allocations[1].address, 0x7f0000000000);
	assert_int_equal(read->allocations[1].places[0].offset, 5 * MEBIBYTE);
	assert_memory_equal(read->allocations[0].checksums, written->allocations[0].checksums, 24);
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), 0);
	assert_int_equal(bytes, 5 * MEBIBYTE);
	gpu_image_free(read);
	gpu_image_free(written);
}

/* That the header of a manifest names. */
static uint32_t format_of(int folder, const struct gpu_image_name *name)
{
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	uint32_t version = 0;
	int file;

	gpu_image_manifest_name(manifest, name);
	file = openat(folder, manifest, O_RDONLY);
	assert_int_equal(pread(file, &version, sizeof(version), offsetof(struct manifest_header, format_version)),
			 sizeof(version));
	close(file);
	return version;
}

/* Older versions would make device memory of it, and are told that they cannot read the image. */
static void memory_of_the_host_is_told_apart(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *image = write_image(fixture->folder, 42, &name), *read = NULL;
	struct error_text error;

	assert_int_equal(format_of(fixture->folder, &name), 2);
	assert_int_equal(gpu_image_host_bytes(image), 0);
	gpu_image_free(image);
	image = make_image(fixture->folder, 43);
	name = gpu_image_name_of(image);
	image->allocations[1].on_host = true;
	image->allocations[1].node = 3;
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	assert_int_equal(format_of(fixture->folder, &name), 5);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_false(read->allocations[0].on_host);
	assert_true(read->allocations[1].on_host);
	assert_int_equal(read->allocations[1].node, 3);
	assert_int_equal(gpu_image_bytes(read), 7 * MEBIBYTE);
	assert_int_equal(gpu_image_host_bytes(read), 2 * MEBIBYTE);
	gpu_image_free(read);
	gpu_image_free(image);
}

/* Nobody can read it or verify it, and older versions are told so. */
static void what_is_in_a_pool_has_no_files(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(42, CHUNK, 1, 1), *read = NULL;
	struct gpu_image_name name = gpu_image_name_of(image);
	struct error_text error;
	uint64_t bytes;

	image->mode = GPU_IMAGE_OFFLOAD;
	assert_int_equal(gpu_image_place(image, 0, 5 * MEBIBYTE), 0);
	assert_int_equal(gpu_image_make_hashes(&image->allocations[0]), 0);
	image->allocations[0].hashes[47] = 9;
	assert_int_equal(gpu_image_must_be_stored(image, &error), 0);
	gpu_image_leave_in_pool(image);
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	assert_int_equal(format_of(fixture->folder, &name), 6);
	assert_null(strstr(folder_contents(fixture), "pages"));
	assert_true(gpu_images_are_in_pool(fixture->folder));
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_true(read->in_pool);
	assert_int_equal(read->file_count, 0);
	assert_int_equal(read->stored_bytes, 0);
	assert_int_equal(gpu_image_bytes(read), 5 * MEBIBYTE);
	assert_int_equal(read->allocations[0].chunk_count, 3);
	assert_int_equal(read->allocations[0].hashes[47], 9);
	assert_non_null(strstr(read->reason, "in no file"));
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), -ENODATA);
	assert_non_null(strstr(error.text, "is in no file (REKINDLE_PARK=ephemeral)"));
	assert_int_equal(gpu_images_check_on_disk(fixture->folder, 1, &error), -ENODATA);
	gpu_image_free(read);
	gpu_image_remove(fixture->folder, &name);
	assert_false(gpu_images_are_in_pool(fixture->folder));
	gpu_image_free(image);
}

/* Of a process that has only imported memory; one that has not can be read by older versions. */
static void imports_are_kept(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(7, CHUNK, 0, 0), *read = NULL;
	struct gpu_image_name name = gpu_image_name_of(image);
	struct error_text error;

	image->mode = GPU_IMAGE_OFFLOAD;
	image->holder = (struct gpu_image_holder){.pid = 5, .start_time = 500};
	assert_int_equal(gpu_image_make_imports(image, 2), 0);
	image->imports[1] = (struct gpu_image_import){
		.id = 3, .address = 0x7f0000000000, .owner_id = 9, .owner = {.pid = 6, .start_time = 600}};
	memset(image->imports[1].image_id, 0x5a, sizeof(image->imports[1].image_id));
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_int_equal(read->import_count, 2);
	assert_memory_equal(read->imports, image->imports, 2 * sizeof(*read->imports));
	assert_memory_equal(&read->holder, &image->holder, sizeof(read->holder));
	gpu_image_free(read);
	gpu_image_free(image);
}

static void native_image_has_a_manifest_only(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(7, CHUNK, 0, 0), *read = NULL;
	struct gpu_image_name name = gpu_image_name_of(image);
	struct error_text error;

	image->mode = GPU_IMAGE_NATIVE;
	strcpy(image->reason, "the process has no agent");
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_int_equal(read->mode, GPU_IMAGE_NATIVE);
	assert_string_equal(read->reason, "the process has no agent");
	assert_int_equal(read->allocation_count, 0);
	assert_null(strstr(folder_contents(fixture), "pages"));
	gpu_image_free(read);
	gpu_image_free(image);
}

static void touch(int folder, const char *name)
{
	int file = openat(folder, name, O_CREAT | O_WRONLY, 0600);

	assert_true(file >= 0);
	close(file);
}

static void lists_and_removes(void **state)
{
	static const char *const foreign[] = {
		"rekindle-x.img",
		"rekindle-99999999999.img",
		"rekindle-0.img",
		"rekindle--5.img",
		"rekindle-+5.img",
		"rekindle- 5.img",
		"rekindle-05.img",
		"rekindle-5.img2",
		"rekindle-5-.img",
		"rekindle-5-12.img",
		"rekindle-5-000102030405060708090a0b0c0d0e0g.img",
		"rekindle-5-000102030405060708090A0B0C0D0E0F.img",
		"rekindle-5-000102030405060708090a0b0c0d0e0f0.img",
		"rekindle-99999999999-000102030405060708090a0b0c0d0e0f.img",
		"rekindle-5-000102030405060708090a0b0c0d0e0f.img.tmp",
	};
	struct folder_fixture *fixture = *state;
	struct gpu_image_name first, second, *names = NULL;
	struct error_text error;
	size_t count = 0, i;

	assert_int_equal(gpu_image_list(fixture->folder, &names, &count, &error), 0);
	assert_int_equal(count, 0);
	free(names);
	gpu_image_free(write_image(fixture->folder, 300, &first));
	gpu_image_free(write_image(fixture->folder, 20, &second));
	for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		touch(fixture->folder, foreign[i]);
	touch(fixture->folder, "rekindle-2147483647.img"); /* as older versions named them */
	assert_int_equal(gpu_image_list(fixture->folder, &names, &count, &error), 0);
	assert_int_equal(count, 3);
	assert_memory_equal(&names[0], &second, sizeof(second));
	assert_memory_equal(&names[1], &first, sizeof(first));
	assert_int_equal(names[2].pid, 2147483647);
	assert_false(names[2].has_id);
	gpu_image_remove(fixture->folder, &names[2]);
	free(names);
	gpu_image_remove(fixture->folder, &first);
	gpu_image_remove(fixture->folder, &second);
	assert_int_equal(gpu_image_list(fixture->folder, &names, &count, &error), 0);
	assert_int_equal(count, 0);
	free(names);
	for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		assert_int_equal(unlinkat(fixture->folder, foreign[i], 0), 0); /* not ours: left alone */
	assert_string_equal(folder_contents(fixture), "");
}

static void two_images_of_one_process_stand_beside_each_other(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name first, second;
	struct gpu_image *read = NULL;
	struct error_text error;

	gpu_image_free(write_image(fixture->folder, 42, &first));
	gpu_image_free(write_image(fixture->folder, 42, &second));
	gpu_image_remove(fixture->folder, &second);
	assert_int_equal(gpu_image_read(fixture->folder, &second, &read, &error), -ENOENT);
	assert_int_equal(gpu_image_read(fixture->folder, &first, &read, &error), 0);
	gpu_image_free(read);
}

static void only_the_unfinished_image_of_the_process_is_removed(void **state)
{
	static const char *const stay[] = {
		"rekindle-4-000102030405060708090a0b0c0d0e0f.img.tmp",
		"rekindle-42-000102030405060708090a0b0c0d0e0f.img",
		"rekindle-pages-42-000102030405060708090a0b0c0d0e0f.img",
		"core-42.img.tmp",
	};
	static const char *const go[] = {
		"rekindle-42-000102030405060708090a0b0c0d0e0f.img.tmp",
		"rekindle-pages-42-000102030405060708090a0b0c0d0e0f.img.tmp",
		"rekindle-pages-42-000102030405060708090a0b0c0d0e0f-15.img.tmp",
		"rekindle-pages-42-100102030405060708090a0b0c0d0e0f.img.tmp",
	};
	struct folder_fixture *fixture = *state;
	size_t i;

	for (i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
		touch(fixture->folder, stay[i]);
	for (i = 0; i < sizeof(go) / sizeof(go[0]); i++)
		touch(fixture->folder, go[i]);
	gpu_image_remove_unfinished(fixture->folder, 42);
	for (i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
		assert_int_equal(unlinkat(fixture->folder, stay[i], 0), 0);
	assert_string_equal(folder_contents(fixture), "");
}

/* Puts something that is no regular file into the place of a file. */
static void put_in_place(const struct folder_fixture *fixture, const char *name, int kind)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int sock;

	unlinkat(fixture->folder, name, 0);
	if (kind == 0) {
		assert_int_equal(mkfifoat(fixture->folder, name, 0600), 0);
	} else if (kind == 1) {
		touch(fixture->folder, "elsewhere");
		assert_int_equal(symlinkat("elsewhere", fixture->folder, name), 0);
	} else if (kind == 2) {
		assert_int_equal(mkdirat(fixture->folder, name, 0700), 0);
	} else if (kind == 3) {
		sock = socket(AF_UNIX, SOCK_STREAM, 0);
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", fixture->folder, name);
		assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
		close(sock);
	}
}

static void what_is_no_regular_file_is_refused_at_once(void **state)
{
	struct folder_fixture *fixture = *state;
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_name name;
	struct gpu_image *image, *read = NULL;
	struct gpu_image_data data;
	struct error_text error;
	int kind;

	for (kind = 0; kind < 4; kind++) {
		image = write_image(fixture->folder, 42, &name);
		put_in_place(fixture, image->files[0].name, kind);
		assert_int_equal(gpu_image_open_data(fixture->folder, image, &data, &error), -EBADMSG);
		assert_non_null(strstr(error.text, image->files[0].name));
		assert_non_null(strstr(error.text, "no regular file"));
		assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -EBADMSG);
		gpu_image_manifest_name(manifest, &name);
		put_in_place(fixture, manifest, kind);
		assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -EBADMSG);
		assert_non_null(strstr(error.text, manifest));
		assert_non_null(strstr(error.text, "no regular file"));
		gpu_image_free(image);
	}
}

static void chunks_go_into_several_files_in_turn(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image_name name;
	struct gpu_image *written = write_spread_image(fixture->folder, 42, &name), *read = NULL;
	char data_name[GPU_IMAGE_FILE_NAME_MAX];
	struct error_text error;
	uint64_t bytes;

	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), 0);
	assert_int_equal(read->file_count, 3);
	gpu_image_data_name(data_name, &name, 2);
	assert_string_equal(read->files[2].name, data_name);
	assert_non_null(strstr(data_name, "-2.img"));
	assert_int_equal(read->files[0].bytes, 4 * MEBIBYTE);
	assert_int_equal(read->files[1].bytes, 2 * MEBIBYTE);
	assert_int_equal(read->files[2].bytes, MEBIBYTE);
	assert_int_equal(read->allocations[1].places[0].file, 0);
	assert_int_equal(read->allocations[1].places[0].offset, 2 * MEBIBYTE);
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), 0);
	assert_int_equal(bytes, 5 * MEBIBYTE);
	change_byte(fixture->folder, data_name, 77);
	assert_int_equal(verify_image(fixture->folder, read, &bytes, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "allocation 11, chunk 2"));
	assert_non_null(strstr(error.text, data_name));
	gpu_image_free(read);
	read = NULL;
	cut_file(fixture->folder, data_name, 4096);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -ENODATA);
	assert_non_null(strstr(error.text, data_name));
	assert_int_equal(unlinkat(fixture->folder, data_name, 0), 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &read, &error), -ENODATA);
	assert_non_null(strstr(error.text, data_name));
	gpu_image_remove(fixture->folder, &name);
	assert_string_equal(folder_contents(fixture), "");
	gpu_image_free(written);
}

/* So many that each writer has one, but none that is small. */
static void large_images_are_spread(void **state)
{
	struct gpu_image *image = gpu_image_create(42, CHUNK, 1, 1);

	(void)state;
	assert_int_equal(image->file_count, 1);
	gpu_image_spread(image, 8, 300ull << 20);
	assert_int_equal(image->file_count, 4);
	gpu_image_spread(image, 8, 8ull << 30);
	assert_int_equal(image->file_count, 8);
	gpu_image_spread(image, 64, 8ull << 30);
	assert_int_equal(image->file_count, GPU_IMAGE_OWN_FILES_MAX);
	gpu_image_spread(image, 0, 0);
	assert_int_equal(image->file_count, 1);
	gpu_image_free(image);
}

static void verification_can_be_cancelled(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = write_image(fixture->folder, 42, NULL);
	atomic_bool cancel = true;
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = 2, .cancel = &cancel};
	struct error_text error;

	assert_int_equal(gpu_image_open_data(fixture->folder, image, &data, &error), 0);
	assert_int_equal(gpu_image_verify(image, &verification, &error), -ECANCELED);
	gpu_image_close_data(&data);
	gpu_image_free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(reads_back_what_was_written),
		FOLDER_TEST(memory_of_the_host_is_told_apart),
		FOLDER_TEST(what_is_in_a_pool_has_no_files),
		FOLDER_TEST(imports_are_kept),
		FOLDER_TEST(native_image_has_a_manifest_only),
		FOLDER_TEST(lists_and_removes),
		FOLDER_TEST(two_images_of_one_process_stand_beside_each_other),
		FOLDER_TEST(only_the_unfinished_image_of_the_process_is_removed),
		FOLDER_TEST(what_is_no_regular_file_is_refused_at_once),
		FOLDER_TEST(chunks_go_into_several_files_in_turn),
		cmocka_unit_test(large_images_are_spread),
		FOLDER_TEST(verification_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
