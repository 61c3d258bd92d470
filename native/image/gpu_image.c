/* SPDX-License-Identifier: MIT */
#include "image/gpu_image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "image/gpu_image_internal.h"

void gpu_image_manifest_name(char *name, int32_t pid)
{
	snprintf(name, GPU_IMAGE_FILE_NAME_MAX, "rekindle-%d.img", pid);
}

void gpu_image_data_name(char *name, int32_t pid)
{
	snprintf(name, GPU_IMAGE_FILE_NAME_MAX, "rekindle-pages-%d.img", pid);
}

struct gpu_image *gpu_image_create(int32_t pid, uint64_t chunk_bytes, uint32_t devices, uint32_t allocations)
{
	struct gpu_image *image = calloc(1, sizeof(*image));

	if (!image)
		return NULL;
	image->pid = pid;
	image->chunk_bytes = chunk_bytes;
	image->created = (uint64_t)time(NULL);
	image->device_count = devices;
	image->allocation_count = allocations;
	image->devices = calloc(devices + 1, sizeof(*image->devices));
	image->allocations = calloc(allocations + 1, sizeof(*image->allocations));
	if (!image->devices || !image->allocations || getrandom(image->id, sizeof(image->id), 0) != sizeof(image->id)) {
		gpu_image_free(image);
		return NULL;
	}
	if (allocations)
		gpu_image_data_name(image->data_file, pid);
	return image;
}

void gpu_image_free(struct gpu_image *image)
{
	uint32_t i;

	if (!image)
		return;
	for (i = 0; image->allocations && i < image->allocation_count; i++) {
		free(image->allocations[i].checksums);
		free(image->allocations[i].zero_chunks);
	}
	free(image->allocations);
	free(image->devices);
	free(image);
}

int gpu_image_place(struct gpu_image *image, uint32_t index, uint64_t bytes)
{
	struct gpu_image_allocation *allocation = &image->allocations[index];

	allocation->bytes = bytes;
	allocation->file_offset = image->data_bytes;
	allocation->chunk_count = (uint32_t)((bytes + image->chunk_bytes - 1) / image->chunk_bytes);
	allocation->checksums = calloc(allocation->chunk_count, sizeof(*allocation->checksums));
	allocation->zero_chunks = calloc(allocation->chunk_count, sizeof(*allocation->zero_chunks));
	image->data_bytes += bytes;
	return allocation->checksums && allocation->zero_chunks ? 0 : -ENOMEM;
}

uint64_t gpu_image_chunk_bytes(const struct gpu_image *image, uint32_t allocation, uint32_t chunk)
{
	uint64_t left = image->allocations[allocation].bytes - chunk * image->chunk_bytes;

	return left < image->chunk_bytes ? left : image->chunk_bytes;
}

uint64_t gpu_image_device_bytes(const struct gpu_image *image)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		bytes += image->allocations[i].bytes;
	return bytes;
}
