/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_CRIU_IMAGES_H
#define REKINDLE_API_CRIU_CRIU_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rekindle.h"
#include "support/error_text.h"

/* One process of a tree, as CRIU's images describe it. */
struct criu_process {
	int32_t pid;
	int32_t parent_pid;
	uint32_t threads;
	uint64_t host_bytes; /* of its pages image */
	char name[32];
};

struct criu_checkpoint {
	struct criu_process *processes; /* pstree order: parents before children */
	size_t process_count;
	int32_t *ids; /* of all processes and threads */
	size_t id_count;
	bool shares_pid_namespace; /* surely: its ids are those of the namespace that CRIU runs in */
	uint64_t host_bytes;	   /* all pages images */
	bool uses_cuda_plugin;
	int64_t created; /* when the inventory was written, seconds since the epoch */
};

/*
 * Reads inventory, tree, names and sizes from an images folder. Returns 0; -ENOENT where there is no inventory (the
 * folder holds no checkpoint); -EBADMSG where an image is not what it should be; another negative errno code.
 */
int criu_checkpoint_read(const char *directory, struct criu_checkpoint *checkpoint, struct error_text *error);
void criu_checkpoint_free(struct criu_checkpoint *checkpoint);

/* Size of all pages images in a folder, 0 where it cannot be read. */
uint64_t criu_pages_bytes(const char *directory);

/*
 * Fills CRIU's own figures from stats-dump or stats-restore in a work folder, by statistics->kind.
 * Returns 0, -ENOENT or -EBADMSG.
 */
int criu_statistics_read(const char *work_directory, struct rekindle_statistics *statistics, struct error_text *error);

#endif
