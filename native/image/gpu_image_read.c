/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "gpu_image.pb-c.h"
#include "image/gpu_image.h"
#include "image/gpu_image_internal.h"

#define MEBIBYTE (1024u * 1024u)

static int compare_pids(const void *left, const void *right)
{
	int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;

	return (a > b) - (a < b);
}

int gpu_image_list(int folder, int32_t **pids_out, size_t *count_out, struct error_text *error)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result, end;
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	int32_t *pids = NULL, *grown, pid;
	struct dirent *entry;
	size_t count = 0;

	if (!entries) {
		result = fail(error, -errno, "Could not list the folder of images: %s", strerror(errno));
		if (copy >= 0)
			close(copy);
		return result;
	}
	while ((entry = readdir(entries))) {
		end = 0;
		if (sscanf(entry->d_name, "rekindle-%" SCNd32 ".img%n", &pid, &end) != 1 || end == 0 ||
		    entry->d_name[end] || pid <= 0)
			continue;
		grown = realloc(pids, (count + 1) * sizeof(*pids));
		if (!grown) {
			free(pids);
			closedir(entries);
			return fail(error, -ENOMEM, "Out of memory");
		}
		pids = grown;
		pids[count++] = pid;
	}
	closedir(entries);
	if (count)
		qsort(pids, count, sizeof(*pids), compare_pids);
	*pids_out = pids;
	*count_out = count;
	return 0;
}

