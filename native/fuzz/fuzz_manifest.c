/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz_manifest.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void fuzz_manifest(struct fuzz_input *input, const char *name, const struct manifest_kind *kind)
{
	struct manifest_header header = {.magic = kind->magic, .format_version = kind->format_version};
	uint8_t *file;

	if (fuzz_byte(input) % 2 == 0) {
		fuzz_write(name, input->data, input->size);
		return;
	}
	header.manifest_bytes = (uint32_t)input->size;
	header.manifest_checksum = XXH3_64bits(input->data, input->size);
	file = malloc(sizeof(header) + input->size);
	if (!file)
		abort();
	memcpy(file, &header, sizeof(header));
	if (input->size)
		memcpy(file + sizeof(header), input->data, input->size);
	fuzz_write(name, file, sizeof(header) + input->size);
	free(file);
}
