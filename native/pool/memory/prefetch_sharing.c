/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pool/memory/foreign_descriptors.h"
#include "pool/memory/prefetch.h"
#include "process/agent_page.h"
#include "process/process_tree.h"
#include "protocol/share_mark.h"
#include "support/log.h"

/*
 * A process that has imported memory gets what its owner gets. In a restore all of them are of one prefetch. A dump that
 * did not end is undone one process after the other, and each looks first whether another one has the memory: its owner, or
 * who else has imported it. Only where nobody has, it is made from the owner's image.
 */

static bool is_of(const struct gpu_image_import *import, const uint8_t image_id[16], uint64_t allocation_id)
{
	return import->owner_id == allocation_id && !memcmp(import->image_id, image_id, sizeof(import->image_id));
}

static const struct gpu_image_import *find_import(const struct gpu_image *image, const uint8_t image_id[16],
						  uint64_t allocation_id)
{
	uint32_t i;

	for (i = 0; i < image->import_count; i++)
		if (is_of(&image->imports[i], image_id, allocation_id))
			return &image->imports[i];
	return NULL;
}

bool prefetch_is_imported(const struct prefetch *prefetch, const struct gpu_image *image, uint32_t allocation)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		if (find_import(prefetch->images[i].image, image->id, image->allocations[allocation].id))
			return true;
	return false;
}

bool prefetch_is_wanted(const struct prefetch *prefetch, const struct prefetch_image *image, uint32_t allocation)
{
	size_t i;

	if (!image->guest)
		return true;
	for (i = 0; i < prefetch->count; i++)
		if (!prefetch->images[i].guest &&
		    find_import(prefetch->images[i].image, image->image->id, image->image->allocations[allocation].id))
			return true;
	return false;
}

/* ---- the images of others ---- */

static bool is_owner_of_import(const struct prefetch *prefetch, const struct gpu_image *image)
{
	uint32_t import;
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		for (import = 0; import < prefetch->images[i].image->import_count; import++)
			if (!memcmp(prefetch->images[i].image->imports[import].image_id, image->id, sizeof(image->id)))
				return true;
	return false;
}

static int add_guest(struct prefetch *prefetch, int folder, struct gpu_image *image, struct error_text *error)
{
	struct prefetch_image *guest = &prefetch->images[prefetch->count];

	*guest = (struct prefetch_image){.image = image, .guest = true, .lock = -1, .process = {.pidfd = -1}};
	prefetch->count++;
	prefetch->shares = true;
	return gpu_image_open_data(folder, image, &guest->data, error);
}

int prefetch_load_guests(struct prefetch *prefetch, int folder, const struct gpu_image_name *names, size_t count,
			 struct error_text *error)
{
	struct gpu_image *image;
	size_t i, round;
	int result = 0;

	/* First those that have imported something, and then whose they have imported. images has room for all names. */
	for (round = 0; round < 2; round++)
		for (i = 0; i < count && result == 0; i++) {
			/* One that cannot be read is missed where it is needed. */
			if (!names[i].has_id || prefetch_find(prefetch, names[i].id) ||
			    gpu_image_read(folder, &names[i], &image, NULL))
				continue;
			if (round == 0 ? image->import_count != 0 : is_owner_of_import(prefetch, image))
				result = add_guest(prefetch, folder, image, error);
			else
				gpu_image_free(image);
		}
	for (i = 0; prefetch->shares && i < prefetch->count && result == 0; i++) {
		struct gpu_image_name name = {.pid = prefetch->images[i].image->pid, .has_id = true};

		memcpy(name.id, prefetch->images[i].image->id, sizeof(name.id));
		prefetch->images[i].lock = gpu_image_open_manifest(folder, &name);
		/* One that has just been brought back needs no image, and nobody waits for it. */
		if (prefetch->images[i].lock < 0 && !prefetch->images[i].guest)
			result = fail(error, prefetch->images[i].lock, "The GPU image of process %d is gone", name.pid);
	}
	return result;
}

/* Each locks its own and all the others' that are there: so of two, each locks what the other one does. */
bool prefetch_lock_shared(struct prefetch *prefetch)
{
	size_t i, at;

	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].lock >= 0 && flock(prefetch->images[i].lock, LOCK_EX | LOCK_NB))
			break;
	if (i == prefetch->count)
		return true;
	for (at = 0; at < i; at++)
		if (prefetch->images[at].lock >= 0)
			flock(prefetch->images[at].lock, LOCK_UN);
	return false;
}

/* ---- who has it ---- */

/* Where the agent of a process has kept the descriptor; -1: nowhere. */
static int find_kept(pid_t pid, uint64_t allocation_id, bool imported)
{
	struct agent_kept *kept = malloc(AGENT_KEPT_MAX * sizeof(*kept));
	struct iovec here = {.iov_base = kept, .iov_len = AGENT_KEPT_MAX * sizeof(*kept)}, there = here;
	struct process_maps maps;
	struct agent agent;
	int number = -1;
	uint32_t i;

	if (kept && !process_maps_read(pid, &maps, NULL) && maps.agent_page_count) {
		agent_open(&agent, pid, &maps);
		there.iov_base = (void *)(uintptr_t)agent.page.kept_address;
		if (agent.has_page && agent.page.kept_address &&
		    process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)here.iov_len)
			for (i = 0; i < AGENT_KEPT_MAX && number < 0; i++)
				if (kept[i].descriptor > 0 && kept[i].allocation_id == allocation_id &&
				    (kept[i].imported != 0) == imported)
					number = kept[i].descriptor;
		agent_close(&agent);
	}
	free(kept);
	return number;
}

