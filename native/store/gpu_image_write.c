/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu_image.pb-c.h"
#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"
#include "support/regular_file.h"

static int create_file(int folder, const struct gpu_image_file *file, struct error_text *error)
{
	char name[GPU_IMAGE_FILE_NAME_MAX + sizeof(MANIFEST_TEMPORARY)];
	int data, result;

	snprintf(name, sizeof(name), "%s" MANIFEST_TEMPORARY, file->name);
	/* Not even by mistake does anybody write to it. */
	if (file->linked)
		return open_regular(folder, name, error);
	data = regular_file_create(folder, name, 0600);
	if (data < 0)
		return file_failure(error, -data, "create", name);
	if (ftruncate(data, (off_t)file->bytes) < 0) {
		result = file_failure(error, errno, "size", name);
		close(data);
		unlinkat(folder, name, 0);
		return result;
	}
	return data;
}

static void remove_temporary(int folder, const char *name)
{
	char temporary[GPU_IMAGE_FILE_NAME_MAX + sizeof(MANIFEST_TEMPORARY)];

	snprintf(temporary, sizeof(temporary), "%s" MANIFEST_TEMPORARY, name);
	unlinkat(folder, temporary, 0);
}

int gpu_image_create_data(int folder, const struct gpu_image *image, struct gpu_image_data *data,
			  struct error_text *error)
{
	int file;

	for (data->count = 0; data->count < image->file_count; data->count++) {
		file = create_file(folder, &image->files[data->count], error);
		if (file < 0) {
			while (data->count) {
				close(data->files[--data->count]);
				remove_temporary(folder, image->files[data->count].name);
			}
			return file;
		}
		data->files[data->count] = file;
	}
	return 0;
}

int gpu_image_resize_data(const struct gpu_image *image, const struct gpu_image_data *data, struct error_text *error)
{
	uint32_t i;

	for (i = 0; i < data->count; i++)
		if (!image->files[i].linked && ftruncate(data->files[i], (off_t)image->files[i].bytes) < 0)
			return file_failure(error, errno, "size", image->files[i].name);
	return 0;
}

int gpu_image_flush_data(const struct gpu_image *image, const struct gpu_image_data *data, struct error_text *error)
{
	uint32_t i;

	for (i = 0; i < data->count; i++)
		if (!image->files[i].linked && fdatasync(data->files[i]) < 0)
			return file_failure(error, errno, "flush", image->files[i].name);
	return 0;
}

void gpu_image_count_stored(struct gpu_image *image)
{
	const struct gpu_image_allocation *allocation;
	struct gpu_image_file *file;
	uint32_t i, chunk;

	image->stored_bytes = 0;
	if (image->in_pool)
		return;
	for (i = 0; i < image->file_count; i++)
		if (!image->files[i].linked)
			image->files[i].stored_bytes = 0;
	for (i = 0; i < image->allocation_count; i++) {
		allocation = &image->allocations[i];
		for (chunk = 0; chunk < allocation->chunk_count; chunk++) {
			if (allocation->zero_chunks[chunk])
				continue;
			file = &image->files[allocation->places[chunk].file];
			image->stored_bytes += gpu_image_chunk_bytes(image, i, chunk);
			if (!file->linked)
				file->stored_bytes += gpu_image_chunk_bytes(image, i, chunk);
		}
	}
}

/* What an older version can read as it is, it shall. */
static uint32_t version_of(const struct gpu_image *image)
{
	uint32_t i;

	if (image->in_pool)
		return 6;
	if (gpu_image_host_bytes(image))
		return 5;
	for (i = 0; i < image->file_count; i++)
		if (image->files[i].linked)
			return 4;
	return image->import_count ? 3 : 2;
}

/* Of the message, what format 4 has in addition. The caller frees it. */
struct packed_places {
	Rekindle__GpuFile *files;
	Rekindle__GpuFile **file_pointers;
	uint32_t *places;  /* of all allocations */
	uint64_t *offsets; /* likewise */
};

static void free_places(struct packed_places *packed)
{
	free(packed->files);
	free(packed->file_pointers);
	free(packed->places);
	free(packed->offsets);
}

