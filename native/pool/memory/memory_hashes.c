/* SPDX-License-Identifier: MIT */
#include "pool/memory/memory_hashes.h"

#include <errno.h>
#include <stdlib.h>

#include "hash/device_hash.h"

static size_t count_chunks(const struct gpu_image *image)
{
	size_t count = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		count += image->allocations[i].chunk_count;
	return count;
}

/* Those on one device, one after the other as the image has them. */
static int hash_device(struct pool_device *device, const struct gpu_image *image, const struct held_memory *memory,
		       struct memory_hashes *hashes, struct error_text *error)
{
	struct device_chunk *chunks = calloc(count_chunks(image) + 1, sizeof(*chunks));
	struct device_hash *kernel = NULL;
	uint32_t i, number;
	size_t count = 0;
	int result;

	if (!chunks)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < image->allocation_count; i++)
		for (number = 0; memory[i].device == device && number < image->allocations[i].chunk_count; number++)
			chunks[count++] = (struct device_chunk){
				.address = memory[i].here + number * image->chunk_bytes,
				.bytes = gpu_image_chunk_bytes(image, i, number),
			};
	result = pool_device_use(device, error);
	if (result == 0)
		result = device_hash_open(&kernel, &device->pool->driver, error);
	if (result == 0)
		result = device_hash_chunks(kernel, chunks, count, &hashes->chunks[hashes->count], error);
	device_hash_close(kernel);
	if (result == 0)
		hashes->count += count;
	free(chunks);
	return result;
}

static bool is_first_on_its_device(const struct held_memory *memory, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < index && memory[i].device != memory[index].device; i++)
		;
	return i == index;
}

int memory_hashes_make(const struct gpu_image *image, const struct held_memory *memory, struct memory_hashes *hashes,
		       struct error_text *error)
{
	int result = 0;
	uint32_t i;

	*hashes = (struct memory_hashes){.chunks = calloc(count_chunks(image) + 1, sizeof(*hashes->chunks))};
	if (!hashes->chunks)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < image->allocation_count && result == 0; i++)
		if (is_first_on_its_device(memory, i))
			result = hash_device(memory[i].device, image, memory, hashes, error);
	if (result)
		memory_hashes_free(hashes);
	return result;
}

bool memory_hashes_equal(const struct memory_hashes *one, const struct memory_hashes *other)
{
	size_t i;

	for (i = 0; one->count == other->count && i < one->count; i++)
		if (!chunk_hash_equals(&one->chunks[i], &other->chunks[i]))
			return false;
	return one->count == other->count;
}

void memory_hashes_free(struct memory_hashes *hashes)
{
	free(hashes->chunks);
	*hashes = (struct memory_hashes){.chunks = NULL};
}
