/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/run/copy_ahead.h"
#include "pool/run/offload.h"
#include "support/clock.h"

/* The copy hears of so many at a time. */
#define STEP_PIECES 16

/* All at once: else each would wait until the one before it is warm. */
static void warm_all(const struct offload *offload, uint32_t from)
{
	struct pool_device *device;
	uint32_t i;

	for (i = from; i < offload->export.own.count; i++) {
		device = pool_device_find(offload->run->pool, offload->export.own.allocations[i].device.bytes);
		if (device)
			pool_device_warm_begin(device);
	}
}

/* An entry for it, and its descriptor. */
static struct held_memory *take_offer(struct run_process *process, struct agent_offers *offers, uint32_t i)
{
	struct held_memory *memory = &process->memory[process->memory_count++];

	memory->allocation_id = offers->allocations[i].allocation_id;
	memory->address = offers->allocations[i].address;
	memory->bytes = offers->allocations[i].bytes;
	memory->on_host = offers->nodes[i] != AGENT_NODE_NONE;
	memory->node = memory->on_host ? (uint32_t)offers->nodes[i] : 0;
	memory->descriptor = offers->descriptors[i];
	offers->descriptors[i] = -1;
	return memory;
}

/* Addresses for all that will come. */
static int reserve(struct offload *offload, uint64_t bytes, struct error_text *error)
{
	return offload->process->range.bytes
		       ? 0
		       : held_range_reserve(&offload->process->range, offload->run->pool, bytes, error);
}

static int take_one(struct offload *offload, uint32_t i, uint64_t bytes, struct error_text *error)
{
	struct held_memory *memory = take_offer(offload->process, &offload->export.own, i);
	struct pool *pool = offload->run->pool;
	int result;

	memory->device = pool_device_find(pool, offload->export.own.allocations[i].device.bytes);
	if (!memory->device)
		return fail(error, -ENODEV,
			    "Process %d holds memory on a GPU that the pool does not see; start the pool without "
			    "CUDA_VISIBLE_DEVICES",
			    offload->process->pid);
	offload->image->allocations[i].id = memory->allocation_id;
	offload->image->allocations[i].address = memory->address;
	offload->image->allocations[i].device = (uint32_t)(memory->device - pool->devices);
	offload->image->allocations[i].on_host = memory->on_host;
	offload->image->allocations[i].node = memory->node;
	if (gpu_image_place(offload->image, i, memory->bytes))
		return fail(error, -ENOMEM, "Out of memory");
	result = pool_device_warm(memory->device, error);
	if (result == 0)
		result = pool_device_use(memory->device, error);
	if (result == 0)
		result = held_memory_import(memory, error);
	if (result == 0)
		result = reserve(offload, bytes, error);
	return result ? result : held_memory_map(memory, &offload->process->range, error);
}

/* Room for so many allocations, and an image of them. */
static int make_image(struct offload *offload, uint32_t own, struct error_text *error)
{
	struct run_process *process = offload->process;

	run_process_end_check(process);
	run_process_drop_memory(process); /* of an earlier CHECKPOINT in this run */
	process->memory = calloc(own + 1, sizeof(*process->memory));
	offload->image = run_make_image(offload->run, process, GPU_IMAGE_OFFLOAD, own);
	if (!process->memory || !offload->image)
		return fail(error, -ENOMEM, "Out of memory");
	return 0;
}

/* One that was begun while the process ran has its id from there, by which others will know the owner. */
static void note_id(const struct offload *offload)
{
	memcpy(offload->process->next_image_id, offload->image->id, sizeof(offload->process->next_image_id));
}

/* What the process has imported comes behind its own memory. */
static int take_imports(struct offload *offload, struct error_text *error)
{
	struct run_process *process = offload->process;
	uint32_t own = offload->export.own.count, imports = offload->export.imports.count, i;
	struct held_memory *grown = realloc(process->memory, (own + imports + 1) * sizeof(*grown));

	if (grown)
		process->memory = grown;
	process->imports = calloc(imports + 1, sizeof(*process->imports));
	if (!grown || !process->imports || gpu_image_make_imports(offload->image, imports))
		return fail(error, -ENOMEM, "Out of memory");
	process->own_count = own;
	memset(&process->memory[own], 0, imports * sizeof(*grown));
	for (i = 0; i < imports; i++)
		take_offer(process, &offload->export.imports, i);
	if (own)
		run_note_gpu(offload->run, process->memory[0].device);
	return 0;
}