static int pack_places(struct gpu_image *image, Rekindle__GpuImage *message, struct packed_places *packed)
{
	size_t count = 0, at = 0;
	uint32_t i, chunk;

	for (i = 0; i < image->allocation_count; i++)
		count += image->allocations[i].chunk_count;
	packed->files = calloc(image->file_count + 1, sizeof(*packed->files));
	packed->file_pointers = calloc(image->file_count + 1, sizeof(*packed->file_pointers));
	packed->places = calloc(count + 1, sizeof(*packed->places));
	packed->offsets = calloc(count + 1, sizeof(*packed->offsets));
	if (!packed->files || !packed->file_pointers || !packed->places || !packed->offsets)
		return -ENOMEM;
	for (i = 0; i < image->file_count; i++) {
		rekindle__gpu_file__init(&packed->files[i]);
		packed->files[i].bytes = image->files[i].bytes;
		packed->files[i].stored_bytes = image->files[i].stored_bytes;
		packed->files[i].origin.data = image->files[i].origin;
		packed->files[i].origin.len = image->files[i].linked ? sizeof(image->files[i].origin) : 0;
		packed->file_pointers[i] = &packed->files[i];
	}
	message->files = packed->file_pointers;
	message->n_files = image->file_count;
	for (i = 0; i < image->allocation_count; i++) {
		message->allocations[i]->places = &packed->places[at];
		message->allocations[i]->offsets = &packed->offsets[at];
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++, at++) {
			packed->places[at] = image->allocations[i].places[chunk].file;
			packed->offsets[at] = image->allocations[i].places[chunk].offset;
		}
		message->allocations[i]->n_places = message->allocations[i]->n_offsets = chunk;
	}
	return 0;
}

/* Builds the protobuf message over the image's own arrays and packs it, behind room for a header. */
static int pack_manifest(struct gpu_image *image, uint8_t **buffer, size_t *bytes)
{
	Rekindle__GpuImage message = REKINDLE__GPU_IMAGE__INIT;
	Rekindle__GpuDevice *devices = calloc(image->device_count + 1, sizeof(*devices));
	Rekindle__GpuDevice **device_pointers = calloc(image->device_count + 1, sizeof(*device_pointers));
	Rekindle__GpuAllocation *allocations = calloc(image->allocation_count + 1, sizeof(*allocations));
	Rekindle__GpuAllocation **allocation_pointers =
		calloc(image->allocation_count + 1, sizeof(*allocation_pointers));
	Rekindle__GpuImport *imports = calloc(image->import_count + 1, sizeof(*imports));
	Rekindle__GpuHolder holder = REKINDLE__GPU_HOLDER__INIT,
			    *owners = calloc(image->import_count + 1, sizeof(*owners));
	Rekindle__GpuImport **import_pointers = calloc(image->import_count + 1, sizeof(*import_pointers));
	struct packed_places packed = {.files = NULL};
	struct gpu_image_allocation *from;
	int result = -ENOMEM;
	uint32_t i;

	*buffer = NULL;
	if (!devices || !device_pointers || !allocations || !allocation_pointers || !imports || !import_pointers ||
	    !owners)
		goto out;
	for (i = 0; i < image->device_count; i++) {
		rekindle__gpu_device__init(&devices[i]);
		devices[i].uuid.data = image->devices[i].uuid;
		devices[i].uuid.len = sizeof(image->devices[i].uuid);
		devices[i].name = image->devices[i].name;
		devices[i].ordinal = image->devices[i].ordinal;
		devices[i].memory_bytes = image->devices[i].memory_bytes;
		devices[i].driver_bytes = image->devices[i].driver_bytes;
		device_pointers[i] = &devices[i];
	}
	for (i = 0; i < image->allocation_count; i++) {
		from = &image->allocations[i];
		rekindle__gpu_allocation__init(&allocations[i]);
		allocations[i].id = from->id;
		allocations[i].address = from->address;
		allocations[i].bytes = from->bytes;
		allocations[i].device = from->device;
		allocations[i].on_host = from->on_host;
		allocations[i].node = from->node;
		allocations[i].checksums = from->checksums;
		allocations[i].n_checksums = image->in_pool ? 0 : from->chunk_count;
		allocations[i].zero_chunks.data = from->zero_chunks;
		allocations[i].zero_chunks.len = allocations[i].n_checksums;
		allocations[i].hashes.data = from->hashes;
		allocations[i].hashes.len = from->hashes ? (size_t)from->chunk_count * GPU_IMAGE_HASH_BYTES : 0;
		allocation_pointers[i] = &allocations[i];
	}
	for (i = 0; i < image->import_count; i++) {
		rekindle__gpu_import__init(&imports[i]);
		imports[i].id = image->imports[i].id;
		imports[i].address = image->imports[i].address;
		imports[i].image_id.data = image->imports[i].image_id;
		imports[i].image_id.len = sizeof(image->imports[i].image_id);
		imports[i].owner_id = image->imports[i].owner_id;
		rekindle__gpu_holder__init(&owners[i]);
		owners[i].pid = image->imports[i].owner.pid;
		owners[i].start_time = image->imports[i].owner.start_time;
		imports[i].owner = &owners[i];
		import_pointers[i] = &imports[i];
	}
	message.format_version = version_of(image);
	message.image_id.data = image->id;
	message.image_id.len = sizeof(image->id);
	message.pid = image->pid;
	message.own_pid = image->own_pid;
	message.mode = image->mode;
	message.reason = image->reason;
	message.driver_version = image->driver_version;
	message.simulated = image->simulated;
	message.in_pool = image->in_pool;
	message.created = image->created;
	message.chunk_bytes = image->chunk_bytes;
	message.data_file = (char *)(uintptr_t)image->files[0].name;
	message.data_files = image->file_count;
	for (i = 0; i < image->file_count; i++)
		message.data_bytes += image->files[i].bytes;
	message.stored_bytes = image->stored_bytes;
	message.devices = device_pointers;
	message.n_devices = image->device_count;
	message.allocations = allocation_pointers;
	message.n_allocations = image->allocation_count;
	message.imports = import_pointers;
	message.n_imports = image->import_count;
	holder.pid = image->holder.pid;
	holder.start_time = image->holder.start_time;
	message.holder = image->import_count ? &holder : NULL;
	if (message.format_version >= 4 && !image->in_pool && pack_places(image, &message, &packed))
		goto out;

	*bytes = rekindle__gpu_image__get_packed_size(&message);
	*buffer = malloc(sizeof(struct manifest_header) + *bytes);
	if (!*buffer)
		goto out;
	rekindle__gpu_image__pack(&message, *buffer + sizeof(struct manifest_header));
	result = 0;
out:
	free(devices);
	free(device_pointers);
	free(allocations);
	free(allocation_pointers);
	free(imports);
	free(import_pointers);
	free(owners);
	free_places(&packed);
	return result;
}

