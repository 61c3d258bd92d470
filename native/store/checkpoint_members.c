/* SPDX-License-Identifier: MIT */
#include "store/checkpoint_members.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "store/checkpoint_manifest.h"
#include "store/criu_image_check.h"
#include "store/gpu_image.h"

/*
 * Where no manifest tells. Without an inventory there is no older checkpoint, and a name says nothing. But what begins as
 * CRIU's images do is what a dump left that did not get as far, and CRIU would take it for the new checkpoint's: of data in
 * pipes and the like it writes images only where there are any.
 */
static bool belongs_without_manifest(int folder, bool has_inventory, const char *name)
{
	struct gpu_image_name gpu;

	if (gpu_image_file_name_parse(name, &gpu))
		return has_inventory && !gpu_image_owner_runs(&gpu);
	return (has_inventory && criu_image_is_named(name)) || criu_image_begins(folder, name);
}

int checkpoint_members_list(int folder, const struct checkpoint_manifest *newer, struct folder_entry **entries,
			    size_t *count, struct error_text *error)
{
	struct checkpoint_manifest *manifest = NULL;
	size_t all = 0, i;
	int result = folder_list_images(folder, entries, &all, error);
	bool has_inventory, belongs;

	*count = 0;
	if (result)
		return result;
	if (checkpoint_manifest_read(folder, &manifest, NULL))
		manifest = NULL;
	has_inventory = criu_inventory_is_there(folder);
	for (i = 0; i < all; i++) {
		const char *name = (*entries)[i].name;

		belongs = manifest ? checkpoint_manifest_lists(manifest, name)
				   : belongs_without_manifest(folder, has_inventory, name);
		if (belongs || !strcmp(name, CHECKPOINT_MANIFEST_NAME) || checkpoint_manifest_lists(newer, name))
			(*entries)[(*count)++] = (*entries)[i];
		else
			free((*entries)[i].name);
	}
	checkpoint_manifest_free(manifest);
	return 0;
}
