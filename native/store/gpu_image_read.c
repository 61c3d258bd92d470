/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "gpu_image.pb-c.h"
#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"
#include "support/plain_text.h"

#define MEBIBYTE (1024u * 1024u)

static int compare_names(const void *left, const void *right)
{
	const struct gpu_image_name *a = left, *b = right;

	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return memcmp(a->id, b->id, sizeof(a->id));
}

void gpu_image_sort_names(struct gpu_image_name *names, size_t count)
{
	if (count)
		qsort(names, count, sizeof(*names), compare_names);
}

int gpu_image_list(int folder, struct gpu_image_name **names_out, size_t *count_out, struct error_text *error)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	struct gpu_image_name *names = NULL, *grown, name;
	struct dirent *entry;
	size_t count = 0;

	if (!entries) {
		result = fail(error, -errno, "Could not list the folder of images: %s", errno_text(errno));
		if (copy >= 0)
			close(copy);
		return result;
	}
	while ((entry = readdir(entries))) {
		if (!gpu_image_name_parse(entry->d_name, &name))
			continue;
		grown = realloc(names, (count + 1) * sizeof(*names));
		if (!grown) {
			free(names);
			closedir(entries);
			return fail(error, -ENOMEM, "Out of memory");
		}
		names = grown;
		names[count++] = name;
	}
	closedir(entries);
	gpu_image_sort_names(names, count);
	*names_out = names;
	*count_out = count;
	return 0;
}

static const char *find_fault_of_files(const Rekindle__GpuImage *message)
{
	uint32_t limit = message->format_version < 4 ? GPU_IMAGE_OWN_FILES_MAX : GPU_IMAGE_FILES_MAX;

	if (message->in_pool && (message->format_version < 6 || !message->n_allocations || message->data_files))
		return "where the contents are";
	if (!message->n_allocations || message->in_pool)
		return message->n_files ? "the number of data files" : NULL;
	if (message->format_version == 1 ? message->data_files : message->data_files < 1 || message->data_files > limit)
		return "the number of data files";
	if (message->n_files != (message->format_version < 4 ? 0 : message->data_files))
		return "the number of data files";
	if (!message->data_file[0] || strchr(message->data_file, '/') ||
	    strlen(message->data_file) >= GPU_IMAGE_FILE_NAME_MAX)
		return "the data file's name";
	return NULL;
}

/* All data files together; up to format 3 that is what the allocations have together. */
static const char *find_fault_of_places(const Rekindle__GpuImage *message, uint64_t *data_bytes)
{
	const Rekindle__GpuAllocation *allocation;
	const Rekindle__GpuFile *file;
	uint64_t left, bytes;
	size_t i, chunk;

	*data_bytes = 0;
	for (i = 0; i < message->n_files; i++) {
		file = message->files[i];
		if (__builtin_add_overflow(*data_bytes, file->bytes, data_bytes) || *data_bytes > INT64_MAX)
			return "the size of a data file";
		if (file->origin.len && file->origin.len != 16)
			return "where a data file comes from";
	}
	for (i = 0; i < message->n_allocations; i++) {
		allocation = message->allocations[i];
		if (allocation->n_places != allocation->n_checksums || allocation->n_offsets != allocation->n_checksums)
			return "an allocation's place";
		for (chunk = 0; chunk < allocation->n_places; chunk++) {
			left = allocation->bytes - chunk * message->chunk_bytes;
			bytes = left < message->chunk_bytes ? left : message->chunk_bytes;
			if (allocation->zero_chunks.data[chunk])
				bytes = 0;
			if (allocation->places[chunk] >= message->n_files)
				return "an allocation's place";
			file = message->files[allocation->places[chunk]];
			if (allocation->offsets[chunk] % 4096 || allocation->offsets[chunk] > file->bytes ||
			    bytes > file->bytes - allocation->offsets[chunk])
				return "an allocation's place";
		}
	}
	return NULL;
}

