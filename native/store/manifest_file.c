/* SPDX-License-Identifier: MIT */
#include "store/manifest_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "support/regular_file.h"

/* Over a million chunks is a manifest of 10 MiB; more than this is no manifest of ours. */
#define MANIFEST_BYTES_MAX (256u * 1024u * 1024u)

int file_failure(struct error_text *error, int code, const char *what, const char *name)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
		return fail(error, -code, "The disk is full: could not %s %s; free space or choose another folder",
			    what, name);
	case EROFS:
		return fail(error, -code, "The file system is read-only: could not %s %s; choose another folder", what,
			    name);
	case EACCES:
	case EPERM:
		return fail(error, -code, "No permission to %s %s; check the folder's owner and mode", what, name);
	default:
		return fail(error, -code, "Could not %s %s: %s", what, name, errno_text(code));
	}
}

int open_regular(int folder, const char *name, struct error_text *error)
{
	int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	struct stat status;

	/* What opening a symbolic link and a socket says. */
	if (file < 0 && errno != ELOOP && errno != ENXIO)
		return fail(error, -errno, "Could not open %s: %s", name, errno_text(errno));
	if (file < 0 || fstat(file, &status) < 0 || !S_ISREG(status.st_mode)) {
		if (file >= 0)
			close(file);
		return fail(error, -EBADMSG, "%s is no regular file, so it is not read; put the image's own file there",
			    name);
	}
	return file;
}

static int read_whole(int file, void *buffer, size_t bytes, off_t offset)
{
	size_t done = 0;
	ssize_t count;

	while (done < bytes) {
		count = pread(file, (uint8_t *)buffer + done, bytes - done, offset + (off_t)done);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count < 0 ? -errno : -ENODATA;
		done += (size_t)count;
	}
	return 0;
}

static int check_header(const struct manifest_header *header, const struct manifest_kind *kind, const char *name,
			uint64_t file_bytes, struct error_text *error)
{
	if (header->magic != kind->magic)
		return fail(error, -EBADMSG, "%s is no %s, or is damaged", name, kind->what);
	if (header->format_version < kind->oldest_version || header->format_version > kind->format_version)
		return fail(error, -ENOTSUP,
			    "%s has format version %u; this Rekindle reads versions %u to %u: use the one that wrote "
			    "it",
			    name, header->format_version, kind->oldest_version, kind->format_version);
	if (header->manifest_bytes > MANIFEST_BYTES_MAX || file_bytes != sizeof(*header) + header->manifest_bytes)
		return fail(error, -EBADMSG, "%s is truncated or damaged: its size is not what its header says", name);
	return 0;
}

int manifest_load(int folder, const char *name, const struct manifest_kind *kind, uint8_t **message, size_t *bytes,
		  struct error_text *error)
{
	struct manifest_header header = {.magic = 0};
	int file = open_regular(folder, name, error), result;
	struct stat status;

	*message = NULL;
	if (file < 0)
		return file;
	result = fstat(file, &status) < 0 ? -errno : read_whole(file, &header, sizeof(header), 0);
	if (result == -ENODATA)
		header.magic = 0;
	else if (result)
		goto unreadable;
	result = check_header(&header, kind, name, (uint64_t)status.st_size, error);
	if (result)
		goto out;
	*message = malloc(header.manifest_bytes + 1);
	if (!*message) {
		result = fail(error, -ENOMEM, "Out of memory");
		goto out;
	}
	result = read_whole(file, *message, header.manifest_bytes, sizeof(header));
	if (result && result != -ENODATA)
		goto unreadable;
	if (result || XXH3_64bits(*message, header.manifest_bytes) != header.manifest_checksum)
		result = fail(error, -EBADMSG,
			      "%s is damaged: its checksum does not match; use another copy of the image", name);
	*bytes = header.manifest_bytes;
	goto out;
unreadable:
	fail(error, result, "Could not read %s: %s", name, errno_text(-result));
out:
	if (result) {
		free(*message);
		*message = NULL;
	}
	close(file);
	return result;
}

static void temporary_name(char *temporary, const char *name)
{
	snprintf(temporary, NAME_MAX + 1, "%s" MANIFEST_TEMPORARY, name);
}

int manifest_write(int folder, const char *name, const struct manifest_kind *kind, uint8_t *buffer, size_t bytes,
		   struct error_text *error)
{
	struct manifest_header header = {
		.magic = kind->magic,
		.format_version = kind->format_version,
		.manifest_bytes = (uint32_t)bytes,
		.manifest_checksum = XXH3_64bits(buffer + sizeof(header), bytes),
	};
	char temporary[NAME_MAX + 1];
	size_t done = 0;
	ssize_t count;
	int file, result = 0;

	temporary_name(temporary, name);
	memcpy(buffer, &header, sizeof(header));
	bytes += sizeof(header);
	file = regular_file_create(folder, temporary, 0600);
	if (file < 0)
		return file_failure(error, -file, "create", temporary);
	while (result == 0 && done < bytes) {
		count = write(file, buffer + done, bytes - done);
		if (count >= 0)
			done += (size_t)count;
		else if (errno != EINTR)
			result = file_failure(error, errno, "write", temporary);
	}
	if (result == 0 && fsync(file) < 0)
		result = file_failure(error, errno, "flush", temporary);
	close(file);
	return result;
}

int rename_temporary(int folder, const char *name, struct error_text *error)
{
	char temporary[NAME_MAX + 1];

	temporary_name(temporary, name);
	return renameat(folder, temporary, folder, name) < 0 ? file_failure(error, errno, "rename", temporary) : 0;
}

int flush_folder(int folder, const char *name, struct error_text *error)
{
	/* Some file systems cannot flush a folder (EINVAL); then there is nothing to flush. */
	return fsync(folder) < 0 && errno != EINVAL ? file_failure(error, errno, "flush the folder of", name) : 0;
}
