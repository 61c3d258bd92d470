/* SPDX-License-Identifier: MIT */
#include "pool/run/copy_ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash/device_hash.h"
#include "pool/run/parent_image.h"
#include "support/clock.h"
#include "support/log.h"

/* How much looking around a hostile agent's list is worth. */
#define SEARCH_STEPS_MAX (1u << 22)

struct copy_ahead {
	struct pool *pool;
	struct gpu_image *image;
	struct gpu_image_data data;
	struct chunk_hash **hashes; /* of each allocation's chunks, as they are in the files */
	uint32_t *by_id;	    /* indices of allocations */
	struct device_hash *kernels[POOL_DEVICES_MAX];
};

static void close_kernels(struct copy_ahead *ahead)
{
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		if (ahead->kernels[device] && !pool_device_use(&ahead->pool->devices[device], NULL))
			device_hash_close(ahead->kernels[device]);
		ahead->kernels[device] = NULL;
	}
}

static void ahead_free(struct copy_ahead *ahead)
{
	uint32_t i;

	if (!ahead)
		return;
	close_kernels(ahead);
	for (i = 0; ahead->hashes && i < ahead->image->allocation_count; i++)
		free(ahead->hashes[i]);
	free(ahead->hashes);
	free(ahead->by_id);
	gpu_image_close_data(&ahead->data);
	gpu_image_free(ahead->image);
	free(ahead);
}

void run_drop_ahead(struct run *run, struct run_process *process)
{
	if (!process->ahead)
		return;
	ahead_free(process->ahead);
	process->ahead = NULL;
	gpu_image_remove_unfinished(run->folder, process->pid);
}

/* ---- while the process runs ---- */

/* What is under way for one process. */
struct beginning {
	struct run *run;
	struct run_process *process;
	struct agent_export offer;
	struct held_memory *memory;
	uint32_t memory_count;
	struct copy_ahead *ahead;
	bool has_to_fail; /* what went wrong would be so for the dump too */
	bool has_parent;  /* of which most is the same, and nothing is copied */
};

static int compare_ids(const void *left, const void *right, void *image)
{
	const struct gpu_image_allocation *allocations = ((const struct gpu_image *)image)->allocations;
	uint64_t a = allocations[*(const uint32_t *)left].id, b = allocations[*(const uint32_t *)right].id;

	return (a > b) - (a < b);
}

static int make_ahead(struct beginning *beginning, struct error_text *error)
{
	uint32_t count = beginning->offer.own.count;
	struct copy_ahead *ahead = calloc(1, sizeof(*ahead));

	beginning->ahead = ahead;
	beginning->memory = calloc(count, sizeof(*beginning->memory));
	if (!ahead || !beginning->memory)
		return fail(error, -ENOMEM, "Out of memory");
	ahead->pool = beginning->run->pool;
	ahead->image = run_make_image(beginning->run, beginning->process, GPU_IMAGE_OFFLOAD, count);
	if (!ahead->image)
		return fail(error, -ENOMEM, "Out of memory");
	ahead->hashes = calloc(count, sizeof(struct chunk_hash *));
	ahead->by_id = calloc(count, sizeof(*ahead->by_id));
	if (!ahead->hashes || !ahead->by_id)
		return fail(error, -ENOMEM, "Out of memory");
	gpu_image_spread(ahead->image, ahead->pool->settings.streams, beginning->offer.bytes);
	return 0;
}

static int take_one(struct beginning *beginning, uint32_t i, struct error_text *error)
{
	const struct agent_allocation *offered = &beginning->offer.own.allocations[i];
	struct held_memory *memory = &beginning->memory[i];
	struct copy_ahead *ahead = beginning->ahead;
	struct gpu_image_allocation *allocation = &ahead->image->allocations[i];
	int result;

	*memory = (struct held_memory){
		.allocation_id = offered->allocation_id,
		.bytes = offered->bytes,
		.address = offered->address,
		.descriptor = beginning->offer.own.descriptors[i],
		.device = pool_device_find(ahead->pool, offered->device.bytes),
	};
	beginning->offer.own.descriptors[i] = -1;
	beginning->memory_count++;
	if (!memory->device)
		return fail(error, -ENODEV, "It holds memory on a GPU that the pool does not see");
	allocation->id = offered->allocation_id;
	allocation->address = offered->address;
	allocation->device = (uint32_t)(memory->device - ahead->pool->devices);
	if (gpu_image_place(ahead->image, i, offered->bytes))
		return fail(error, -ENOMEM, "Out of memory");
	ahead->by_id[i] = i;
	ahead->hashes[i] = calloc(allocation->chunk_count, sizeof(struct chunk_hash));
	if (!ahead->hashes[i])
		return fail(error, -ENOMEM, "Out of memory");
	result = pool_device_warm(memory->device, error);
	if (result == 0)
		result = pool_device_use(memory->device, error);
	if (result == 0 && !ahead->kernels[allocation->device])
		result = device_hash_open(&ahead->kernels[allocation->device], &ahead->pool->driver, error);
	if (result == 0)
		result = held_memory_import(memory, error);
	return result ? result : held_memory_map(memory, NULL, error);
}

