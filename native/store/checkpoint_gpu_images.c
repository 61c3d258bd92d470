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
