/* SPDX-License-Identifier: MIT */
#include "store/image_test_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

int folder_set_up(void **state)
{
	struct folder_fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->path, "image-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->path));
	fixture->folder = open(fixture->path, O_RDONLY | O_DIRECTORY);
	assert_true(fixture->folder >= 0);
	*state = fixture;
	return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status;
	(void)type;
	(void)place;
	return remove(path);
}

int folder_tear_down(void **state)
{
	struct folder_fixture *fixture = *state;

	close(fixture->folder);
	assert_int_equal(nftw(fixture->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	free(fixture);
	return 0;
}

const char *folder_contents(const struct folder_fixture *fixture)
{
	static char text[4096];
	struct dirent **entries;
	int count = scandir(fixture->path, &entries, NULL, alphasort), i;
	size_t length = 0;

	assert_true(count >= 0);
	text[0] = '\0';
	for (i = 0; i < count; i++) {
		if (strcmp(entries[i]->d_name, ".") && strcmp(entries[i]->d_name, ".."))
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s ", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return text;
}

static struct gpu_image *make_spread_image(int folder, int32_t pid, uint32_t files)
{
	struct gpu_image *image = gpu_image_create(pid, CHUNK, 1, 2);
	unsigned char *contents = malloc(7 * MEBIBYTE);
	struct error_text error;
	uint32_t i, chunk;
	uint64_t bytes, at = 0;
	const struct gpu_image_place *place;
	struct gpu_image_data data;

	assert_non_null(image);
	gpu_image_name_files(image, files);
	image->own_pid = pid + 1000; /* a container's */
	image->mode = GPU_IMAGE_OFFLOAD;
	image->driver_version = 13000;
	image->simulated = true;
	memset(image->devices[0].uuid, 7, 16);
	strcpy(image->devices[0].name, "Test GPU");
	image->devices[0].memory_bytes = 1 << 30;
	image->devices[0].driver_bytes = 3 << 20;
	assert_int_equal(gpu_image_place(image, 0, 5 * MEBIBYTE), 0);
	assert_int_equal(gpu_image_place(image, 1, 2 * MEBIBYTE), 0);
	image->allocations[0].id = 11;
	image->allocations[1].id = 12;
	image->allocations[1].address = 0x7f0000000000;
	for (i = 0; i < 7 * MEBIBYTE; i++)
		contents[i] = (unsigned char)(i * 2654435761u >> 24);
	memset(contents + CHUNK, 0, CHUNK);
	assert_int_equal(gpu_image_create_data(folder, image, &data, &error), 0);
	for (i = 0; i < 2; i++) {
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++, at += bytes) {
			place = &image->allocations[i].places[chunk];
			bytes = gpu_image_chunk_bytes(image, i, chunk);
			if (i == 0 && chunk == 1) {
				image->allocations[i].zero_chunks[chunk] = 1;
				continue;
			}
			assert_int_equal(pwrite(data.files[place->file], contents + at, bytes, (off_t)place->offset),
					 (ssize_t)bytes);
			image->allocations[i].checksums[chunk] = XXH3_64bits(contents + at, bytes);
		}
	}
	gpu_image_close_data(&data);
	free(contents);
	return image;
}

struct gpu_image *make_image(int folder, int32_t pid)
{
	return make_spread_image(folder, pid, 1);
}

struct gpu_image *write_spread_image(int folder, int32_t pid, struct gpu_image_name *name)
{
	struct gpu_image *image = make_spread_image(folder, pid, 3);
	struct error_text error;

	assert_int_equal(gpu_image_commit(folder, image, &error), 0);
	*name = gpu_image_name_of(image);
	return image;
}

struct gpu_image *write_image(int folder, int32_t pid, struct gpu_image_name *name)
{
	struct gpu_image *image = make_image(folder, pid);
	struct error_text error;

	assert_int_equal(gpu_image_commit(folder, image, &error), 0);
	if (name)
		*name = gpu_image_name_of(image);
	return image;
}

static void write_nines(struct gpu_image *image, const struct gpu_image_data *data)
{
	const struct gpu_image_place *place = &image->allocations[1].places[0];
	unsigned char *contents = malloc(CHUNK);

	memset(contents, 9, CHUNK);
	assert_int_equal(pwrite(data->files[place->file], contents, CHUNK, (off_t)place->offset), CHUNK);
	image->allocations[1].checksums[0] = XXH3_64bits(contents, CHUNK);
	image->allocations[1].zero_chunks[0] = 0;
	free(contents);
}

struct gpu_image *make_difference(int folder, const struct gpu_image *parent)
{
	struct gpu_image *image = gpu_image_create(parent->pid, CHUNK, 1, 2);
	struct gpu_image_data data;
	struct error_text error;
	uint32_t i;

	image->mode = GPU_IMAGE_OFFLOAD;
	image->devices[0] = parent->devices[0];
	for (i = 0; i < 2; i++) {
		image->allocations[i].id = parent->allocations[i].id;
		assert_int_equal(gpu_image_place(image, i, parent->allocations[i].bytes), 0);
	}
	for (i = 0; i < 3; i++)
		assert_int_equal(gpu_image_inherit(image, 0, i, &parent->allocations[0]), 0);
	assert_int_equal(gpu_image_open_data(folder, parent, &data, &error), 0);
	assert_int_equal(gpu_image_link(folder, image, parent, &data, 4, &error), 0);
	gpu_image_close_data(&data);
	assert_int_equal(gpu_image_create_data(folder, image, &data, &error), 0);
	assert_int_equal(data.count, image->file_count);
	write_nines(image, &data);
	gpu_image_close_data(&data);
	return image;
}

int verify_image(int folder, const struct gpu_image *image, uint64_t *bytes, struct error_text *error)
{
	_Atomic uint64_t done = 0;
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = 3, .bytes_done = &done};
	int result;

	assert_int_equal(gpu_image_open_data(folder, image, &data, error), 0);
	result = gpu_image_verify(image, &verification, error);
	gpu_image_close_data(&data);
	*bytes = done;
	return result;
}

void change_byte(int folder, const char *name, off_t offset)
{
	int file = openat(folder, name, O_RDWR);
	unsigned char byte;

	assert_int_equal(pread(file, &byte, 1, offset), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(file, &byte, 1, offset), 1);
	close(file);
}

void cut_file(int folder, const char *name, off_t bytes)
{
	int file = openat(folder, name, O_RDWR);

	assert_int_equal(ftruncate(file, bytes), 0);
	close(file);
}