/* Reads a whole manifest file: header and checksum are good when this returns 0. */
static int load_manifest(int folder, const char *name, uint8_t **buffer, size_t *bytes, struct error_text *error)
{
	struct gpu_image_header header;
	struct stat status;
	int file, result = 0;
	ssize_t count;

	*buffer = NULL;
	file = openat(folder, name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return fail(error, -errno, "Could not open %s: %s", name, strerror(errno));
	count = pread(file, &header, sizeof(header), 0);
	if (count != sizeof(header) || header.magic != GPU_IMAGE_MAGIC) {
		result = fail(error, -EBADMSG, "%s is no GPU image manifest, or is damaged", name);
		goto out;
	}
	if (header.format_version != GPU_IMAGE_FORMAT_VERSION) {
		result = fail(error, -ENOTSUP,
			      "%s has format version %u; this Rekindle reads version %u: use the one that wrote it",
			      name, header.format_version, GPU_IMAGE_FORMAT_VERSION);
		goto out;
	}
	if (header.manifest_bytes > GPU_IMAGE_MANIFEST_BYTES_MAX || fstat(file, &status) < 0 ||
	    (uint64_t)status.st_size != sizeof(header) + header.manifest_bytes) {
		result =
			fail(error, -EBADMSG, "%s is truncated or damaged: its size is not what its header says", name);
		goto out;
	}
	*buffer = malloc(header.manifest_bytes + 1);
	if (!*buffer) {
		result = fail(error, -ENOMEM, "Out of memory");
		goto out;
	}
	count = pread(file, *buffer, header.manifest_bytes, sizeof(header));
	if (count != (ssize_t)header.manifest_bytes ||
	    XXH3_64bits(*buffer, header.manifest_bytes) != header.manifest_checksum) {
		result = fail(error, -EBADMSG,
			      "%s is damaged: its checksum does not match; use another copy of the image", name);
		free(*buffer);
		*buffer = NULL;
		goto out;
	}
	*bytes = header.manifest_bytes;
out:
	close(file);
	return result;
}

/* Field values that no manifest of ours can have: NULL where all is well, else what is wrong. */
static const char *find_fault(const Rekindle__GpuImage *message, int32_t pid)
{
	uint64_t end, data_bytes = 0;
	const Rekindle__GpuAllocation *allocation;
	size_t i;

	if (message->format_version != GPU_IMAGE_FORMAT_VERSION)
		return "the format version";
	if (message->image_id.len != 16)
		return "the image id";
	if (message->pid != pid)
		return "the pid";
	if (message->mode != GPU_IMAGE_OFFLOAD && message->mode != GPU_IMAGE_NATIVE)
		return "the mode";
	if (message->n_allocations > UINT32_MAX || message->n_devices > 1024)
		return "a count";
	if (message->n_allocations &&
	    (message->chunk_bytes < MEBIBYTE || message->chunk_bytes > 1024 * MEBIBYTE || message->chunk_bytes % 4096))
		return "the chunk size";
	if (message->n_allocations && (!message->data_file[0] || strchr(message->data_file, '/') ||
				       strlen(message->data_file) >= GPU_IMAGE_FILE_NAME_MAX))
		return "the data file's name";
	for (i = 0; i < message->n_devices; i++)
		if (message->devices[i]->uuid.len != 16)
			return "a device";
	for (i = 0; i < message->n_allocations; i++) {
		allocation = message->allocations[i];
		if (allocation->device >= message->n_devices)
			return "an allocation's device";
		if (allocation->bytes == 0 || allocation->bytes % 4096 || allocation->file_offset % 4096 ||
		    __builtin_add_overflow(allocation->file_offset, allocation->bytes, &end) || end > INT64_MAX)
			return "an allocation's size";
		if (allocation->n_checksums != (allocation->bytes - 1) / message->chunk_bytes + 1 ||
		    allocation->zero_chunks.len != allocation->n_checksums)
			return "an allocation's checksums";
		if (end > data_bytes)
			data_bytes = end;
	}
	if (message->data_bytes < data_bytes)
		return "the data file's size";
	return NULL;
}

static int copy_allocation(struct gpu_image_allocation *to, const Rekindle__GpuAllocation *from)
{
	to->id = from->id;
	to->address = from->address;
	to->bytes = from->bytes;
	to->device = from->device;
	to->file_offset = from->file_offset;
	to->chunk_count = (uint32_t)from->n_checksums;
	to->checksums = malloc(from->n_checksums * sizeof(*to->checksums));
	to->zero_chunks = malloc(from->zero_chunks.len);
	if (!to->checksums || !to->zero_chunks)
		return -ENOMEM;
	memcpy(to->checksums, from->checksums, from->n_checksums * sizeof(*to->checksums));
	memcpy(to->zero_chunks, from->zero_chunks.data, from->zero_chunks.len);
	return 0;
}

static struct gpu_image *copy_message(const Rekindle__GpuImage *message)
{
	struct gpu_image *image;
	uint32_t i;

	image = gpu_image_create(message->pid, message->chunk_bytes, (uint32_t)message->n_devices,
				 (uint32_t)message->n_allocations);
	if (!image)
		return NULL;
	memcpy(image->id, message->image_id.data, sizeof(image->id));
	image->mode = message->mode;
	snprintf(image->reason, sizeof(image->reason), "%s", message->reason);
	image->driver_version = message->driver_version;
	image->simulated = message->simulated;
	image->created = message->created;
	snprintf(image->data_file, sizeof(image->data_file), "%s", message->data_file);
	image->data_bytes = message->data_bytes;
	image->stored_bytes = message->stored_bytes;
	for (i = 0; i < image->device_count; i++) {
		memcpy(image->devices[i].uuid, message->devices[i]->uuid.data, sizeof(image->devices[i].uuid));
		snprintf(image->devices[i].name, sizeof(image->devices[i].name), "%s", message->devices[i]->name);
		image->devices[i].ordinal = message->devices[i]->ordinal;
		image->devices[i].memory_bytes = message->devices[i]->memory_bytes;
	}
	for (i = 0; i < image->allocation_count; i++) {
		if (copy_allocation(&image->allocations[i], message->allocations[i])) {
			gpu_image_free(image);
			return NULL;
		}
	}
	return image;
}

static int check_data_size(int file, const struct gpu_image *image, struct error_text *error)
{
	struct stat status;

	if (fstat(file, &status) < 0)
		return fail(error, -errno, "Could not read the size of %s: %s", image->data_file, strerror(errno));
	if ((uint64_t)status.st_size < image->data_bytes)
		return fail(
			error, -ENODATA, "%s is truncated: %llu bytes of %llu are there; use another copy of the image",
			image->data_file, (unsigned long long)status.st_size, (unsigned long long)image->data_bytes);
	return 0;
}

int gpu_image_open_data(int folder, const struct gpu_image *image, struct error_text *error)
{
	int file = openat(folder, image->data_file, O_RDONLY | O_CLOEXEC), result;

	if (file < 0)
		return fail(error, errno == ENOENT ? -ENODATA : -errno, "Could not open %s: %s", image->data_file,
			    strerror(errno));
	result = check_data_size(file, image, error);
	if (result) {
		close(file);
		return result;
	}
	return file;
}

int gpu_image_read(int folder, int32_t pid, struct gpu_image **image_out, struct error_text *error)
{
	char name[GPU_IMAGE_FILE_NAME_MAX];
	Rekindle__GpuImage *message = NULL;
	struct gpu_image *image = NULL;
	uint8_t *buffer = NULL;
	const char *fault;
	size_t bytes = 0;
	int result;

	gpu_image_manifest_name(name, pid);
	result = load_manifest(folder, name, &buffer, &bytes, error);
	if (result)
		goto out;
	message = rekindle__gpu_image__unpack(NULL, bytes, buffer);
	fault = message ? find_fault(message, pid) : "its encoding";
	if (fault) {
		result = fail(error, -EBADMSG, "%s is damaged: %s makes no sense", name, fault);
		goto out;
	}
	image = copy_message(message);
	if (!image) {
		result = fail(error, -ENOMEM, "Out of memory");
		goto out;
	}
	if (image->allocation_count) {
		result = gpu_image_open_data(folder, image, error);
		if (result < 0)
			goto out;
		close(result);
		result = 0;
	}
	*image_out = image;
	image = NULL;
out:
	gpu_image_free(image);
	if (message)
		rekindle__gpu_image__free_unpacked(message, NULL);
	free(buffer);
	return result;
}
