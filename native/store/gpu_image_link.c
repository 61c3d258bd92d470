/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"

/* Those of a difference's own: what has changed is little, and each of them may be linked to in the next one. */
#define NEW_FILES_MAX 8u
/* The rest is for those. Where there are more, what is in those with the least of use is written anew. */
#define LINKED_FILES_MAX (GPU_IMAGE_FILES_MAX - NEW_FILES_MAX)
/* Less in each is not worth a file. */
#define SMALLEST_FILE_BYTES (64ull << 20)

int gpu_image_inherit(struct gpu_image *image, uint32_t allocation, uint32_t chunk,
		      const struct gpu_image_allocation *from)
{
	struct gpu_image_allocation *to = &image->allocations[allocation];

	if (!to->inherited)
		to->inherited = calloc(to->chunk_count, 1);
	if (!to->inherited)
		return -ENOMEM;
	to->inherited[chunk] = 1;
	to->places[chunk] = from->places[chunk];
	to->checksums[chunk] = from->checksums[chunk];
	to->zero_chunks[chunk] = from->zero_chunks[chunk];
	return 0;
}

/* The parent's data files, by how they serve the image. */
struct linking {
	struct gpu_image *image;
	const struct gpu_image *parent;
	uint64_t used[GPU_IMAGE_FILES_MAX];   /* bytes of what was inherited */
	uint32_t chosen[GPU_IMAGE_FILES_MAX]; /* indices, those of most use first */
	uint32_t count;
	int64_t numbers[GPU_IMAGE_FILES_MAX]; /* of each: its number in the image, -1: it is not linked */
	uint64_t new_bytes;		      /* of what was not inherited */
};

/* Calls visit for each chunk that is stored and inherited (or, with others, for each that is not inherited). */
static void for_each(struct linking *linking, bool others,
		     void (*visit)(struct linking *linking, uint32_t allocation, uint32_t chunk))
{
	const struct gpu_image_allocation *allocation;
	uint32_t i, chunk;

	for (i = 0; i < linking->image->allocation_count; i++) {
		allocation = &linking->image->allocations[i];
		for (chunk = 0; chunk < allocation->chunk_count; chunk++) {
			bool inherited = allocation->inherited && allocation->inherited[chunk];

			if (others ? !inherited : inherited && !allocation->zero_chunks[chunk])
				visit(linking, i, chunk);
		}
	}
}

static void count_used(struct linking *linking, uint32_t allocation, uint32_t chunk)
{
	linking->used[linking->image->allocations[allocation].places[chunk].file] +=
		gpu_image_chunk_bytes(linking->image, allocation, chunk);
}

static int compare_use(const void *left, const void *right, void *context)
{
	const uint64_t *used = ((const struct linking *)context)->used;
	uint64_t a = used[*(const uint32_t *)left], b = used[*(const uint32_t *)right];

	return (a < b) - (a > b);
}

static void choose(struct linking *linking)
{
	uint32_t i;

	for (i = 0; i < linking->parent->file_count; i++)
		if (linking->used[i] && linking->used[i] >= linking->parent->files[i].stored_bytes / 2)
			linking->chosen[linking->count++] = i;
	qsort_r(linking->chosen, linking->count, sizeof(*linking->chosen), compare_use, linking);
	if (linking->count > LINKED_FILES_MAX)
		linking->count = LINKED_FILES_MAX;
}

static void temporary_name(char *text, size_t size, const struct gpu_image *image, uint32_t number)
{
	struct gpu_image_name name = gpu_image_name_of(image);
	char data[GPU_IMAGE_FILE_NAME_MAX];

	gpu_image_data_name(data, &name, number);
	snprintf(text, size, "%s" MANIFEST_TEMPORARY, data);
}

