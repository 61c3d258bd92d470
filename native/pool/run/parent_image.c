/* SPDX-License-Identifier: MIT */
#include "pool/run/parent_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/agent/agent_look.h"
#include "store/checkpoint_manifest.h"
#include "store/folder_lock.h"
#include "support/clock.h"
#include "support/log.h"

struct parent_image {
	struct gpu_image *image;
	struct gpu_image_data data;
	int lock;	 /* on its folder, where that is not the run's own; -1: none */
	uint32_t *by_id; /* indices of allocations */
};

static_assert(sizeof(struct chunk_hash) == GPU_IMAGE_HASH_BYTES, "an image has room for a hash");

static void parent_free(struct parent_image *parent)
{
	gpu_image_close_data(&parent->data);
	gpu_image_free(parent->image);
	folder_unlock(parent->lock);
	free(parent->by_id);
	free(parent);
}

void run_drop_parent(struct run_process *process)
{
	if (process->parent)
		parent_free(process->parent);
	process->parent = NULL;
}

/* ---- finding it ---- */

/* What its agent's page says. */
static bool find_id(const struct run_process *process, uint8_t id[16])
{
	static const uint8_t none[16];
	struct agent agent;
	bool found;

	if (agent_look(&agent, &process->target, NULL))
		return false;
	found = agent.has_page && memcmp(agent.page.image_id, none, sizeof(none)) != 0;
	memcpy(id, agent.page.image_id, sizeof(none));
	agent_close(&agent);
	return found;
}

static int find_name(int folder, const uint8_t id[16], struct gpu_image_name *name, struct error_text *error)
{
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int result = gpu_image_list(folder, &names, &count, error);

	for (i = 0; i < count && (!names[i].has_id || memcmp(names[i].id, id, sizeof(names[i].id))); i++)
		;
	if (i < count)
		*name = names[i];
	else if (result == 0)
		result = -ENOENT;
	free(names);
	return result;
}

/* Does a complete checkpoint lie there, of which the image is part with all of its files? */
static int check_is_complete(int folder, const struct gpu_image *image, struct error_text *error)
{
	struct checkpoint_manifest *manifest;
	int result = checkpoint_manifest_read(folder, &manifest, error);
	uint32_t i;

	if (result)
		return result;
	for (i = 0; i < image->file_count && result == 0; i++)
		if (!checkpoint_manifest_lists(manifest, image->files[i].name))
			result = fail(error, -ENODATA, "%s is not part of the checkpoint in its folder",
				      image->files[i].name);
	checkpoint_manifest_free(manifest);
	return result;
}

/* Others could write to what is theirs. */
static int check_owner(const struct gpu_image *image, const struct gpu_image_data *data, struct error_text *error)
{
	struct stat status;
	uint32_t i;

	for (i = 0; i < data->count; i++)
		if (fstat(data->files[i], &status) || status.st_uid != geteuid() || (status.st_mode & 022))
			return fail(error, -EPERM, "%s belongs to another user, or others may write to it",
				    image->files[i].name);
	return 0;
}

static int check_is_of(const struct run *run, const struct run_process *process, const struct gpu_image *image,
		       struct error_text *error)
{
	int result = gpu_image_must_be_stored(image, error);
	uint32_t i;

	if (result)
		return result;
	if (image->own_pid != target_own_pid(&process->target))
		return fail(error, -ESRCH, "the image is another process's");
	if (image->chunk_bytes != run->pool->settings.chunk_bytes)
		return fail(error, -EINVAL, "its chunks are of another size (REKINDLE_CHUNK_SIZE)");
	for (i = 0; i < image->allocation_count; i++)
		if (image->allocations[i].hashes)
			return 0;
	return fail(error, -ENODATA, "the image has no hashes");
}

static int compare_ids(const void *left, const void *right, void *image)
{
	const struct gpu_image_allocation *allocations = ((const struct gpu_image *)image)->allocations;
	uint64_t a = allocations[*(const uint32_t *)left].id, b = allocations[*(const uint32_t *)right].id;

	return (a > b) - (a < b);
}

static int sort_allocations(struct parent_image *parent, struct error_text *error)
{
	uint32_t i;

	parent->by_id = calloc(parent->image->allocation_count + 1, sizeof(*parent->by_id));
	if (!parent->by_id)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < parent->image->allocation_count; i++)
		parent->by_id[i] = i;
	qsort_r(parent->by_id, parent->image->allocation_count, sizeof(*parent->by_id), compare_ids, parent->image);
	return 0;
}

static int open_parent(const struct run *run, const struct run_process *process, int folder, const uint8_t id[16],
		       struct parent_image *parent, struct error_text *error)
{
	struct gpu_image_name name;
	int result = find_name(folder, id, &name, error);

	if (result == 0)
		result = gpu_image_read(folder, &name, &parent->image, error);
	if (result == 0)
		result = check_is_of(run, process, parent->image, error);
	if (result == 0)
		result = gpu_image_open_data(folder, parent->image, &parent->data, error);
	if (result == 0)
		result = check_owner(parent->image, &parent->data, error);
	if (result == 0)
		result = check_is_complete(folder, parent->image, error);
	return result ? result : sort_allocations(parent, error);
}

/* -ENOENT: it is not there. shared: the folder is not the run's. */
static int try_folder(const struct run *run, struct run_process *process, int folder, bool shared, const uint8_t id[16],
		      struct error_text *error)
{
	struct parent_image *parent = calloc(1, sizeof(*parent));
	int result = 0;

	if (!parent)
		return fail(error, -ENOMEM, "Out of memory");
	parent->lock = -1;
	if (shared) {
		result = folder_lock(folder, true, error);
		parent->lock = result < 0 ? -1 : result;
		result = result < 0 ? result : 0;
	}
	if (result == 0)
		result = open_parent(run, process, folder, id, parent, error);
	if (result == 0)
		process->parent = parent;
	else
		parent_free(parent);
	return result;
}

