/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_MANIFEST_FILE_H
#define REKINDLE_STORE_MANIFEST_FILE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/* The frame that both kinds of manifest have, and how files of a folder of images are opened and written. */

/* In front of the protobuf message. Little endian. */
struct manifest_header {
	uint64_t magic;
	uint32_t format_version;
	uint32_t manifest_bytes;
	uint64_t manifest_checksum; /* XXH3-64 */
};
static_assert(sizeof(struct manifest_header) == 24, "struct manifest_header is 24 bytes");

#define MANIFEST_TEMPORARY ".tmp"

struct manifest_kind {
	uint64_t magic;
	uint32_t format_version; /* that is written */
	uint32_t oldest_version; /* that is read */
	const char *what;	 /* "GPU image manifest", for sentences */
};

/* The sentence for an error of the file system while `what` was done to the file. Returns -code. */
int file_failure(struct error_text *error, int code, const char *what, const char *name);

/*
 * Opens a regular file for reading; anything else that bears the name (a FIFO, a device, a symbolic link) is refused at
 * once. Returns the descriptor, -EBADMSG for what is no regular file, or another negative errno code.
 */
int open_regular(int folder, const char *name, struct error_text *error);

/*
 * Reads a whole manifest: header and checksum are good when this returns 0, and *message is the caller's to free. -ENOENT
 * where there is none, -EBADMSG where it is damaged, -ENOTSUP where a newer version wrote it.
 */
int manifest_load(int folder, const char *name, const struct manifest_kind *kind, uint8_t **message, size_t *bytes,
		  struct error_text *error);
/*
 * Writes header and message under the temporary name and flushes the file. buffer holds the message of `bytes` bytes
 * behind room for the header, which this fills.
 */
int manifest_write(int folder, const char *name, const struct manifest_kind *kind, uint8_t *buffer, size_t bytes,
		   struct error_text *error);
/* Gives a file its name in place of the temporary one. */
int rename_temporary(int folder, const char *name, struct error_text *error);
/* Flushes a folder: what was renamed in it is so on the disk. */
int flush_folder(int folder, const char *name, struct error_text *error);

#endif
