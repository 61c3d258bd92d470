/* SPDX-License-Identifier: MIT */
/*
 * The manifest of a GPU image, behind a byte: even for the whole file, odd for the message in it, whose checksum is then
 * as it should be.
 */
#include <stdlib.h>

#include "fuzz/fuzz_input.h"
#include "fuzz/fuzz_manifest.h"
#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct gpu_image_name name = {.pid = 1};
	struct gpu_image *image = NULL;
	char file[GPU_IMAGE_FILE_NAME_MAX];
	struct error_text error;

	gpu_image_manifest_name(file, &name);
	fuzz_manifest(&input, file, &gpu_image_manifest);
	if (gpu_image_read(fuzz_folder(), &name, &image, &error) == 0) {
		gpu_image_bytes(image);
		gpu_image_free(image);
	}
	return 0;
}
