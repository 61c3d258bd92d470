/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_IMAGE_GPU_IMAGE_INTERNAL_H
#define REKINDLE_IMAGE_GPU_IMAGE_INTERNAL_H

#include <stdint.h>

#define GPU_IMAGE_FILE_NAME_MAX 64
#define GPU_IMAGE_TEMPORARY ".tmp"

/* In front of the protobuf manifest. Little endian. */
struct gpu_image_header {
	uint64_t magic;
	uint32_t format_version;
	uint32_t manifest_bytes;
	uint64_t manifest_checksum; /* XXH3-64 */
};

#define GPU_IMAGE_MAGIC 0x474d4955504b5200ull
/* Over a million chunks is a manifest of 10 MiB; more than this is no manifest of ours. */
#define GPU_IMAGE_MANIFEST_BYTES_MAX (256u * 1024u * 1024u)

/* name has room for GPU_IMAGE_FILE_NAME_MAX. */
void gpu_image_manifest_name(char *name, int32_t pid);
void gpu_image_data_name(char *name, int32_t pid);

#endif
