/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "gpu_image.pb-c.h"
#include "image/gpu_image.h"
#include "image/gpu_image_internal.h"

/* The sentence for an error of the file system. Returns -code. */
static int file_failure(struct error_text *error, int code, const char *what, const char *name)
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
		return fail(error, -code, "Could not %s %s: %s", what, name, strerror(code));
	}
}

int gpu_image_create_data(int folder, struct gpu_image *image, struct error_text *error)
{
	char name[GPU_IMAGE_FILE_NAME_MAX + sizeof(GPU_IMAGE_TEMPORARY)];
	int data, code;

	snprintf(name, sizeof(name), "%s" GPU_IMAGE_TEMPORARY, image->data_file);
	data = openat(folder, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (data < 0)
		return file_failure(error, errno, "create", name);
	if (ftruncate(data, (off_t)image->data_bytes) < 0) {
		code = errno;
		close(data);
		unlinkat(folder, name, 0);
		return file_failure(error, code, "size", name);
	}
	return data;
}

int gpu_image_flush_data(int data, const struct gpu_image *image, struct error_text *error)
{
	return fdatasync(data) < 0 ? file_failure(error, errno, "flush", image->data_file) : 0;
}

static void count_stored(struct gpu_image *image)
{
	uint32_t i, chunk;

	image->stored_bytes = 0;
	for (i = 0; i < image->allocation_count; i++)
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++)
			if (!image->allocations[i].zero_chunks[chunk])
				image->stored_bytes += gpu_image_chunk_bytes(image, i, chunk);
}

/* Builds the protobuf message over the image's own arrays and packs it behind a header. */
static int pack_manifest(struct gpu_image *image, uint8_t **buffer, size_t *bytes)
{
	Rekindle__GpuImage message = REKINDLE__GPU_IMAGE__INIT;
	Rekindle__GpuDevice *devices = calloc(image->device_count + 1, sizeof(*devices));
	Rekindle__GpuDevice **device_pointers = calloc(image->device_count + 1, sizeof(*device_pointers));
	Rekindle__GpuAllocation *allocations = calloc(image->allocation_count + 1, sizeof(*allocations));
	Rekindle__GpuAllocation **allocation_pointers =
		calloc(image->allocation_count + 1, sizeof(*allocation_pointers));
	struct gpu_image_header header = {.magic = GPU_IMAGE_MAGIC, .format_version = GPU_IMAGE_FORMAT_VERSION};
	struct gpu_image_allocation *from;
	int result = -ENOMEM;
	uint32_t i;

	*buffer = NULL;
	if (!devices || !device_pointers || !allocations || !allocation_pointers)
		goto out;
	for (i = 0; i < image->device_count; i++) {
		rekindle__gpu_device__init(&devices[i]);
		devices[i].uuid.data = image->devices[i].uuid;
		devices[i].uuid.len = sizeof(image->devices[i].uuid);
		devices[i].name = image->devices[i].name;
		devices[i].ordinal = image->devices[i].ordinal;
		devices[i].memory_bytes = image->devices[i].memory_bytes;
		device_pointers[i] = &devices[i];
	}
	for (i = 0; i < image->allocation_count; i++) {
		from = &image->allocations[i];
		rekindle__gpu_allocation__init(&allocations[i]);
		allocations[i].id = from->id;
		allocations[i].address = from->address;
		allocations[i].bytes = from->bytes;
		allocations[i].device = from->device;
		allocations[i].file_offset = from->file_offset;
		allocations[i].checksums = from->checksums;
		allocations[i].n_checksums = from->chunk_count;
		allocations[i].zero_chunks.data = from->zero_chunks;
		allocations[i].zero_chunks.len = from->chunk_count;
		allocation_pointers[i] = &allocations[i];
	}
	message.format_version = GPU_IMAGE_FORMAT_VERSION;
	message.image_id.data = image->id;
	message.image_id.len = sizeof(image->id);
	message.pid = image->pid;
	message.mode = image->mode;
	message.reason = image->reason;
	message.driver_version = image->driver_version;
	message.simulated = image->simulated;
	message.created = image->created;
	message.chunk_bytes = image->chunk_bytes;
	message.data_file = image->data_file;
	message.data_bytes = image->data_bytes;
	message.stored_bytes = image->stored_bytes;
	message.devices = device_pointers;
	message.n_devices = image->device_count;
	message.allocations = allocation_pointers;
	message.n_allocations = image->allocation_count;

	header.manifest_bytes = (uint32_t)rekindle__gpu_image__get_packed_size(&message);
	*bytes = sizeof(header) + header.manifest_bytes;
	*buffer = malloc(*bytes);
	if (!*buffer)
		goto out;
	rekindle__gpu_image__pack(&message, *buffer + sizeof(header));
	header.manifest_checksum = XXH3_64bits(*buffer + sizeof(header), header.manifest_bytes);
	memcpy(*buffer, &header, sizeof(header));
	result = 0;
out:
	free(devices);
	free(device_pointers);
	free(allocations);
	free(allocation_pointers);
	return result;
}

