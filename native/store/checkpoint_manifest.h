/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_CHECKPOINT_MANIFEST_H
#define REKINDLE_STORE_CHECKPOINT_MANIFEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * The manifest of a checkpoint, rekindle-checkpoint.img: name, size and checksums of every image file in its folder,
 * CRIU's and ours. It is written when all of them are on the disk, so a folder that has it holds a whole checkpoint. What
 * else lies in the folder (logs, statistics, files of whoever keeps it) is none of its business.
 */

#define CHECKPOINT_MANIFEST_NAME "rekindle-checkpoint.img"

struct checkpoint_file {
	char *name;
	uint64_t bytes;
	bool gpu_data;	     /* no checksums here: they are in the GPU image's manifest */
	uint64_t *checksums; /* chunk_count of them */
	uint32_t chunk_count;
};

struct checkpoint_manifest {
	uint8_t id[16];
	uint64_t created; /* seconds since the epoch */
	uint64_t chunk_bytes;
	struct checkpoint_file *files; /* by name */
	size_t count;
};

/* How a folder's files are read: how many threads, and who watches. */
struct checkpoint_reading {
	unsigned int threads;
	_Atomic uint64_t *bytes_done; /* counted up as files are read, NULL for none */
	const atomic_bool *cancel;    /* NULL for none */
};

/*
 * Takes every image file (*.img) of the folder into a manifest: reads it for its checksums, and flushes it to the disk.
 * Nobody may be writing any more.
 */
int checkpoint_manifest_make(int folder, const uint8_t id[16], const struct checkpoint_reading *reading,
			     struct checkpoint_manifest **manifest, struct error_text *error);
/* Writes it into the folder, flushed, and flushes the folder. */
int checkpoint_manifest_write(int folder, const struct checkpoint_manifest *manifest, struct error_text *error);
/* -ENOENT where the folder has none, -EBADMSG where it is damaged, -ENOTSUP where a newer version wrote it. */
int checkpoint_manifest_read(int folder, struct checkpoint_manifest **manifest, struct error_text *error);
void checkpoint_manifest_free(struct checkpoint_manifest *manifest);

bool checkpoint_manifest_lists(const struct checkpoint_manifest *manifest, const char *name);
/* All files together; with_gpu_data false: those whose checksums are here. */
uint64_t checkpoint_manifest_bytes(const struct checkpoint_manifest *manifest, bool with_gpu_data);

/* Is every file there, a regular one of the size that it had? -ENODATA with the file named, where not. Reads none. */
int checkpoint_check_files(int folder, const struct checkpoint_manifest *manifest, struct error_text *error);
/* Compares all checksums that are here: -EBADMSG with the file named where one differs. */
int checkpoint_verify_files(int folder, const struct checkpoint_manifest *manifest,
			    const struct checkpoint_reading *reading, struct error_text *error);

#endif