/* Field values that no manifest of ours can have: NULL where all is well, else what is wrong. */
static const char *find_fault(const Rekindle__GpuImage *message, const struct gpu_image_name *name)
{
	const char *fault = find_fault_of_files(message);
	uint64_t data_bytes = 0;
	const Rekindle__GpuAllocation *allocation;
	uint64_t chunks;
	size_t i;

	if (message->format_version < 1 || message->format_version > GPU_IMAGE_FORMAT_VERSION)
		return "the format version";
	if (message->image_id.len != 16 || (name->has_id && memcmp(message->image_id.data, name->id, 16)))
		return "the image id";
	if (message->pid != name->pid)
		return "the pid";
	if (message->mode != GPU_IMAGE_OFFLOAD && message->mode != GPU_IMAGE_NATIVE)
		return "the mode";
	if (message->n_allocations > UINT32_MAX || message->n_devices > 1024)
		return "a count";
	if (message->n_allocations &&
	    (message->chunk_bytes < MEBIBYTE || message->chunk_bytes > 1024 * MEBIBYTE || message->chunk_bytes % 4096))
		return "the chunk size";
	if (fault)
		return fault;
	for (i = 0; i < message->n_devices; i++)
		if (message->devices[i]->uuid.len != 16)
			return "a device";
	for (i = 0; i < message->n_allocations; i++) {
		allocation = message->allocations[i];
		if (allocation->device >= message->n_devices)
			return "an allocation's device";
		if ((allocation->on_host && message->format_version < 5) || (allocation->node && !allocation->on_host))
			return "an allocation's location";
		if ((message->format_version == 1 && allocation->file_offset != data_bytes) ||
		    (message->format_version < 4 && (allocation->n_places || allocation->n_offsets)))
			return "an allocation's place";
		if (allocation->bytes == 0 || allocation->bytes % 4096 ||
		    __builtin_add_overflow(data_bytes, allocation->bytes, &data_bytes) || data_bytes > INT64_MAX)
			return "an allocation's size";
		chunks = (allocation->bytes - 1) / message->chunk_bytes + 1;
		if (allocation->n_checksums != (message->in_pool ? 0 : chunks) ||
		    allocation->zero_chunks.len != allocation->n_checksums)
			return "an allocation's checksums";
		if ((allocation->hashes.len || message->in_pool) &&
		    allocation->hashes.len != chunks * GPU_IMAGE_HASH_BYTES)
			return "an allocation's hashes";
		if (message->in_pool && (allocation->n_places || allocation->n_offsets))
			return "an allocation's place";
	}
	if (message->in_pool)
		data_bytes = 0;
	else if (message->n_allocations && message->format_version >= 4)
		fault = find_fault_of_places(message, &data_bytes);
	if (fault)
		return fault;
	if (message->n_imports > UINT32_MAX || (message->n_imports && message->format_version < 3))
		return "a count";
	for (i = 0; i < message->n_imports; i++)
		if (message->imports[i]->image_id.len != 16)
			return "an import";
	if (message->data_bytes != data_bytes)
		return "the size of the data";
	return NULL;
}

static int copy_allocation(struct gpu_image *image, uint32_t index, const Rekindle__GpuAllocation *from)
{
	struct gpu_image_allocation *to = &image->allocations[index];
	uint32_t chunk;

	if (from->n_places || image->in_pool ? gpu_image_make_chunks(image, index, from->bytes)
					     : gpu_image_place(image, index, from->bytes))
		return -ENOMEM;
	for (chunk = 0; chunk < from->n_places; chunk++)
		to->places[chunk] =
			(struct gpu_image_place){.file = from->places[chunk], .offset = from->offsets[chunk]};
	if (from->hashes.len) {
		if (gpu_image_make_hashes(to))
			return -ENOMEM;
		memcpy(to->hashes, from->hashes.data, from->hashes.len);
	}
	to->id = from->id;
	to->address = from->address;
	to->device = from->device;
	to->on_host = from->on_host;
	to->node = from->node;
	/* What is in a pool has neither. */
	if (from->n_checksums)
		memcpy(to->checksums, from->checksums, from->n_checksums * sizeof(*to->checksums));
	if (from->zero_chunks.len)
		memcpy(to->zero_chunks, from->zero_chunks.data, from->zero_chunks.len);
	return 0;
}

/* Of an image that says where each chunk lies; up to format 3 that follows from the order. */
static void copy_files(struct gpu_image *image, const Rekindle__GpuImage *message)
{
	const Rekindle__GpuFile *from;
	uint32_t i;

	for (i = 0; i < message->n_files; i++) {
		from = message->files[i];
		image->files[i].bytes = from->bytes;
		image->files[i].stored_bytes = from->stored_bytes;
		image->files[i].linked = from->origin.len != 0;
		if (image->files[i].linked)
			memcpy(image->files[i].origin, from->origin.data, sizeof(image->files[i].origin));
	}
}

static void copy_holder(struct gpu_image_holder *holder, const Rekindle__GpuHolder *from)
{
	if (from)
		*holder = (struct gpu_image_holder){.pid = from->pid, .start_time = from->start_time};
}

