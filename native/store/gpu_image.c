/* SPDX-License-Identifier: MIT */
#include "store/gpu_image.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "store/gpu_image_internal.h"

/* Less in each is not worth a file. */
#define SMALLEST_FILE_BYTES (64ull << 20)

const struct manifest_kind gpu_image_manifest = {
	.magic = GPU_IMAGE_MAGIC,
	.format_version = GPU_IMAGE_FORMAT_VERSION,
	.oldest_version = 1,
	.what = "GPU image manifest",
};

static void make_name(char *text, const char *prefix, const struct gpu_image_name *name, uint32_t number)
{
	int length = snprintf(text, GPU_IMAGE_FILE_NAME_MAX, "%s%d", prefix, name->pid);
	size_t i;

	if (name->has_id)
		length += snprintf(text + length, (size_t)(GPU_IMAGE_FILE_NAME_MAX - length), "-");
	for (i = 0; name->has_id && i < sizeof(name->id); i++)
		length += snprintf(text + length, (size_t)(GPU_IMAGE_FILE_NAME_MAX - length), "%02x", name->id[i]);
	if (number)
		length += snprintf(text + length, (size_t)(GPU_IMAGE_FILE_NAME_MAX - length), "-%u", number);
	snprintf(text + length, (size_t)(GPU_IMAGE_FILE_NAME_MAX - length), ".img");
}

void gpu_image_manifest_name(char *text, const struct gpu_image_name *name)
{
	make_name(text, "rekindle-", name, 0);
}

void gpu_image_data_name(char *text, const struct gpu_image_name *name, uint32_t number)
{
	make_name(text, "rekindle-pages-", name, number);
}

struct gpu_image_name gpu_image_name_of(const struct gpu_image *image)
{
	struct gpu_image_name name = {.pid = image->pid, .has_id = true};

	memcpy(name.id, image->id, sizeof(name.id));
	return name;
}

bool gpu_image_name_parse(const char *text, struct gpu_image_name *name)
{
	struct gpu_image_name parsed = {.pid = 0};
	char again[GPU_IMAGE_FILE_NAME_MAX];
	long pid;
	char *end;
	size_t i;

	if (strncmp(text, "rekindle-", 9))
		return false;
	pid = strtol(text + 9, &end, 10);
	if (pid <= 0 || pid > INT32_MAX)
		return false;
	parsed.pid = (int32_t)pid;
	parsed.has_id = *end == '-';
	if (parsed.has_id && strspn(end + 1, "0123456789abcdef") != 2 * sizeof(parsed.id))
		return false;
	for (i = 0; parsed.has_id && i < sizeof(parsed.id); i++)
		sscanf(end + 1 + 2 * i, "%2hhx", &parsed.id[i]);
	/* What scanning lets pass (blanks, a sign, zeros in front), writing does not make again. */
	make_name(again, "rekindle-", &parsed, 0);
	if (strcmp(text, again))
		return false;
	*name = parsed;
	return true;
}

/* The number of a data file, -N in front of .img, as long as there is one: PID-ID.img has 33 characters from the first '-'. */
static size_t length_of_number(const char *name)
{
	const char *number = strchr(name, '-');

	if (!number || strnlen(number, 34) < 34 || number[33] != '-')
		return 0;
	return 1 + strspn(number + 34, "0123456789");
}

bool gpu_image_file_name_parse(const char *text, struct gpu_image_name *name)
{
	static const char data[] = "rekindle-pages-";
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	size_t number;
	char *end;

	if (strncmp(text, data, strlen(data)))
		return gpu_image_name_parse(text, name);
	if (strlen(text) >= sizeof(manifest))
		return false;
	/* That of its manifest, which has no number. */
	snprintf(manifest, sizeof(manifest), "rekindle-%s", text + strlen(data));
	number = length_of_number(manifest + strlen("rekindle-"));
	end = strrchr(manifest, '.');
	if (number && end && (size_t)(end - manifest) > number)
		memmove(end - number, end, strlen(end) + 1);
	return gpu_image_name_parse(manifest, name);
}

bool gpu_image_owner_runs(const struct gpu_image_name *name)
{
	return kill(name->pid, 0) == 0 || errno == EPERM;
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
		gpu_image_name_files(image, 1);
	return image;
}

void gpu_image_name_files(struct gpu_image *image, uint32_t count)
{
	struct gpu_image_name name = gpu_image_name_of(image);

	for (image->file_count = 0; image->file_count < count; image->file_count++)
		gpu_image_data_name(image->files[image->file_count].name, &name, image->file_count);
}