static int write_manifest(int folder, const char *name, const uint8_t *buffer, size_t bytes, struct error_text *error)
{
	size_t done = 0;
	ssize_t count;
	int file, result = 0;

	file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file < 0)
		return file_failure(error, errno, "create", name);
	while (result == 0 && done < bytes) {
		count = write(file, buffer + done, bytes - done);
		if (count >= 0)
			done += (size_t)count;
		else if (errno != EINTR)
			result = file_failure(error, errno, "write", name);
	}
	if (result == 0 && fsync(file) < 0)
		result = file_failure(error, errno, "flush", name);
	close(file);
	return result;
}

static int rename_temporary(int folder, const char *name, struct error_text *error)
{
	char temporary[GPU_IMAGE_FILE_NAME_MAX + sizeof(GPU_IMAGE_TEMPORARY)];

	snprintf(temporary, sizeof(temporary), "%s" GPU_IMAGE_TEMPORARY, name);
	return renameat(folder, temporary, folder, name) < 0 ? file_failure(error, errno, "rename", temporary) : 0;
}

int gpu_image_commit(int folder, struct gpu_image *image, struct error_text *error)
{
	char name[GPU_IMAGE_FILE_NAME_MAX], temporary[GPU_IMAGE_FILE_NAME_MAX + sizeof(GPU_IMAGE_TEMPORARY)];
	uint8_t *buffer;
	size_t bytes;
	int result;

	count_stored(image);
	if (pack_manifest(image, &buffer, &bytes))
		return fail(error, -ENOMEM, "Out of memory");
	gpu_image_manifest_name(name, image->pid);
	snprintf(temporary, sizeof(temporary), "%s" GPU_IMAGE_TEMPORARY, name);
	result = write_manifest(folder, temporary, buffer, bytes, error);
	if (result == 0 && image->data_file[0])
		result = rename_temporary(folder, image->data_file, error);
	if (result == 0)
		result = rename_temporary(folder, name, error);
	/* Some file systems cannot flush a folder (EINVAL); then there is nothing to flush. */
	if (result == 0 && fsync(folder) < 0 && errno != EINVAL)
		result = file_failure(error, errno, "flush the folder of", name);
	free(buffer);
	if (result)
		gpu_image_remove(folder, image->pid);
	return result;
}

void gpu_image_remove_unfinished(int folder, int32_t pid)
{
	char name[GPU_IMAGE_FILE_NAME_MAX], temporary[GPU_IMAGE_FILE_NAME_MAX + sizeof(GPU_IMAGE_TEMPORARY)];

	gpu_image_manifest_name(name, pid);
	snprintf(temporary, sizeof(temporary), "%s" GPU_IMAGE_TEMPORARY, name);
	unlinkat(folder, temporary, 0);
	gpu_image_data_name(name, pid);
	snprintf(temporary, sizeof(temporary), "%s" GPU_IMAGE_TEMPORARY, name);
	unlinkat(folder, temporary, 0);
}

void gpu_image_remove(int folder, int32_t pid)
{
	char name[GPU_IMAGE_FILE_NAME_MAX];

	/* The manifest first: data without it is no image. */
	gpu_image_manifest_name(name, pid);
	unlinkat(folder, name, 0);
	gpu_image_data_name(name, pid);
	unlinkat(folder, name, 0);
	gpu_image_remove_unfinished(folder, pid);
}

/* Is it a name of ours: rekindle-[pages-]PID.img[.tmp]? */
static bool is_image_name(const char *name)
{
	if (strncmp(name, "rekindle-", 9))
		return false;
	name += 9;
	if (strncmp(name, "pages-", 6) == 0)
		name += 6;
	if (!isdigit((unsigned char)*name))
		return false;
	while (isdigit((unsigned char)*name))
		name++;
	return !strcmp(name, ".img") || !strcmp(name, ".img" GPU_IMAGE_TEMPORARY);
}

int gpu_image_remove_all(int folder, int32_t keep_pid, struct error_text *error)
{
	char name[GPU_IMAGE_FILE_NAME_MAX], keep[GPU_IMAGE_FILE_NAME_MAX + sizeof(GPU_IMAGE_TEMPORARY)];
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	gpu_image_data_name(name, keep_pid);
	snprintf(keep, sizeof(keep), "%s" GPU_IMAGE_TEMPORARY, name);
	if (!entries) {
		result = fail(error, -errno, "Could not list the folder of images: %s", strerror(errno));
		if (copy >= 0)
			close(copy);
		return result;
	}
	while ((entry = readdir(entries)))
		if (is_image_name(entry->d_name) && strcmp(entry->d_name, keep) &&
		    unlinkat(folder, entry->d_name, 0) < 0 && errno != ENOENT)
			result = file_failure(error, errno, "remove the older", entry->d_name);
	closedir(entries);
	return result;
}