static bool is_same_folder(int one, int other)
{
	struct stat a, b;

	return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

void run_find_parent(struct run *run, struct run_process *process)
{
	struct error_text error = {""};
	int result = -ENOENT;
	uint8_t id[16];

	if (process->parent || !run->may_link || run->lock < 0 || !find_id(process, id))
		return;
	result = try_folder(run, process, run->lock, false, id, &error);
	if (result == -ENOENT && run->parent >= 0 && !is_same_folder(run->parent, run->lock))
		result = try_folder(run, process, run->parent, true, id, &error);
	if (result == 0)
		log_info("Process %d: what has not changed since its last image is linked, not written again",
			 process->pid);
	else if (result != -ENOENT)
		log_info("Process %d: its last image is no parent, and all is written: %s", process->pid, error.text);
	else if (run->parent >= 0)
		log_info("Process %d: the folder of REKINDLE_PARENT has no image of it that it comes from, and all is "
			 "written",
			 process->pid);
}

/* ---- hashes ---- */

static int keep_hashes(struct gpu_image *image, const struct memory_hashes *hashes)
{
	const struct chunk_hash *from = hashes->chunks;
	struct gpu_image_allocation *to;
	uint32_t i;

	for (i = 0; i < image->allocation_count; i++) {
		to = &image->allocations[i];
		if (gpu_image_make_hashes(to))
			return -ENOMEM;
		memcpy(to->hashes, from, (size_t)to->chunk_count * GPU_IMAGE_HASH_BYTES);
		from += to->chunk_count;
	}
	return 0;
}

void run_note_hashes(struct run *run, struct run_process *process, struct gpu_image *image)
{
	uint64_t began = monotonic_nanoseconds();
	struct error_text error;
	int result;

	memory_hashes_free(&process->hashes);
	result = memory_hashes_make(image, process->memory, NULL, &process->hashes, &error);
	if (result == 0 && keep_hashes(image, &process->hashes))
		result = fail(&error, -ENOMEM, "Out of memory");
	if (result && run->tier != POOL_TIER_FILES)
		log_warning("Process %d: its device memory cannot be parked: %s", process->pid, error.text);
	else if (result)
		log_info("Process %d: its next dump will be a whole one: %s", process->pid, error.text);
	else
		log_debug("Process %d: %zu hashes of its memory, in %.3f s", process->pid, process->hashes.count,
			  (double)(monotonic_nanoseconds() - began) / 1e9);
}

/* ---- what has not changed ---- */

/* The parent's allocation that is the same one, NULL where it has none with hashes. */
static const struct gpu_image_allocation *find(const struct parent_image *parent,
					       const struct gpu_image_allocation *wanted)
{
	uint32_t low = 0, high = parent->image->allocation_count, middle;
	const struct gpu_image_allocation *allocation;

	while (low < high) {
		middle = low + (high - low) / 2;
		allocation = &parent->image->allocations[parent->by_id[middle]];
		if (allocation->id == wanted->id)
			return allocation->bytes == wanted->bytes && allocation->hashes ? allocation : NULL;
		if (allocation->id < wanted->id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool is_same(const struct gpu_image_allocation *from, uint32_t chunk, const struct chunk_hash *now)
{
	struct chunk_hash then;

	memcpy(&then, from->hashes + (size_t)chunk * GPU_IMAGE_HASH_BYTES, sizeof(then));
	return chunk_hash_equals(&then, now);
}

static uint64_t compare(const struct parent_image *parent, const struct gpu_image *image,
			const struct memory_hashes *hashes)
{
	const struct gpu_image_allocation *from;
	uint64_t bytes = 0;
	uint32_t i, chunk;
	size_t at = 0;

	for (i = 0; i < image->allocation_count; i++) {
		from = find(parent, &image->allocations[i]);
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++, at++)
			if (from && is_same(from, chunk, &hashes->chunks[at]))
				bytes += gpu_image_chunk_bytes(image, i, chunk);
	}
	return bytes;
}

bool run_parent_serves(struct run *run, struct run_process *process, const struct gpu_image *image,
		       const struct held_memory *memory)
{
	struct memory_hashes hashes;
	struct error_text error;
	bool serves;

	run_find_parent(run, process);
	if (!process->parent)
		return false;
	if (memory_hashes_make(image, memory, NULL, &hashes, &error)) {
		log_info("Process %d: its memory cannot be compared with its last image: %s", process->pid, error.text);
		run_drop_parent(process);
		return false;
	}
	serves = compare(process->parent, image, &hashes) >= gpu_image_bytes(image) / 2;
	memory_hashes_free(&hashes);
	if (!serves)
		run_drop_parent(process);
	return serves;
}

int parent_image_inherit(const struct parent_image *parent, struct run *run, struct gpu_image *image,
			 const struct memory_hashes *hashes, struct error_text *error)
{
	const struct gpu_image_allocation *from;
	struct error_text why;
	uint32_t i, chunk;
	size_t at = 0;

	for (i = 0; i < image->allocation_count; i++) {
		from = find(parent, &image->allocations[i]);
		for (chunk = 0; chunk < image->allocations[i].chunk_count; chunk++, at++)
			if (from && is_same(from, chunk, &hashes->chunks[at]) &&
			    gpu_image_inherit(image, i, chunk, from))
				return fail(error, -ENOMEM, "Out of memory");
	}
	if (gpu_image_link(run->folder, image, parent->image, &parent->data, run->pool->settings.streams, &why))
		log_warning("Process %d: all of its memory is written: %s", image->pid, why.text);
	return 0;
}
