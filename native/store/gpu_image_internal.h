/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_GPU_IMAGE_INTERNAL_H
#define REKINDLE_STORE_GPU_IMAGE_INTERNAL_H

#include "store/gpu_image.h"
#include "store/manifest_file.h"

#define GPU_IMAGE_MAGIC 0x474d4955504b5200ull

extern const struct manifest_kind gpu_image_manifest;

/* text has room for GPU_IMAGE_FILE_NAME_MAX. */
void gpu_image_manifest_name(char *text, const struct gpu_image_name *name);
void gpu_image_data_name(char *text, const struct gpu_image_name *name, uint32_t number);
/* An allocation's chunks, all of them nowhere yet. Returns 0 or -ENOMEM. */
int gpu_image_make_chunks(struct gpu_image *image, uint32_t index, uint64_t bytes);
/* Puts a chunk behind those before it, into the next data file that is not linked. */
void gpu_image_place_chunk(struct gpu_image *image, uint32_t allocation, uint32_t chunk);
/* What is stored in all, and in each data file that is not linked. */
void gpu_image_count_stored(struct gpu_image *image);
/* Names the data files. */
void gpu_image_name_files(struct gpu_image *image, uint32_t count);
struct gpu_image_name gpu_image_name_of(const struct gpu_image *image);
/* By pid and id. */
void gpu_image_sort_names(struct gpu_image_name *names, size_t count);

#endif
