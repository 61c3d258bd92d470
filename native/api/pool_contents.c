/* SPDX-License-Identifier: MIT */
#include "api/pool_contents.h"

#include "pool/device/gpu_choice.h"
#include "pool/device/pool.h"
#include "rekindle.h"
#include "support/plain_text.h"

#define CHECK_STATE(name)                                                         \
	static_assert((int)REKINDLE_RESIDENT_##name == (int)POOL_RESIDENT_##name, \
		      "rekindle.h has the states of pool_protocol.h")
CHECK_STATE(FILLING);
CHECK_STATE(FILLED);
CHECK_STATE(FAILED);
static_assert(REKINDLE_DIRECTORY_MAX == sizeof(((struct pool_resident *)0)->directory), "a folder's name fits");

static int next_resident(const struct pool_asked *asked, uint64_t after, struct pool_resident *resident, bool *found,
			 struct error_text *error)
{
	struct pool_reply reply;
	int result = 0;

	if (asked->server) {
		*found = pool_server_resident(asked->server, after, resident);
		return 0;
	}
	result = pool_client_request_after(asked->client, POOL_RESIDENT, after, &reply, error);
	if (result)
		return result;
	/* One that repeats itself has come to its end. */
	*found = reply.found && reply.resident.number > after;
	*resident = reply.resident;
	return 0;
}

static void describe_images(const struct pool_resident *resident, struct rekindle_resident_images *images)
{
	*images = (struct rekindle_resident_images){
		.bytes = resident->bytes,
		.bytes_filled = resident->bytes_filled,
		.since = resident->since_nanoseconds,
		.images = resident->images,
		.state = (int32_t)resident->state,
		.taken = resident->taken != 0,
		.parked = resident->parked != 0,
		.tier = (int32_t)resident->tier,
	};
	copy_text(images->directory, sizeof(images->directory), resident->directory);
}

int pool_contents_images(const struct pool_asked *asked, void *entries, uint32_t capacity, uint32_t *count,
			 struct error_text *error)
{
	struct rekindle_resident_images *images = entries;
	struct pool_resident resident = {.number = 0};
	uint32_t there = 0;
	bool found = true;
	int result;

	for (;;) {
		result = next_resident(asked, resident.number, &resident, &found, error);
		if (result)
			return result;
		if (!found)
			break;
		if (there < capacity)
			describe_images(&resident, &images[there]);
		there++;
	}
	*count = there;
	return 0;
}

static int next_gpu(const struct pool_asked *asked, uint64_t ordinal, struct pool_gpu *gpu, bool *found,
		    struct error_text *error)
{
	struct pool_reply reply;
	int result;

	if (asked->server) {
		*found = pool_server_gpu(asked->server, ordinal, gpu);
		return 0;
	}
	result = pool_client_request_after(asked->client, POOL_GPU, ordinal, &reply, error);
	if (result)
		return result;
	*found = reply.found && ordinal < POOL_DEVICES_MAX;
	*gpu = reply.gpu;
	return 0;
}

static void describe_gpu(const struct pool_gpu *gpu, struct rekindle_pool_gpu *entry)
{
	*entry = (struct rekindle_pool_gpu){
		.device = gpu->device,
		.warm = gpu->warm != 0,
		.free_known = gpu->free_known != 0,
		.bytes_held = gpu->bytes_held,
		.memory_bytes = gpu->memory_bytes,
		.free_bytes = gpu->free_bytes,
	};
	copy_text(entry->name, sizeof(entry->name), gpu->name);
	gpu_name_write(gpu->uuid, entry->uuid);
}

int pool_contents_gpus(const struct pool_asked *asked, void *entries, uint32_t capacity, uint32_t *count,
		       struct error_text *error)
{
	struct rekindle_pool_gpu *gpus = entries;
	struct pool_gpu gpu = {.device = 0};
	uint32_t there = 0;
	bool found = true;
	int result;

	for (;;) {
		result = next_gpu(asked, there, &gpu, &found, error);
		if (result)
			return result;
		if (!found)
			break;
		if (there < capacity)
			describe_gpu(&gpu, &gpus[there]);
		there++;
	}
	*count = there;
	return 0;
}