void gpu_image_spread(struct gpu_image *image, unsigned int writers, uint64_t bytes)
{
	uint64_t count = bytes / SMALLEST_FILE_BYTES;

	if (count > writers)
		count = writers;
	if (count > GPU_IMAGE_OWN_FILES_MAX)
		count = GPU_IMAGE_OWN_FILES_MAX;
	if (image->allocation_count)
		gpu_image_name_files(image, count ? (uint32_t)count : 1);
}

void gpu_image_continue(struct gpu_image *image, const struct gpu_image *begun)
{
	memcpy(image->id, begun->id, sizeof(image->id));
	if (image->allocation_count)
		gpu_image_name_files(image, begun->file_count);
}

void gpu_image_free(struct gpu_image *image)
{
	uint32_t i;

	if (!image)
		return;
	for (i = 0; image->allocations && i < image->allocation_count; i++) {
		free(image->allocations[i].places);
		free(image->allocations[i].checksums);
		free(image->allocations[i].zero_chunks);
		free(image->allocations[i].inherited);
		free(image->allocations[i].hashes);
	}
	free(image->allocations);
	free(image->imports);
	free(image->devices);
	free(image);
}

int32_t gpu_image_criu_pid(const struct gpu_image *image)
{
	return image->own_pid ? image->own_pid : image->pid;
}

int gpu_image_make_imports(struct gpu_image *image, uint32_t count)
{
	image->imports = calloc(count + 1, sizeof(*image->imports));
	if (!image->imports)
		return -ENOMEM;
	image->import_count = count;
	return 0;
}

int gpu_image_make_chunks(struct gpu_image *image, uint32_t index, uint64_t bytes)
{
	struct gpu_image_allocation *allocation = &image->allocations[index];

	allocation->bytes = bytes;
	allocation->chunk_count = (uint32_t)((bytes + image->chunk_bytes - 1) / image->chunk_bytes);
	allocation->places = calloc(allocation->chunk_count, sizeof(*allocation->places));
	allocation->checksums = calloc(allocation->chunk_count, sizeof(*allocation->checksums));
	allocation->zero_chunks = calloc(allocation->chunk_count, sizeof(*allocation->zero_chunks));
	return allocation->places && allocation->checksums && allocation->zero_chunks ? 0 : -ENOMEM;
}

void gpu_image_place_chunk(struct gpu_image *image, uint32_t allocation, uint32_t chunk)
{
	uint32_t own = image->file_count - image->linked_count,
		 number = image->linked_count + (uint32_t)(image->placed_chunks++ % own);
	struct gpu_image_place *place = &image->allocations[allocation].places[chunk];

	place->file = number;
	place->offset = image->files[number].bytes;
	image->files[number].bytes += gpu_image_chunk_bytes(image, allocation, chunk);
}

int gpu_image_place(struct gpu_image *image, uint32_t index, uint64_t bytes)
{
	uint32_t chunk;

	if (gpu_image_make_chunks(image, index, bytes))
		return -ENOMEM;
	for (chunk = 0; chunk < image->allocations[index].chunk_count; chunk++)
		gpu_image_place_chunk(image, index, chunk);
	return 0;
}

void gpu_image_leave_in_pool(struct gpu_image *image)
{
	image->in_pool = true;
	image->file_count = 0;
	memset(image->files, 0, sizeof(image->files));
	snprintf(image->reason, sizeof(image->reason), "in no file: a pool has the memory (REKINDLE_PARK=ephemeral)");
}

int gpu_image_must_be_stored(const struct gpu_image *image, struct error_text *error)
{
	if (!image->in_pool)
		return 0;
	return fail(
		error, -ENODATA,
		"The device memory of process %d is in no file (REKINDLE_PARK=ephemeral): only the pool that its dump "
		"left it in can restore it, once, unless that has ended since, or was told to drop it",
		image->pid);
}

int gpu_image_make_hashes(struct gpu_image_allocation *allocation)
{
	if (!allocation->hashes)
		allocation->hashes = calloc(allocation->chunk_count, GPU_IMAGE_HASH_BYTES);
	return allocation->hashes ? 0 : -ENOMEM;
}

uint64_t gpu_image_chunk_bytes(const struct gpu_image *image, uint32_t allocation, uint32_t chunk)
{
	uint64_t left = image->allocations[allocation].bytes - chunk * image->chunk_bytes;

	return left < image->chunk_bytes ? left : image->chunk_bytes;
}

void gpu_image_close_data(struct gpu_image_data *data)
{
	while (data->count)
		close(data->files[--data->count]);
}

uint64_t gpu_image_bytes(const struct gpu_image *image)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		bytes += image->allocations[i].bytes;
	return bytes;
}

uint64_t gpu_image_host_bytes(const struct gpu_image *image)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		if (image->allocations[i].on_host)
			bytes += image->allocations[i].bytes;
	return bytes;
}