/* A duplicate of it, or -1. */
static int take_from(const struct gpu_image_holder *holder, uint64_t allocation_id, bool imported)
{
	struct process_facts facts;
	int process, number, descriptor = -1;

	if (holder->pid <= 0)
		return -1;
	process = (int)syscall(SYS_pidfd_open, holder->pid, 0);
	if (process < 0)
		return -1;
	/* The same process still: nobody gets its number while this descriptor is open, but may have before. */
	if (!process_facts_read(holder->pid, &facts) && facts.start_time == holder->start_time && !facts.ending) {
		number = find_kept(holder->pid, allocation_id, imported);
		if (number >= 0)
			descriptor = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	}
	close(process);
	if (descriptor >= 0 && share_mark_of(descriptor) && foreign_descriptor_may_be_memory(descriptor))
		return descriptor;
	if (descriptor >= 0)
		foreign_descriptors_close(&descriptor, 1);
	return -1;
}

/* From its owner, or from whoever else has imported it, but not from the process that is being brought back. */
static int take_from_anybody(const struct prefetch *prefetch, const uint8_t image_id[16], uint64_t allocation_id,
			     const struct gpu_image *but)
{
	const struct gpu_image_import *import;
	int descriptor = -1;
	size_t i;

	for (i = 0; i < prefetch->count && descriptor < 0; i++) {
		const struct gpu_image *image = prefetch->images[i].image;

		import = find_import(image, image_id, allocation_id);
		if (!import)
			continue;
		if (memcmp(but->id, image_id, sizeof(but->id)))
			descriptor = take_from(&import->owner, allocation_id, false);
		if (descriptor < 0 && image != but)
			descriptor = take_from(&image->holder, import->id, true);
	}
	return descriptor;
}

/* The image that is brought back. */
static const struct gpu_image *host_of(const struct prefetch *prefetch)
{
	return prefetch->images[0].image;
}

int prefetch_adopt_memory(struct prefetch *prefetch, const struct prefetch_image *image, uint32_t allocation,
			  struct held_memory *memory, struct error_text *error)
{
	int result;

	if (!prefetch_is_imported(prefetch, image->image, allocation))
		return 0;
	memory->descriptor = take_from_anybody(prefetch, image->image->id, memory->allocation_id, host_of(prefetch));
	if (memory->descriptor < 0)
		return 0;
	result = held_memory_import(memory, error);
	log_info("Allocation %llu of process %d is another process's as well, which has it in its place",
		 (unsigned long long)memory->allocation_id, image->image->pid);
	return result ? result : 1;
}

/* ---- what is imported ---- */

static struct held_memory *find_memory(struct prefetch_image *owner, uint64_t allocation_id)
{
	uint32_t i;

	for (i = 0; i < owner->image->allocation_count; i++)
		if (owner->image->allocations[i].id == allocation_id)
			return &owner->memory[i];
	return NULL;
}

/* Where its owner's image is not complete, the owner has never given the memory out of its hands. */
static int take_of_live_owner(struct prefetch *prefetch, const struct gpu_image_import *import,
			      struct held_memory *memory)
{
	memory->descriptor = prefetch->brings_back ? take_from_anybody(prefetch, import->image_id, import->owner_id,
								       host_of(prefetch))
						   : -1;
	memory->device = &prefetch->pool->devices[0]; /* the process knows its own */
	return memory->descriptor >= 0 ? 0 : -ENOENT;
}

static int resolve(struct prefetch *prefetch, struct prefetch_image *image, uint32_t i, struct error_text *error)
{
	const struct gpu_image_import *import = &image->image->imports[i];
	struct held_memory *memory = &image->memory[image->image->allocation_count + i], *owned = NULL;
	struct prefetch_image *owner = prefetch_find(prefetch, import->image_id);

	if (memory->descriptor >= 0)
		return 0;
	memory->allocation_id = import->id;
	memory->address = import->address;
	if (owner)
		owned = find_memory(owner, import->owner_id);
	if (!owned && take_of_live_owner(prefetch, import, memory) == 0)
		return 0;
	if (!owned || owned->descriptor < 0)
		return fail(error, -ENODATA,
			    "Process %d has imported allocation %llu of another process, which is in no GPU image of "
			    "the folder",
			    image->image->pid, (unsigned long long)import->owner_id);
	memory->bytes = owned->bytes;
	memory->device = owned->device;
	memory->descriptor = held_memory_export(owned, error);
	return memory->descriptor < 0 ? memory->descriptor : 0;
}

int prefetch_wait_imports(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			  struct error_text *error)
{
	struct prefetch_image *owner;
	int result = 0;
	uint32_t i;

	for (i = 0; i < image->image->import_count && result == 0; i++) {
		owner = prefetch_find(prefetch, image->image->imports[i].image_id);
		result = owner ? prefetch_wait_state(prefetch, owner, PREFETCH_FILLED, timeout_ms, error) : 0;
	}
	for (i = 0; i < image->image->import_count && result == 0; i++)
		result = resolve(prefetch, image, i, error);
	return result;
}
