/* SPDX-License-Identifier: MIT */
#include "agent/control/offload.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/interpose/real_driver.h"
#include "agent/memory/in_place.h"
#include "agent/memory/kept_descriptors.h"
#include "agent/memory/restored_descriptors.h"
#include "agent/sharing/sharing_thread.h"
#include "support/clock.h"

static bool is_whole(const struct physical_memory *memory)
{
	struct mapping_walk walk = mapping_walk(memory);
	const struct mapping *mapping;

	while ((mapping = mapping_next(&walk)))
		if (!mapping->mapped)
			return false;
	return !memory->released;
}

/* Of memory that has just come: what others have, or have made, stays known by the descriptor by which all got it. */
static int keep_shared(struct physical_memory *memory, int descriptor, struct error_text *error)
{
	do
		memory->kept = kept_add(descriptor, memory->foreign, memory->allocation_id);
	while (!memory->kept && !descriptors_are_left(1) && restored_drop_smallest());
	if (memory->kept)
		return 0;
	return fail(error, -EMFILE,
		    "the process may open no more descriptors to keep that of allocation %llu, which it shares: raise "
		    "its limit (ulimit -n)",
		    (unsigned long long)memory->allocation_id);
}

static int give_up(struct physical_memory *memory, struct error_text *error)
{
	CUresult result = unmap_everywhere(memory);

	if (result != CUDA_SUCCESS)
		return fail(error, -EIO, "cuMemUnmap failed with CUDA error %d", result);
	result = real_driver()->cuMemRelease(memory->real);
	if (result != CUDA_SUCCESS)
		return fail(error, -EIO, "cuMemRelease failed with CUDA error %d", result);
	memory->released = true;
	memory_set_imported(memory, false);
	/* What comes in its place has another, which CRIU must not meet either. */
	kept_drop(memory->kept);
	memory->kept = 0;
	restored_drop(memory->restored, memory->allocation_id);
	return 0;
}

static int release(struct agent_page *page, const struct agent_message *request, struct agent_message *reply)
{
	size_t index;
	int result;

	if (page->state != AGENT_STATE_MAPPED)
		return fail(&reply->error, -EINVAL, "the process's device memory is released already");
	for (index = 0; index < table.memories_end; index++) {
		const struct physical_memory *memory = &table.memories[index];

		if (memory->allocation_id && memory->sent && (memory->leaving || memory_has_flight((uint32_t)index)))
			return fail(&reply->error, -EBUSY,
				    "the process used its device memory between export and release; was it stopped?");
	}
	memcpy(page->image_id, request->image_id, sizeof(page->image_id));
	page->state = AGENT_STATE_RELEASED;
	if (offload_is_withdrawn(page)) {
		page->state = AGENT_STATE_MAPPED;
		return fail(&reply->error, -ECANCELED, "nobody waits for the release any more");
	}
	for (index = 0; index < table.memories_end; index++) {
		struct physical_memory *memory = &table.memories[index];

		if (!memory->allocation_id || !memory->sent)
			continue;
		result = give_up(memory, &reply->error);
		if (result)
			return result;
		reply->bytes += memory->bytes;
		reply->count++;
	}
	offload_forget_descriptors();
	return 0;
}

static struct physical_memory *memory_of_id(uint64_t id)
{
	static size_t next; /* requests name allocations in the order in which they were exported */
	size_t tried;

	for (tried = 0; id && tried < table.memories_end; tried++, next++) {
		if (next >= table.memories_end)
			next = 0;
		if (table.memories[next].allocation_id == id)
			return &table.memories[next];
	}
	return NULL;
}

static int map_one(struct agent_page *page, const struct agent_allocation *allocation, int descriptor,
		   struct error_text *error)
{
	struct physical_memory *memory = memory_of_id(allocation->allocation_id);
	unsigned long long id = allocation->allocation_id;
	bool shared = memory && (memory->foreign || memory->exported);
	CUresult result;