/* The very file that was opened and looked at, whatever bears its name by now. */
static int link_file(int folder, const struct gpu_image *image, int data, uint32_t number)
{
	char name[GPU_IMAGE_FILE_NAME_MAX + sizeof(MANIFEST_TEMPORARY)], path[32];

	temporary_name(name, sizeof(name), image, number);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", data);
	return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static void unlink_all(int folder, const struct gpu_image *image, uint32_t count)
{
	char name[GPU_IMAGE_FILE_NAME_MAX + sizeof(MANIFEST_TEMPORARY)];

	while (count) {
		temporary_name(name, sizeof(name), image, --count);
		unlinkat(folder, name, 0);
	}
}

static int link_all(int folder, struct linking *linking, const struct gpu_image_data *data, struct error_text *error)
{
	uint32_t number;
	int result;

	for (number = 0; number < linking->count; number++) {
		result = link_file(folder, linking->image, data->files[linking->chosen[number]], number);
		if (result == 0)
			continue;
		/* This one too: a file system over a network may have made a link of which it says that it failed. */
		unlink_all(folder, linking->image, number + 1);
		linking->count = 0;
		return fail(error, result, "%s cannot be linked: %s",
			    linking->parent->files[linking->chosen[number]].name, errno_text(-result));
	}
	return 0;
}

/* Its file has a number here; what lies in one that has none is to be written. */
static void move_place(struct linking *linking, uint32_t allocation, uint32_t chunk)
{
	struct gpu_image_allocation *of = &linking->image->allocations[allocation];
	int64_t number = linking->numbers[of->places[chunk].file];

	if (number >= 0)
		of->places[chunk].file = (uint32_t)number;
	else
		of->inherited[chunk] = 0;
}

static void count_new(struct linking *linking, uint32_t allocation, uint32_t chunk)
{
	linking->new_bytes += gpu_image_chunk_bytes(linking->image, allocation, chunk);
}

static void place_new(struct linking *linking, uint32_t allocation, uint32_t chunk)
{
	gpu_image_place_chunk(linking->image, allocation, chunk);
}

static void name_linked(struct linking *linking)
{
	const struct gpu_image *parent = linking->parent;
	struct gpu_image_file *to;
	uint32_t i;

	for (i = 0; i < GPU_IMAGE_FILES_MAX; i++)
		linking->numbers[i] = -1;
	for (i = 0; i < linking->count; i++) {
		const struct gpu_image_file *from = &parent->files[linking->chosen[i]];

		linking->numbers[linking->chosen[i]] = i;
		to = &linking->image->files[i];
		to->bytes = from->bytes;
		to->stored_bytes = from->stored_bytes;
		to->linked = true;
		memcpy(to->origin, from->linked ? from->origin : parent->id, sizeof(to->origin));
	}
}

/* An image of its own, where nothing is linked. */
static void name_new(struct linking *linking, unsigned int writers)
{
	struct gpu_image *image = linking->image;
	uint64_t count;

	for_each(linking, true, count_new);
	if (!linking->count) {
		gpu_image_spread(image, writers, linking->new_bytes);
		return;
	}
	count = linking->new_bytes / SMALLEST_FILE_BYTES;
	if (count > writers)
		count = writers;
	if (count > NEW_FILES_MAX)
		count = NEW_FILES_MAX;
	if (count == 0 && linking->new_bytes)
		count = 1;
	gpu_image_name_files(image, linking->count + (uint32_t)count);
}

/* A zero chunk lies nowhere. */
static void clear_places(struct gpu_image *image)
{
	uint32_t i, chunk;

	for (i = 0; i < image->allocation_count; i++)
		for (chunk = 0; image->allocations[i].inherited && chunk < image->allocations[i].chunk_count; chunk++)
			if (image->allocations[i].inherited[chunk] && image->allocations[i].zero_chunks[chunk])
				image->allocations[i].places[chunk] = (struct gpu_image_place){0, 0};
}

int gpu_image_link(int folder, struct gpu_image *image, const struct gpu_image *parent,
		   const struct gpu_image_data *parent_data, unsigned int writers, struct error_text *error)
{
	struct linking linking = {.image = image, .parent = parent};
	int result;
	uint32_t i;

	for_each(&linking, false, count_used);
	choose(&linking);
	result = link_all(folder, &linking, parent_data, error);
	memset(image->files, 0, sizeof(image->files));
	name_linked(&linking);
	for_each(&linking, false, move_place);
	/* One that is all zero is known to be so only of an image that says where each chunk lies. */
	for (i = 0; !linking.count && i < image->allocation_count; i++) {
		free(image->allocations[i].inherited);
		image->allocations[i].inherited = NULL;
	}
	clear_places(image);
	name_new(&linking, writers);
	image->linked_count = linking.count;
	image->placed_chunks = 0;
	for_each(&linking, true, place_new);
	return result;
}

uint64_t gpu_image_linked_bytes(const struct gpu_image *image)
{
	uint64_t bytes = 0;
	uint32_t i, chunk;

	for (i = 0; i < image->allocation_count; i++)
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++)
			if (!image->allocations[i].zero_chunks[chunk] &&
			    image->files[image->allocations[i].places[chunk].file].linked)
				bytes += gpu_image_chunk_bytes(image, i, chunk);
	return bytes;
}

uint64_t gpu_image_dead_bytes(const struct gpu_image *image)
{
	uint64_t stored = 0, used = gpu_image_linked_bytes(image);
	uint32_t i;

	for (i = 0; i < image->file_count; i++)
		if (image->files[i].linked)
			stored += image->files[i].stored_bytes;
	return stored > used ? stored - used : 0;
}
