/* SPDX-License-Identifier: MIT */
#include "pool/memory/memory_hashes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash/device_hash.h"

/* For who may be told to stop. What is in pinned memory is read at the pace of the link: 256 MiB of it in 5 to 10 ms. */
#define STEP_CHUNKS 16u

static size_t count_chunks(const struct gpu_image *image)
{
	size_t count = 0;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		count += image->allocations[i].chunk_count;
	return count;
}

/* Those that lie on the device, and the number of each in the image. Returns how many there are. */
static size_t list_chunks(const struct pool_device *device, const struct gpu_image *image,
			  const struct held_memory *memory, struct device_chunk *chunks, size_t *places)
{
	size_t count = 0, at = 0;
	uint32_t i, number;

	for (i = 0; i < image->allocation_count; i++) {
		for (number = 0; number < image->allocations[i].chunk_count; number++, at++) {
			if (memory[i].device != device)
				continue;
			places[count] = at;
			chunks[count++] = (struct device_chunk){
				.address = memory[i].here + number * image->chunk_bytes,
				.bytes = gpu_image_chunk_bytes(image, i, number),
			};
		}
	}
	return count;
}

static int hash_steps(struct device_hash *kernel, const struct device_chunk *chunks, size_t count,
		      const struct hash_look *look, struct chunk_hash *hashes, struct error_text *error)
{
	size_t most = look ? STEP_CHUNKS : count, at, some;
	int result = 0;

	for (at = 0; at < count && result == 0; at += some) {
		some = count - at < most ? count - at : most;
		result = look && at ? look->look(look->context, error) : 0;
		if (result == 0)
			result = device_hash_chunks(kernel, &chunks[at], some, &hashes[at], error);
	}
	return result;
}

static int hash_chunks(struct pool_device *device, const struct device_chunk *chunks, size_t count,
		       const struct hash_look *look, struct chunk_hash *hashes, struct error_text *error)
{
	struct device_hash *kernel = NULL;
	int result = pool_device_use(device, error);

	if (result == 0)
		result = device_hash_open(&kernel, &device->pool->driver, error);
	if (result == 0)
		result = hash_steps(kernel, chunks, count, look, hashes, error);
	device_hash_close(kernel);
	return result;
}

static int hash_device(struct pool_device *device, const struct gpu_image *image, const struct held_memory *memory,
		       const struct hash_look *look, struct memory_hashes *hashes, struct error_text *error)
{
	struct device_chunk *chunks = calloc(hashes->count + 1, sizeof(*chunks));
	struct chunk_hash *results = calloc(hashes->count + 1, sizeof(*results));
	size_t *places = calloc(hashes->count + 1, sizeof(*places)), count, i;
	int result = -ENOMEM;

	if (chunks && results && places) {
		count = list_chunks(device, image, memory, chunks, places);
		result = hash_chunks(device, chunks, count, look, results, error);
		for (i = 0; i < count && result == 0; i++)
			hashes->chunks[places[i]] = results[i];
	} else {
		fail(error, result, "Out of memory");
	}
	free(chunks);
	free(results);
	free(places);
	return result;
}

static bool is_first_on_its_device(const struct held_memory *memory, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < index && memory[i].device != memory[index].device; i++)
		;
	return i == index;
}

int memory_hashes_make(const struct gpu_image *image, const struct held_memory *memory, const struct hash_look *look,
		       struct memory_hashes *hashes, struct error_text *error)
{
	size_t count = count_chunks(image);
	int result = 0;
	uint32_t i;

	*hashes = (struct memory_hashes){.chunks = calloc(count + 1, sizeof(*hashes->chunks)), .count = count};
	if (!hashes->chunks)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < image->allocation_count && result == 0; i++)
		if (is_first_on_its_device(memory, i))
			result = hash_device(memory[i].device, image, memory, look, hashes, error);
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

bool memory_hashes_are_of(const struct memory_hashes *hashes, const struct gpu_image *image)
{
	const struct chunk_hash *own = hashes->chunks;
	const struct gpu_image_allocation *allocation;
	bool equal = hashes->count == count_chunks(image);
	uint32_t i;

	for (i = 0; equal && i < image->allocation_count; own += allocation->chunk_count, i++) {
		allocation = &image->allocations[i];
		equal = !allocation->hashes ||
			!memcmp(own, allocation->hashes, (size_t)allocation->chunk_count * GPU_IMAGE_HASH_BYTES);
	}
	return equal;
}

void memory_hashes_free(struct memory_hashes *hashes)
{
	free(hashes->chunks);
	*hashes = (struct memory_hashes){.chunks = NULL};
}