/* Where things are to be in the image. */
static void begin_or_continue(struct offload *offload)
{
	const struct copy_ahead *ahead = offload->process->ahead;

	if (ahead) {
		gpu_image_continue(offload->image, copy_ahead_image(ahead));
		copy_ahead_arrange(ahead, &offload->export.own);
	} else {
		gpu_image_spread(offload->image, offload->run->pool->settings.streams, offload->export.bytes);
	}
}

int offload_take_all(struct offload *offload, struct error_text *error)
{
	uint32_t own = offload->export.own.count, i;
	int result = make_image(offload, own, error);

	if (result)
		return result;
	warm_all(offload, 0);
	begin_or_continue(offload);
	note_id(offload);
	for (i = 0; i < own && result == 0; i++)
		result = take_one(offload, i, offload->export.bytes, error);
	return result ? result : take_imports(offload, error);
}

/* ---- as it comes ---- */

static uint64_t memory_of_all_devices(const struct pool *pool)
{
	uint64_t bytes = 0;
	int i;

	for (i = 0; i < pool->device_count; i++)
		bytes += pool->devices[i].memory_bytes;
	return bytes;
}

static int begin_stream(struct offload *offload, uint64_t bytes, struct error_text *error)
{
	int result;

	offload->streams = true;
	offload->stream_began = monotonic_nanoseconds();
	if (bytes > memory_of_all_devices(offload->run->pool) + pool_host_bytes())
		return fail(error, -EPROTO, "The agent in the process announces more memory than there is");
	offload->limit = (uint32_t)(bytes / AGENT_UNIT_BYTES);
	result = make_image(offload, offload->limit, error);
	if (result)
		return result;
	note_id(offload);
	gpu_image_spread(offload->image, offload->run->pool->settings.streams, bytes);
	result = gpu_image_create_data(offload->run->folder, offload->image, &offload->data, error);
	offload->copy = (struct image_copy){
		.run = offload->run,
		.process = offload->process,
		.phase = PHASE_COPY_OUT,
		.image = offload->image,
		.data = &offload->data,
	};
	image_copy_begin(&offload->copy, bytes);
	return result;
}

static int take_part(struct offload *offload, uint32_t from, uint64_t bytes, struct error_text *error)
{
	int result = offload->streams ? 0 : begin_stream(offload, bytes, error);
	uint32_t i;

	if (result)
		return result;
	if (offload->export.own.count > offload->limit)
		return fail(error, -EPROTO, "The agent in the process exports more than it has announced");
	warm_all(offload, from);
	for (i = from; i < offload->export.own.count && result == 0; i++) {
		result = take_one(offload, i, offload->copy.bytes_limit, error);
		if (result == 0)
			result = image_copy_add(&offload->copy, i, offload->process->memory[i].here, error);
		if ((i + 1) % STEP_PIECES == 0)
			image_copy_tell(&offload->copy);
	}
	image_copy_tell(&offload->copy);
	return result;
}

/* After a failure the agent is heard to its end, so that it is known whether the process is as it was. */
static void hear(void *context, struct agent_export *export, uint32_t from, uint64_t bytes)
{
	struct offload *offload = context;

	(void)export; /* it is the offload's */
	if (offload->stream_result || (!offload->streams && (!bytes || from)))
		return;
	offload->stream_result = take_part(offload, from, bytes, &offload->failure);
}

struct agent_listener offload_listener(struct offload *offload)
{
	return (struct agent_listener){.hear = hear, .context = offload};
}

int offload_take_rest(struct offload *offload, struct error_text *error)
{
	if (offload->stream_result)
		return fail(error, offload->stream_result, "%s", offload->failure.text);
	offload->image->allocation_count = offload->export.own.count;
	return take_imports(offload, error);
}