static int copy_imports(struct gpu_image *image, const Rekindle__GpuImage *message)
{
	uint32_t i;

	if (gpu_image_make_imports(image, (uint32_t)message->n_imports))
		return -ENOMEM;
	for (i = 0; i < image->import_count; i++) {
		image->imports[i].id = message->imports[i]->id;
		image->imports[i].address = message->imports[i]->address;
		memcpy(image->imports[i].image_id, message->imports[i]->image_id.data,
		       sizeof(image->imports[i].image_id));
		image->imports[i].owner_id = message->imports[i]->owner_id;
		copy_holder(&image->imports[i].owner, message->imports[i]->owner);
	}
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
	image->own_pid = message->own_pid;
	copy_holder(&image->holder, message->holder);
	image->mode = message->mode;
	snprintf(image->reason, sizeof(image->reason), "%s", message->reason);
	plain_text(image->reason, sizeof(image->reason));
	image->driver_version = message->driver_version;
	image->simulated = message->simulated;
	image->created = message->created;
	if (message->in_pool)
		gpu_image_leave_in_pool(image);
	else if (image->allocation_count)
		gpu_image_name_files(image, message->data_files ? message->data_files : 1);
	/* Older versions left the id out. */
	if (image->file_count == 1 && !message->n_files)
		snprintf(image->files[0].name, sizeof(image->files[0].name), "%s", message->data_file);
	image->stored_bytes = message->stored_bytes;
	for (i = 0; i < image->device_count; i++) {
		memcpy(image->devices[i].uuid, message->devices[i]->uuid.data, sizeof(image->devices[i].uuid));
		snprintf(image->devices[i].name, sizeof(image->devices[i].name), "%s", message->devices[i]->name);
		plain_text(image->devices[i].name, sizeof(image->devices[i].name));
		image->devices[i].ordinal = message->devices[i]->ordinal;
		image->devices[i].memory_bytes = message->devices[i]->memory_bytes;
		image->devices[i].driver_bytes = message->devices[i]->driver_bytes;
	}
	if (copy_imports(image, message)) {
		gpu_image_free(image);
		return NULL;
	}
	for (i = 0; i < image->allocation_count; i++) {
		if (copy_allocation(image, i, message->allocations[i])) {
			gpu_image_free(image);
			return NULL;
		}
	}
	if (message->format_version < 4)
		gpu_image_count_stored(image);
	else
		copy_files(image, message);
	return image;
}

static int check_size(int descriptor, const struct gpu_image_file *file, struct error_text *error)
{
	struct stat status;

	if (fstat(descriptor, &status) < 0)
		return fail(error, -errno, "Could not read the size of %s: %s", file->name, errno_text(errno));
	if ((uint64_t)status.st_size < file->bytes)
		return fail(error, -ENODATA,
			    "%s is truncated: %llu bytes of %llu are there; use another copy of the image", file->name,
			    (unsigned long long)status.st_size, (unsigned long long)file->bytes);
	return 0;
}

int gpu_image_open_data(int folder, const struct gpu_image *image, struct gpu_image_data *data,
			struct error_text *error)
{
	int descriptor, result = 0;

	for (data->count = 0; data->count < image->file_count && result == 0;) {
		const struct gpu_image_file *file = &image->files[data->count];

		descriptor = open_regular(folder, file->name, error);
		if (descriptor < 0) {
			result = descriptor == -ENOENT ? -ENODATA : descriptor;
			break;
		}
		data->files[data->count++] = descriptor;
		result = check_size(descriptor, file, error);
	}
	if (result)
		gpu_image_close_data(data);
	return result;
}

int gpu_image_open_manifest(int folder, const struct gpu_image_name *name)
{
	char file_name[GPU_IMAGE_FILE_NAME_MAX];

	gpu_image_manifest_name(file_name, name);
	return open_regular(folder, file_name, NULL);
}

static void sum_up(struct gpu_image *image, const uint8_t *manifest, size_t bytes)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(manifest, bytes));
	static_assert(sizeof(canonical.digest) == sizeof(image->manifest_sum), "128 bits");
	memcpy(image->manifest_sum, canonical.digest, sizeof(image->manifest_sum));
}

int gpu_image_read(int folder, const struct gpu_image_name *name, struct gpu_image **image_out,
		   struct error_text *error)
{
	char file_name[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_data data;
	Rekindle__GpuImage *message = NULL;
	struct gpu_image *image = NULL;
	uint8_t *buffer = NULL;
	const char *fault;
	size_t bytes = 0;
	int result;

	gpu_image_manifest_name(file_name, name);
	result = manifest_load(folder, file_name, &gpu_image_manifest, &buffer, &bytes, error);
	if (result)
		goto out;
	message = rekindle__gpu_image__unpack(NULL, bytes, buffer);
	fault = message ? find_fault(message, name) : "its encoding";
	if (fault) {
		result = fail(error, -EBADMSG, "%s is damaged: %s makes no sense", file_name, fault);
		goto out;
	}
	image = copy_message(message);
	if (!image) {
		result = fail(error, -ENOMEM, "Out of memory");
		goto out;
	}
	sum_up(image, buffer, bytes);
	result = gpu_image_open_data(folder, image, &data, error);
	if (result)
		goto out;
	gpu_image_close_data(&data);
	*image_out = image;
	image = NULL;
out:
	gpu_image_free(image);
	if (message)
		rekindle__gpu_image__free_unpacked(message, NULL);
	free(buffer);
	return result;
}