	if (!memory)
		return fail(error, -ENOENT, "the process has no allocation %llu; this is not its GPU image", id);
	if (!memory->foreign && memory->bytes != allocation->bytes)
		return fail(error, -EINVAL, "allocation %llu has %zu bytes in the process and %llu in the GPU image",
			    id, memory->bytes, (unsigned long long)allocation->bytes);
	/*
	 * A pool that has died in the middle of its MAP may have brought it, after which the others got other memory. What the
	 * last MAP names is what all of them have.
	 */
	if (shared && memory->imported && !memory->released) {
		uint32_t state = page->state;
		int code;

		page->state = AGENT_STATE_RELEASED;
		if (state == AGENT_STATE_MAPPED && offload_is_withdrawn(page)) {
			page->state = state;
			return fail(error, -ECANCELED, "nobody waits for the memory any more");
		}
		code = give_up(memory, error);
		if (code)
			return code;
	}
	if (memory->released) {
		do
			result = real_driver()->cuMemImportFromShareableHandle(
				&memory->real, (void *)(intptr_t)descriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
		while (result != CUDA_SUCCESS && !descriptors_are_left(1) && restored_drop_smallest());
		/* A driver that opens something for it finds all numbers taken by the others of the batch. */
		if (result != CUDA_SUCCESS && !descriptors_are_left(1))
			return fail(error, -EMFILE,
				    "the process may open no more descriptors to import allocation %llu: raise its "
				    "limit (ulimit -n)",
				    id);
		if (result != CUDA_SUCCESS)
			return fail(error, -EIO, "importing allocation %llu failed with CUDA error %d", id, result);
		memory->released = false;
		memory_set_imported(memory, true);
		if (!shared)
			memory->restored = restored_keep(descriptor, memory->allocation_id, memory->bytes);
	}
	/* The descriptor of what is in its place still may be another's: a GPU image's, of fresh memory. */
	if (shared && memory->imported && !memory->kept) {
		int code = keep_shared(memory, descriptor, error);

		if (code)
			return code;
	}
	result = map_without_access(memory, memory->real);
	if (result != CUDA_SUCCESS)
		return fail(error, -EIO, "mapping allocation %llu at 0x%llx failed with CUDA error %d", id,
			    (unsigned long long)allocation->address, result);
	return 0;
}

/* To all that MAP has mapped, in one go at its end: beside copies to the device the driver takes twenty times as long. */
static int give_all_access(struct error_text *error)
{
	CUresult result;
	size_t index;

	for (index = 0; index < table.mapping_count; index++) {
		const struct mapping *mapping = &table.mappings[index];

		result = give_access(&table.mappings[index]);
		if (result != CUDA_SUCCESS)
			return fail(error, -EIO, "giving access to allocation %llu at 0x%llx failed with CUDA error %d",
				    (unsigned long long)table.memories[mapping->memory].allocation_id,
				    (unsigned long long)mapping->address, result);
	}
	return 0;
}

static int map(struct agent_page *page, const struct agent_message *request, const int *fds, size_t fd_count,
	       struct agent_message *reply)
{
	uint32_t missing = 0;
	size_t index;
	int result;

	if (request->count > AGENT_ALLOCATIONS_MAX || request->count != fd_count)
		return fail(&reply->error, -EINVAL, "a MAP request has %u allocations and %zu descriptors",
			    request->count, fd_count);
	for (index = 0; index < request->count; index++) {
		result = map_one(page, &request->allocations[index], fds[index], &reply->error);
		if (result)
			return result;
		reply->count++;
	}
	if (!request->last)
		return 0;
	result = give_all_access(&reply->error);
	if (result)
		return result;
	for (index = 0; index < table.memories_end; index++) {
		struct physical_memory *memory = &table.memories[index];

		if (!memory->allocation_id)
			continue;
		/* One that an export could not put back. */
		if (!memory->released && !is_whole(memory))
			map_everywhere(memory, memory->real);
		missing += !is_whole(memory);
	}
	if (missing)
		return fail(&reply->error, -ENODATA,
			    "%u allocations of the process are not in the GPU image; the process cannot go on",
			    missing);
	page->state = AGENT_STATE_MAPPED;
	page->out_of_place = 0;
	page->withdrawn = 0;
	sharing_resume();
	return 0;
}

static int answer_claimed(struct agent_page *page, int socket, const struct agent_message *request, const int *fds,
			  size_t fd_count, struct agent_message *reply)
{
	switch (request->type) {
	case AGENT_EXPORT:
		if (page->state != AGENT_STATE_MAPPED)
			return fail(&reply->error, -EOPNOTSUPP,
				    "the process's device memory is released and only in a GPU image; map it first");
		return offload_export(page, socket, request, &reply->count, &reply->error);
	case AGENT_OFFER:
		if (page->state != AGENT_STATE_MAPPED)
			return fail(&reply->error, -EBUSY, "the process's device memory is released");
		return offload_offer(socket, reply);
	case AGENT_RELEASE:
		return release(page, request, reply);
	case AGENT_MAP:
		return map(page, request, fds, fd_count, reply);
	default:
		return fail(&reply->error, -EPROTO,
			    "the agent knows no request %u; use plugin and agent of one version", request->type);
	}
}

void offload_make_room(void)
{
	struct error_text error;
	int times;

	if (table_claim(&error))
		return;
	for (times = 0; times < AGENT_ALLOCATIONS_MAX && restored_drop_smallest(); times++)
		;
	table_unclaim();
}

void offload_answer(struct agent_page *page, int socket, const struct agent_message *request, const int *fds,
		    size_t fd_count, struct agent_message *reply)
{
	uint64_t start = monotonic_nanoseconds();

	memset(reply, 0, sizeof(*reply));
	reply->type = AGENT_REPLY;
	reply->request_id = request->request_id;
	/* Whatever comes of the rest: the driver's own checkpoint makes an image too. */
	if (request->type == AGENT_EXPORT && sharing_pause())
		reply->result =
			fail(&reply->error, -EBUSY,
			     "a thread of the process was stopped while it changed the agent's socket; try again");
	if (!reply->result)
		reply->result = table_claim(&reply->error);
	if (!reply->result) {
		reply->result = answer_claimed(page, socket, request, fds, fd_count, reply);
		if (request->type == AGENT_EXPORT)
			reply->last = kept_any();
		table_unclaim();
	} else if (request->type != AGENT_OFFER &&
		   (table_needs_agent() || atomic_load(&table.foreign_count) || kept_any())) {
		/* Memory that the driver could not restore: native mode is no way out. */
		reply->result = -EOPNOTSUPP;
	}
	page->needs_agent = table_needs_agent() || kept_any();
	reply->nanoseconds = monotonic_nanoseconds() - start;
}