/* Nothing of the process's memory is held any more. */
static void let_go(struct beginning *beginning)
{
	struct error_text error;
	uint32_t i;

	for (i = 0; i < beginning->memory_count; i++) {
		if (beginning->memory[i].has_handle && pool_device_use(beginning->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&beginning->memory[i]);
	}
	free(beginning->memory);
	agent_export_free(&beginning->offer);
}

static void keep_hashes(struct copy_ahead *ahead, const struct image_copy *copy)
{
	const struct copy_chunk *chunk;
	int device;
	size_t i;

	for (device = 0; device < POOL_DEVICES_MAX; device++) {
		for (i = 0; i < copy->counts[device]; i++) {
			chunk = &copy->chunks[device][i];
			ahead->hashes[copy->owners[device][i]][chunk->number] = chunk->hash;
		}
	}
	image_copy_keep(copy);
}

static int copy_all(struct beginning *beginning, struct error_text *error)
{
	struct copy_ahead *ahead = beginning->ahead;
	struct image_copy copy = {
		.run = beginning->run,
		.process = beginning->process,
		.phase = PHASE_COPY_AHEAD,
		.image = ahead->image,
		.data = &ahead->data,
		.memory = beginning->memory,
		.hash = true,
	};
	int result;

	result = image_copy_prepare(&copy, error);
	if (result == 0) {
		result = gpu_image_create_data(beginning->run->folder, ahead->image, &ahead->data, error);
		if (result == 0)
			result = image_copy_run(&copy, error);
		if (result == 0)
			keep_hashes(ahead, &copy);
		beginning->has_to_fail = image_copy_failed_for_good(result);
	}
	image_copy_free(&copy);
	if (result)
		return result;
	/* With the process running, so that little is left to do for the disk when it stands. */
	result = gpu_image_flush_data(ahead->image, &ahead->data, error);
	beginning->has_to_fail = image_copy_failed_for_good(result);
	return result;
}

static int begin(struct beginning *beginning, struct error_text *error)
{
	struct agent_client agent = run_agent(beginning->run, beginning->process);
	bool answered;
	uint32_t i;
	int result;

	result = agent_offer_all(&agent, beginning->run->pool, &beginning->offer, &answered, error);
	if (result)
		return result;
	if (beginning->offer.left_out)
		log_info(
			"Process %d: %llu MiB of its memory are copied when it stands: it may open too few descriptors "
			"(ulimit -n) for its agent to keep those of all that a restore has brought",
			beginning->process->pid, (unsigned long long)beginning->offer.left_out >> 20);
	if (beginning->offer.own.count == 0)
		return fail(error, -ENODATA, "it has no device memory that could be copied while it runs");
	result = make_ahead(beginning, error);
	for (i = 0; i < beginning->offer.own.count && result == 0; i++)
		result = take_one(beginning, i, error);
	if (result)
		return result;
	beginning->has_parent =
		run_parent_serves(beginning->run, beginning->process, beginning->ahead->image, beginning->memory);
	if (beginning->has_parent)
		return 0;
	qsort_r(beginning->ahead->by_id, beginning->offer.own.count, sizeof(uint32_t), compare_ids,
		beginning->ahead->image);
	return copy_all(beginning, error);
}

int run_copy_ahead(struct run *run, struct run_process *process, struct error_text *error)
{
	struct beginning beginning = {.run = run, .process = process};
	uint64_t began = monotonic_nanoseconds(), bytes;
	int result;

	run_progress(run, process, PHASE_COPY_AHEAD, 0, 0);
	run_drop_ahead(run, process);
	pool_spare_engine_begin(run->pool);
	result = begin(&beginning, error);
	bytes = beginning.offer.bytes;
	let_go(&beginning);
	if (result == 0 && run_is_unwanted(run)) {
		result = fail(error, -ECANCELED, "The dump was cancelled");
		beginning.has_to_fail = true;
	}
	process->ahead = beginning.ahead;
	if (beginning.has_parent && result == 0) {
		run_drop_ahead(run, process);
		log_info("Process %d: most of it is as in its last image, and nothing is copied while it runs",
			 process->pid);
		return 0;
	}
	if (result) {
		run_drop_ahead(run, process);
		if (beginning.has_to_fail || target_has_ended(&process->target))
			return result;
		log_info("Process %d: nothing is copied while it runs: %s", process->pid, error->text);
		return 0;
	}
	run_phase_add(process, PHASE_COPY_AHEAD, began, bytes);
	return 0;
}

/* ---- when it stands ---- */

const struct gpu_image *copy_ahead_image(const struct copy_ahead *ahead)
{
	return ahead->image;
}

/* The index of the allocation, -1 where there was none like it. */
static int64_t find(const struct copy_ahead *ahead, uint64_t id, uint64_t bytes)
{
	const struct gpu_image *image = ahead->image;
	uint32_t low = 0, high = image->allocation_count, middle;
	const struct gpu_image_allocation *allocation;

	while (low < high) {
		middle = low + (high - low) / 2;
		allocation = &image->allocations[ahead->by_id[middle]];
		if (allocation->id == id)
			return allocation->bytes == bytes ? (int64_t)ahead->by_id[middle] : -1;
		if (allocation->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* What was exported, by the place that it is to have. */
struct arrangement {
	const struct copy_ahead *ahead;
	const struct agent_allocation *allocations;
	uint32_t count;
	int64_t *slots; /* of each place that there was: index of the export, -1: nobody's */
	bool *placed;	/* of each export */
};

static void place_those_that_were_there(struct arrangement *arrangement)
{
	int64_t slot;
	uint32_t i;

	for (i = 0; i < arrangement->count; i++) {
		slot = find(arrangement->ahead, arrangement->allocations[i].allocation_id,
			    arrangement->allocations[i].bytes);
		if (slot < 0)
			continue;
		arrangement->slots[slot] = i;
		arrangement->placed[i] = true;
	}
}

/* Another of the same size takes the place of one that is gone, or all that come after it would move. */
static void fill_gaps(struct arrangement *arrangement)
{
	const struct gpu_image *image = arrangement->ahead->image;
	uint32_t slot, i, steps = 0;

	for (slot = 0; slot < image->allocation_count; slot++) {
		for (i = 0; arrangement->slots[slot] < 0 && i < arrangement->count && steps < SEARCH_STEPS_MAX; i++) {
			steps++;
			if (arrangement->placed[i] ||
			    arrangement->allocations[i].bytes != image->allocations[slot].bytes)
				continue;
			arrangement->slots[slot] = i;
			arrangement->placed[i] = true;
		}
	}
}

/* The offer of that number is the next one. */
static void put(struct agent_offers *ordered, const struct agent_offers *offers, int64_t number)
{
	ordered->allocations[ordered->count] = offers->allocations[number];
	ordered->descriptors[ordered->count] = offers->descriptors[number];
	ordered->nodes[ordered->count++] = offers->nodes[number];
}

void copy_ahead_arrange(const struct copy_ahead *ahead, struct agent_offers *offers)
{
	uint32_t places = ahead->image->allocation_count, count = offers->count, i;
	struct arrangement arrangement = {.ahead = ahead, .allocations = offers->allocations, .count = count};
	struct agent_offers ordered = {
		.allocations = calloc(count + 1, sizeof(*ordered.allocations)),
		.descriptors = calloc(count + 1, sizeof(*ordered.descriptors)),
		.nodes = calloc(count + 1, sizeof(*ordered.nodes)),
	};

	arrangement.slots = malloc((places + 1) * sizeof(*arrangement.slots));
	arrangement.placed = calloc(count + 1, sizeof(*arrangement.placed));
	/* In any other order it is as right. */
	if (!ordered.allocations || !ordered.descriptors || !ordered.nodes || !arrangement.slots || !arrangement.placed)
		goto out;
	for (i = 0; i < places; i++)
		arrangement.slots[i] = -1;
	place_those_that_were_there(&arrangement);
	fill_gaps(&arrangement);
	for (i = 0; i < places; i++)
		if (arrangement.slots[i] >= 0)
			put(&ordered, offers, arrangement.slots[i]);
	for (i = 0; i < count; i++)
		if (!arrangement.placed[i])
			put(&ordered, offers, i);
	memcpy(offers->allocations, ordered.allocations, count * sizeof(*ordered.allocations));
	memcpy(offers->descriptors, ordered.descriptors, count * sizeof(*ordered.descriptors));
	memcpy(offers->nodes, ordered.nodes, count * sizeof(*ordered.nodes));
out:
	free(ordered.allocations);
	free(ordered.descriptors);
	free(ordered.nodes);
	free(arrangement.slots);
	free(arrangement.placed);
}

int copy_ahead_take_data(struct copy_ahead *ahead, const struct gpu_image *image, struct gpu_image_data *data,
			 struct error_text *error)
{
	*data = ahead->data;
	ahead->data.count = 0;
	return gpu_image_resize_data(image, data, error);
}

/* The hash of what is at the chunk's place in its file, NULL where that is not known. index: of its allocation as it was. */
static const struct chunk_hash *hash_in_file(const struct copy_ahead *ahead, const struct gpu_image_allocation *owner,
					     const struct copy_chunk *chunk, int64_t *index)
{
	const struct gpu_image_place *place;

	*index = find(ahead, owner->id, owner->bytes);
	if (*index < 0 || ahead->image->allocations[*index].device != owner->device)
		return NULL;
	place = &ahead->image->allocations[*index].places[chunk->number];
	return place->file == chunk->file && place->offset == chunk->file_offset ? &ahead->hashes[*index][chunk->number]
										 : NULL;
}

static void swap(struct image_copy *copy, int device, size_t one, size_t other)
{
	struct copy_chunk chunk = copy->chunks[device][one];
	uint32_t owner = copy->owners[device][one];

	copy->chunks[device][one] = copy->chunks[device][other];
	copy->owners[device][one] = copy->owners[device][other];
	copy->chunks[device][other] = chunk;
	copy->owners[device][other] = owner;
}

/* Those that are at a place with a known hash go to the front. Returns how many there are. */
static size_t gather_known(const struct copy_ahead *ahead, struct image_copy *copy, int device)
{
	size_t known = 0, i;
	int64_t index;

	for (i = 0; i < copy->counts[device]; i++)
		if (hash_in_file(ahead, &copy->image->allocations[copy->owners[device][i]], &copy->chunks[device][i],
				 &index))
			swap(copy, device, i, known++);
	return known;
}

/* As it was copied. */
static void keep_chunk(const struct copy_ahead *ahead, int64_t index, struct copy_chunk *chunk)
{
	chunk->checksum = ahead->image->allocations[index].checksums[chunk->number];
	chunk->zero = ahead->image->allocations[index].zero_chunks[chunk->number] != 0;
}

/* Of the first `known` chunks those that are the same go to the end of all. */
static void drop_unchanged(const struct copy_ahead *ahead, struct image_copy *copy, int device,
			   const struct chunk_hash *now, size_t known)
{
	const struct chunk_hash *then;
	struct copy_chunk *chunk;
	int64_t index;
	size_t i;

	/* From behind, so that what comes into its place has been looked at, or is none of them. */
	for (i = known; i-- > 0;) {
		chunk = &copy->chunks[device][i];
		then = hash_in_file(ahead, &copy->image->allocations[copy->owners[device][i]], chunk, &index);
		if (!chunk_hash_equals(then, &now[i]))
			continue;
		keep_chunk(ahead, index, chunk);
		copy->bytes -= chunk->bytes;
		swap(copy, device, i, --copy->wanted[device]);
	}
}

static int sift_device(struct copy_ahead *ahead, struct image_copy *copy, int device, uint64_t *bytes,
		       struct error_text *error)
{
	size_t known = gather_known(ahead, copy, device), i;
	struct device_chunk *chunks = calloc(known + 1, sizeof(*chunks));
	struct chunk_hash *hashes = calloc(known + 1, sizeof(*hashes));
	int result = 0;

	if (!chunks || !hashes)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < known && result == 0; i++) {
		chunks[i] =
			(struct device_chunk){copy->chunks[device][i].device_address, copy->chunks[device][i].bytes};
		*bytes += chunks[i].bytes;
	}
	if (result == 0)
		result = pool_device_use(&ahead->pool->devices[device], error);
	if (result == 0)
		result = device_hash_chunks(ahead->kernels[device], chunks, known, hashes, error);
	if (result == 0)
		drop_unchanged(ahead, copy, device, hashes, known);
	free(chunks);
	free(hashes);
	return result;
}

uint64_t copy_ahead_sift(struct copy_ahead *ahead, struct image_copy *copy)
{
	struct error_text error;
	uint64_t bytes = 0;
	int device;

	for (device = 0; device < POOL_DEVICES_MAX; device++)
		if (copy->counts[device] && ahead->kernels[device] && sift_device(ahead, copy, device, &bytes, &error))
			log_warning("Process %d: all of its memory on GPU %d is copied again: %s", copy->process->pid,
				    device, error.text);
	return bytes;
}
