/* SPDX-License-Identifier: MIT */
#include "store/checkpoint_gpu_images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/checkpoint_manifest.h"
#include "store/gpu_image_internal.h"

int checkpoint_gpu_images(int folder, struct gpu_image_name **names_out, size_t *count_out, struct error_text *error)
{
	struct checkpoint_manifest *manifest;
	struct gpu_image_name *names;
	size_t count = 0, i;
	int result = checkpoint_manifest_read(folder, &manifest, error);

	if (result == -ENOENT)
		return gpu_image_list(folder, names_out, count_out, error);
	if (result)
		return result;
	names = calloc(manifest->count + 1, sizeof(*names));
	for (i = 0; names && i < manifest->count; i++)
		count += gpu_image_name_parse(manifest->files[i].name, &names[count]);
	checkpoint_manifest_free(manifest);
	if (!names)
		return fail(error, -ENOMEM, "Out of memory");
	gpu_image_sort_names(names, count);
	*names_out = names;
	*count_out = count;
	return 0;
}

bool checkpoint_has_gpu_image(int folder, const uint8_t id[16])
{
	struct checkpoint_manifest *manifest;
	struct gpu_image_name name;
	bool has = false;
	size_t i;
	int result = checkpoint_manifest_read(folder, &manifest, NULL);

	if (result)
		return result != -ENOENT;
	for (i = 0; i < manifest->count && !has; i++)
		has = gpu_image_name_parse(manifest->files[i].name, &name) && name.has_id &&
		      memcmp(name.id, id, sizeof(name.id)) == 0;
	checkpoint_manifest_free(manifest);
	return has;
}

static int check_one(int images, const struct gpu_image_name *name, unsigned int threads, struct error_text *error)
{
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = threads};
	struct gpu_image *image;
	int result = gpu_image_read(images, name, &image, error);

	if (result)
		return result;
	result = gpu_image_open_data(images, image, &data, error);
	if (result == 0) {
		result = gpu_image_check_on_disk(image, &verification, error);
		gpu_image_close_data(&data);
	}
	gpu_image_free(image);
	return result;
}

bool gpu_images_are_in_pool(int images)
{
	struct gpu_image_name *names = NULL;
	struct gpu_image *image;
	bool are = false;
	size_t count = 0, i;

	if (gpu_image_list(images, &names, &count, NULL))
		return false;
	for (i = 0; i < count && !are; i++) {
		if (gpu_image_read(images, &names[i], &image, NULL))
			continue;
		are = image->in_pool;
		gpu_image_free(image);
	}
	free(names);
	return are;
}

int gpu_images_check_on_disk(int images, unsigned int threads, struct error_text *error)
{
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int result = gpu_image_list(images, &names, &count, error);

	for (i = 0; i < count && result == 0; i++)
		result = check_one(images, &names[i], threads, error);
	free(names);
	return result;
}
