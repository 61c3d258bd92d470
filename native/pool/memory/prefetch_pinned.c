/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * The same pieces of memory in pinned memory of the host, which the device copies from as from its own. The driver makes it,
 * of huge pages where it can, and clear.
 */

uint32_t prefetch_node_of(const struct pool_device *device)
{
	int node = 0;

	if (device->pool->driver.cuDeviceGetAttribute(&node, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, device->device) !=
		    CUDA_SUCCESS ||
	    node < 0)
		node = 0;
	return (uint32_t)node;
}

/* What is copied at once: who waits for the room, or for the images, does not wait for the rest of a large piece. */
#define STEP_CHUNKS 4u

/* One image on its way. */
struct pinning {
	struct prefetch *prefetch;
	struct prefetch_image *image;
	struct pool *pool;
	const struct cuda_driver *driver;
	const struct room_wait *wait;
	struct held_memory *memory;
	struct held_range range;
	struct pool_device *device; /* that stream is of; NULL: there is none */
	CUstream stream;
};

static int driver_failed(const struct pinning *pinning, const char *call, CUresult status, struct error_text *error)
{
	return fail(error, cuda_result_to_errno(status), "%s failed on the way to pinned memory: %s", call,
		    cuda_result_name(pinning->driver, status));
}

static int finish_stream(struct pinning *pinning, struct error_text *error)
{
	CUresult status;

	if (!pinning->device)
		return 0;
	status = pinning->driver->cuStreamSynchronize(pinning->stream);
	pinning->driver->cuStreamDestroy(pinning->stream);
	pinning->device = NULL;
	return status == CUDA_SUCCESS ? 0 : driver_failed(pinning, "cuStreamSynchronize", status, error);
}

static int use_stream_of(struct pinning *pinning, struct pool_device *device, struct error_text *error)
{
	CUresult status;
	int result;

	if (pinning->device == device)
		return 0;
	result = finish_stream(pinning, error);
	if (result == 0)
		result = pool_device_use(device, error);
	if (result)
		return result;
	status = pinning->driver->cuStreamCreate(&pinning->stream, CU_STREAM_NON_BLOCKING);
	if (status != CUDA_SUCCESS)
		return driver_failed(pinning, "cuStreamCreate", status, error);
	pinning->device = device;
	return 0;
}

/* Is there a reason to stop here? */
static int look(const struct pinning *pinning, struct error_text *error)
{
	if (atomic_load(&pinning->prefetch->called_back))
		return fail(error, -ECANCELED, "What was on its way to pinned memory is wanted where it is");
	return prefetch_room_wait_look(pinning->pool, pinning->wait, error);
}

/* Of the step before. */
static int finish_copies(struct pinning *pinning, struct error_text *error)
{
	CUresult status = pinning->driver->cuStreamSynchronize(pinning->stream);

	return status == CUDA_SUCCESS ? look(pinning, error)
				      : driver_failed(pinning, "cuStreamSynchronize", status, error);
}

static int copy_steps(struct pinning *pinning, const struct held_memory *from, const struct held_memory *to,
		      struct error_text *error)
{
	uint64_t most = STEP_CHUNKS * pinning->image->image->chunk_bytes, at, bytes;
	CUresult status;
	int result;

	for (at = 0; at < from->bytes; at += bytes) {
		bytes = from->bytes - at < most ? from->bytes - at : most;
		result = finish_copies(pinning, error);
		if (result)
			return result;
		status = pinning->driver->cuMemcpyDtoDAsync(to->here + at, from->here + at, bytes, pinning->stream);
		if (status != CUDA_SUCCESS)
			return driver_failed(pinning, "cuMemcpyDtoDAsync", status, error);
	}
	return 0;
}

/* The memory is made while the one before it is being copied. */
static int copy_piece(struct pinning *pinning, struct held_memory *from, struct held_memory *to,
		      struct error_text *error)
{
	int result = use_stream_of(pinning, from->device, error);

	if (result == 0)
		result = held_memory_create(to, error);
	if (result == 0)
		result = held_memory_map(to, &pinning->range, error);
	/* What is parked is mapped nowhere. */
	if (result == 0 && !from->mapped)
		result = held_memory_map(from, NULL, error);
	return result ? result : copy_steps(pinning, from, to, error);
}

static int copy_pieces(struct pinning *pinning, struct held_memory *from, struct error_text *error)
{
	uint32_t count = pinning->image->image->allocation_count, i;
	struct error_text other;
	int result = 0, end;

	for (i = 0; i < count && result == 0; i++) {
		result = look(pinning, error);
		if (result == 0)
			result = copy_piece(pinning, &from[i], &pinning->memory[i], error);
	}
	end = finish_stream(pinning, result ? &other : error);
	return result ? result : end;
}

static bool has_hashes(const struct gpu_image *image)
{
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++)
		if (image->allocations[i].chunk_count && !image->allocations[i].hashes)
			return false;
	return true;
}

static int look_at(const void *pinning, struct error_text *error)
{
	return look(pinning, error);
}

