/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_IMAGE_GPU_IMAGE_H
#define REKINDLE_IMAGE_GPU_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * The GPU image of a process, beside CRIU's images: rekindle-PID.img, the manifest, and rekindle-pages-PID.img, the
 * contents. A chunk lies at a fixed place of the data file, and chunks that are all zero stay holes of it. The manifest
 * is written last, so an image whose manifest is there is complete. A process whose contents the driver put into
 * CRIU's own images (native mode) has a manifest without allocations, which says so.
 */

#define GPU_IMAGE_FORMAT_VERSION 1u
#define GPU_IMAGE_NAME_MAX 96

/* The mode's values are those of enum pool_mode. */
enum gpu_image_mode { GPU_IMAGE_OFFLOAD = 1, GPU_IMAGE_NATIVE = 2 };

struct gpu_image_device {
	uint8_t uuid[16];
	char name[GPU_IMAGE_NAME_MAX];
	int32_t ordinal;
	uint64_t memory_bytes;
};

struct gpu_image_allocation {
	uint64_t id, address, bytes;
	uint32_t device; /* index into devices */
	uint32_t chunk_count;
	uint64_t file_offset;
	uint64_t *checksums;  /* chunk_count of them, owned by the image */
	uint8_t *zero_chunks; /* likewise: 1 = all zero, not stored */
};

struct gpu_image {
	uint8_t id[16];
	int32_t pid;
	uint32_t mode; /* enum gpu_image_mode */
	char reason[256];
	int32_t driver_version;
	bool simulated;
	uint64_t created; /* seconds since the epoch */
	uint64_t chunk_bytes;
	char data_file[64]; /* empty where there are no allocations */
	uint64_t data_bytes, stored_bytes;
	struct gpu_image_device *devices;
	uint32_t device_count;
	struct gpu_image_allocation *allocations;
	uint32_t allocation_count;
};

/* An image with a fresh id and the present time, room for the devices and allocations. NULL when memory is out. */
struct gpu_image *gpu_image_create(int32_t pid, uint64_t chunk_bytes, uint32_t devices, uint32_t allocations);
void gpu_image_free(struct gpu_image *image);

/*
 * Lays an allocation out behind those before it in the data file and makes room for its checksums. Call it for index 0,
 * 1, ... in order. Returns 0 or -ENOMEM.
 */
int gpu_image_place(struct gpu_image *image, uint32_t index, uint64_t bytes);
/* Bytes of a chunk: chunk_bytes, or fewer at the end of its allocation. */
uint64_t gpu_image_chunk_bytes(const struct gpu_image *image, uint32_t allocation, uint32_t chunk);
/* All allocations together. */
uint64_t gpu_image_device_bytes(const struct gpu_image *image);

/* ---- writing; folder is an open descriptor of the folder ---- */

/* Makes the data file, under a temporary name and at its full size. Returns the descriptor or a negative errno code. */
int gpu_image_create_data(int folder, struct gpu_image *image, struct error_text *error);
/* Flushes the data file to the disk. */
int gpu_image_flush_data(int data, const struct gpu_image *image, struct error_text *error);
/*
 * Finishes an image: stored_bytes is counted, the data file gets its name, then the manifest is written, flushed and
 * named, and the folder is flushed. The data must have been flushed and verified.
 */
int gpu_image_commit(int folder, struct gpu_image *image, struct error_text *error);
/* Removes what there is of the image of a process, finished or not. Missing files are no error. */
void gpu_image_remove(int folder, int32_t pid);
/* Removes the unfinished image of a process: a finished one, which an earlier dump left there, stays. */
void gpu_image_remove_unfinished(int folder, int32_t pid);
/* Removes every GPU image in the folder, finished or not, except the unfinished one of the process keep_pid (0: none).
 */
int gpu_image_remove_all(int folder, int32_t keep_pid, struct error_text *error);

/* ---- reading ---- */

/* The pids that have a manifest in the folder, ascending. The caller frees *pids. */
int gpu_image_list(int folder, int32_t **pids, size_t *count, struct error_text *error);
/*
 * Reads and checks the manifest of a process and the size of its data file. -ENOENT where there is none, -EBADMSG where
 * it is damaged, -ENOTSUP where a newer version wrote it, -ENODATA where the data file is too short.
 */
int gpu_image_read(int folder, int32_t pid, struct gpu_image **image, struct error_text *error);
/* Opens the data file of an image that was read. Returns the descriptor or a negative errno code. */
int gpu_image_open_data(int folder, const struct gpu_image *image, struct error_text *error);

struct gpu_image_verification {
	int data; /* the data file */
	unsigned int threads;
	_Atomic uint64_t *bytes_done; /* counted up as chunks are read, NULL for none */
	const atomic_bool *cancel;    /* NULL for none */
};

/* Reads every stored chunk and compares its checksum: 0, -EBADMSG with the chunk named, -ECANCELED, ... */
int gpu_image_verify(const struct gpu_image *image, const struct gpu_image_verification *verification,
		     struct error_text *error);

#endif