int gpu_image_commit(int folder, struct gpu_image *image, struct error_text *error)
{
	struct gpu_image_name name = gpu_image_name_of(image);
	struct manifest_kind kind = gpu_image_manifest;
	char file_name[GPU_IMAGE_FILE_NAME_MAX];
	uint8_t *buffer;
	size_t bytes;
	uint32_t i;
	int result;

	gpu_image_count_stored(image);
	if (pack_manifest(image, &buffer, &bytes))
		return fail(error, -ENOMEM, "Out of memory");
	gpu_image_manifest_name(file_name, &name);
	kind.format_version = version_of(image);
	result = manifest_write(folder, file_name, &kind, buffer, bytes, error);
	for (i = 0; i < image->file_count && result == 0; i++)
		result = rename_temporary(folder, image->files[i].name, error);
	if (result == 0)
		result = rename_temporary(folder, file_name, error);
	if (result == 0)
		result = flush_folder(folder, file_name, error);
	free(buffer);
	if (result)
		gpu_image_remove(folder, &name);
	return result;
}

static void remove_file(int folder, const char *name)
{
	remove_temporary(folder, name);
	unlinkat(folder, name, 0);
}

void gpu_image_remove(int folder, const struct gpu_image_name *name)
{
	char file_name[GPU_IMAGE_FILE_NAME_MAX];
	uint32_t number;

	/* The manifest first: data without it is no image. */
	gpu_image_manifest_name(file_name, name);
	remove_file(folder, file_name);
	for (number = 0; number < GPU_IMAGE_FILES_MAX; number++) {
		gpu_image_data_name(file_name, name, number);
		remove_file(folder, file_name);
	}
}

/* Is it rekindle-PID-ID.img.tmp or rekindle-pages-PID-ID[-N].img.tmp, of this pid? */
static bool is_unfinished(const char *text, int32_t pid)
{
	char finished[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_name name;
	size_t length = strlen(text), suffix = strlen(MANIFEST_TEMPORARY);

	if (length <= suffix || length - suffix >= sizeof(finished) ||
	    strcmp(text + length - suffix, MANIFEST_TEMPORARY))
		return false;
	snprintf(finished, sizeof(finished), "%.*s", (int)(length - suffix), text);
	return gpu_image_file_name_parse(finished, &name) && name.pid == pid;
}

void gpu_image_remove_unfinished(int folder, int32_t pid)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!entries) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(entries)))
		if (is_unfinished(entry->d_name, pid))
			unlinkat(folder, entry->d_name, 0);
	closedir(entries);
}