/* With the hashes that the image has from when its process stood still. */
static int compare(const struct pinning *pinning, struct error_text *error)
{
	const struct gpu_image *image = pinning->image->image;
	const struct hash_look between = {look_at, pinning};
	struct memory_hashes hashes = {.chunks = NULL};
	int result = memory_hashes_make(image, pinning->memory, &between, &hashes, error);

	if (result == 0 && !memory_hashes_are_of(&hashes, image))
		result = fail(error, -EBADMSG,
			      "The device memory of process %d did not come to pinned memory as it was dumped",
			      image->pid);
	memory_hashes_free(&hashes);
	return result;
}

/* One piece for each of the image. */
static int plan(struct pinning *pinning, const struct held_memory *from, uint64_t *bytes, struct error_text *error)
{
	const struct gpu_image *image = pinning->image->image;
	uint32_t i;

	*bytes = 0;
	pinning->memory = calloc(image->allocation_count + image->import_count + 1, sizeof(*pinning->memory));
	if (!pinning->memory)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < image->allocation_count + image->import_count; i++)
		pinning->memory[i].descriptor = -1;
	for (i = 0; i < image->allocation_count; i++) {
		pinning->memory[i].allocation_id = from[i].allocation_id;
		pinning->memory[i].bytes = from[i].bytes;
		pinning->memory[i].address = from[i].address;
		pinning->memory[i].device = from[i].device;
		pinning->memory[i].on_host = true;
		pinning->memory[i].node = from[i].on_host ? from[i].node : prefetch_node_of(from[i].device);
		*bytes += from[i].bytes;
	}
	return 0;
}

static void release(const struct gpu_image *image, struct held_memory *memory, struct held_range *range)
{
	struct error_text error;
	uint32_t i;

	for (i = 0; i < image->allocation_count + image->import_count; i++) {
		if (memory[i].has_handle && pool_device_use(memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&memory[i]);
	}
	held_range_free(range);
	free(memory);
}

/* In its place from now on; who has copied from the other is waited for. */
static void exchange(struct prefetch *prefetch, struct pinning *pinning)
{
	struct prefetch_image *image = pinning->image;
	struct held_memory *memory = image->memory;
	struct held_range range = image->range;

	pthread_mutex_lock(&prefetch->lock);
	while (image->copiers)
		pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	image->memory = pinning->memory;
	image->range = pinning->range;
	pthread_mutex_unlock(&prefetch->lock);
	release(image->image, memory, &range);
}

/*
 * Of what is parked the pieces are mapped for this only, at addresses of a copy of their structures: others may look at
 * them meanwhile.
 */
static int make_copy(struct pinning *pinning, struct error_text *error)
{
	const struct prefetch_image *image = pinning->image;
	uint32_t count = image->image->allocation_count, i;
	struct held_memory *from = calloc(count + 1, sizeof(*from));
	uint64_t bytes = 0;
	int result;

	if (!from)
		return fail(error, -ENOMEM, "Out of memory");
	memcpy(from, image->memory, count * sizeof(*from));
	result = plan(pinning, from, &bytes, error);
	if (result == 0)
		result = held_range_reserve(&pinning->range, image->memory[0].device->pool, bytes, error);
	if (result == 0)
		result = copy_pieces(pinning, from, error);
	if (result == 0)
		result = compare(pinning, error);
	for (i = 0; i < count; i++)
		if (from[i].mapped && !image->memory[i].mapped && !pool_device_use(from[i].device, NULL))
			held_memory_unmap(&from[i]);
	free(from);
	return result;
}

/* As it was before, where that fails. */
static int pin_image(struct pinning *pinning, struct error_text *error)
{
	const struct gpu_image *image = pinning->image->image;
	int result;

	if (!image->allocation_count)
		return 0;
	if (!has_hashes(image))
		return fail(
			error, -EOPNOTSUPP,
			"The image of process %d lacks hashes, with which its way to pinned memory could be checked",
			image->pid);
	result = pool_device_use(pinning->image->memory[0].device, error);
	return result ? result : make_copy(pinning, error);
}

/* Only when all are there: what is broken off is as it was. */
int prefetch_pin(struct prefetch *prefetch, const struct room_wait *wait, struct error_text *error)
{
	struct pinning *pinnings = calloc(prefetch->count + 1, sizeof(*pinnings));
	uint64_t began = monotonic_nanoseconds();
	int result = 0;
	size_t i;

	if (!pinnings)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < prefetch->count && result == 0; i++) {
		pinnings[i] = (struct pinning){
			.prefetch = prefetch,
			.image = &prefetch->images[i],
			.pool = prefetch->pool,
			.driver = &prefetch->pool->driver,
			.wait = wait,
		};
		result = pin_image(&pinnings[i], error);
	}
	for (i = 0; i < prefetch->count; i++) {
		if (pinnings[i].memory && result == 0)
			exchange(prefetch, &pinnings[i]);
		else if (pinnings[i].memory)
			release(pinnings[i].image->image, pinnings[i].memory, &pinnings[i].range);
	}
	free(pinnings);
	if (result == 0)
		log_info("%llu MiB went to pinned memory in %.3f s", (unsigned long long)(prefetch->bytes >> 20),
			 (double)(monotonic_nanoseconds() - began) / 1e9);
	else if (result == -ECANCELED)
		log_info("%s", error->text);
	else
		pool_look_for_lost_devices(prefetch->pool);
	return result;
}
