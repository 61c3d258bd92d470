/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/control/offload.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/kept_descriptors.h"
#include "agent/memory/restored_descriptors.h"
#include "protocol/message_socket.h"
#include "protocol/socket_mark.h"

static_assert(AGENT_ALLOCATIONS_MAX <= MESSAGE_DESCRIPTORS_MAX, "a batch of allocations fits one message");

/* What the smallest MAP takes: one that comes with it, and what a driver may open to import that. */
#define DESCRIPTORS_FOR_MAP 3

#define SEND_ATTEMPTS 1000 /* of a millisecond each */

/* A program that runs needs its descriptors for itself. */
#define OFFER_BATCH 8

struct batch {
	struct agent_message message;
	int fds[AGENT_ALLOCATIONS_MAX];
	bool as_own; /* memory that a restore has brought becomes the process's own, which the driver can save */
};

bool descriptors_are_left(unsigned int wanted)
{
	int opened[DESCRIPTORS_LEFT_MAX];
	unsigned int count = 0;
	bool are_left;

	while (count < wanted && (opened[count] = memfd_create("rekindle-probe", MFD_CLOEXEC)) >= 0)
		count++;
	are_left = count == wanted;
	while (count)
		close(opened[--count]);
	return are_left;
}

void offload_forget_descriptors(void)
{
	size_t index;

	for (index = 0; index < table.memories_end; index++)
		table.memories[index].kept = 0;
	kept_drop_all();
	restored_drop_all();
}

static void close_batch(struct batch *batch)
{
	uint32_t index;

	for (index = 0; index < batch->message.count; index++)
		close(batch->fds[index]);
	batch->message.count = 0;
}

static int send_batch(int socket, struct batch *batch, struct error_text *error)
{
	int attempt, result;

	if (!batch->message.count)
		return 0;
	for (attempt = 0; attempt < SEND_ATTEMPTS; attempt++) {
		struct timespec millisecond = {.tv_nsec = 1000000};

		/* Device memory must not go into a file of the program's own. */
		result = !socket_is_marked(socket, SOCKET_MARK_AGENT)
				 ? -ESTALE
				 : message_send(socket, &batch->message, sizeof(batch->message), batch->fds,
						batch->message.count);
		if (result != -ETOOMANYREFS)
			break;
		/* More descriptors under way than the user may have open; the reader takes them off. */
		nanosleep(&millisecond, NULL);
	}
	close_batch(batch);
	if (result)
		return fail(error, result, "sending the descriptors of device memory failed with error %d", -result);
	return 0;
}

/* Asked anew each time: after a restore the device may be another one. */
static int device_uuid(CUdevice device, CUuuid *uuid, struct error_text *error)
{
	CUresult result = real_driver()->cuDeviceGetUuid_v2(uuid, device);

	if (result == CUDA_SUCCESS)
		return 0;
	return fail(error, -EIO, "cuDeviceGetUuid failed with CUDA error %d", result);
}

static int export_descriptor(int socket, const struct physical_memory *memory, struct batch *batch, int *descriptor,
			     struct error_text *error)
{
	const struct real_driver *driver = real_driver();
	CUresult result = driver->cuMemExportToShareableHandle(descriptor, memory->real,
							       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);

	if (result != CUDA_SUCCESS && batch->message.count) {
		/* Those in the batch may be all that the process may open. */
		int code = send_batch(socket, batch, error);

		if (code)
			return code;
		result = driver->cuMemExportToShareableHandle(descriptor, memory->real,
							      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	}
	if (result == CUDA_SUCCESS)
		return 0;
	return fail(error, -EIO, "cuMemExportToShareableHandle failed with CUDA error %d", result);
}

/* The descriptor by which others have the memory. The memory stays what it is: they hold it. */
static int kept_descriptor(int socket, const struct physical_memory *memory, struct batch *batch, int *descriptor,
			   struct error_text *error)
{
	*descriptor = kept_duplicate(memory->kept, true);
	if (*descriptor < 0 && errno == EMFILE && batch->message.count) {
		int code = send_batch(socket, batch, error);

		if (code)
			return code;
		*descriptor = kept_duplicate(memory->kept, true);
	}
	if (*descriptor >= 0)
		return 0;
	return fail(error, -EOPNOTSUPP,
		    "the descriptor by which %zu MiB of device memory are shared with another process cannot be "
		    "duplicated: the program has closed it, which it did not open, or may open no more (ulimit -n)",
		    memory->bytes >> 20);
}

/* The descriptor by which a restore has brought the memory. *descriptor is -1 where there is none (any more). */
static int restored_descriptor(int socket, const struct physical_memory *memory, struct batch *batch, int *descriptor,
			       struct error_text *error)
{
	*descriptor = restored_duplicate(memory->restored, memory->allocation_id);
	if (*descriptor < 0 && errno == EMFILE && batch->message.count) {
		int code = send_batch(socket, batch, error);

		if (code)
			return code;
		*descriptor = restored_duplicate(memory->restored, memory->allocation_id);
	}
	return 0;
}

/* The memory of another process, or that others have, or only this one. */
static int find_descriptor(struct agent_page *page, int socket, struct physical_memory *memory, struct batch *batch,
			   int *descriptor, struct error_text *error)
{
	int code = 0;

	/* Those who have it are not found any more, and where they are to be dumped as well that is said of them. */
	if (memory->kept && !memory->imported && !kept_is_there(memory->kept)) {
		kept_drop(memory->kept);
		memory->kept = 0;
	}
	if (memory->kept)
		return kept_descriptor(socket, memory, batch, descriptor, error);
	/* Of the host's the driver could not save its own either. */
	if (memory->imported && (!batch->as_own || memory->host))
		code = restored_descriptor(socket, memory, batch, descriptor, error);
	if (code || *descriptor >= 0)
		return code;
	if (memory->imported)
		code = replace_imported_memory(page, memory, error);
	if (!code && memory->restored) {
		restored_drop(memory->restored, memory->allocation_id);
		memory->restored = 0;
	}
	return code ? code : export_descriptor(socket, memory, batch, descriptor, error);
}

/* Into the batch, of which there is room; the descriptor is the batch's, or closed. */
static int add_to_batch(const struct physical_memory *memory, int descriptor, struct batch *batch,
			struct error_text *error)
{
	struct mapping_walk walk = mapping_walk(memory);
	struct agent_allocation *allocation;
	const struct mapping *first;
	CUuuid device = {.bytes = {0}};
	int code = 0;

	if (!memory->foreign)
		code = device_uuid(memory_device(memory), &device, error);
	if (code) {
		close(descriptor);
		return code;
	}
	allocation = &batch->message.allocations[batch->message.count];
	allocation->device = device;
	allocation->allocation_id = memory->allocation_id;
	allocation->bytes = memory->bytes;
	first = mapping_next(&walk);
	allocation->address = first ? first->address : 0;
	batch->fds[batch->message.count++] = descriptor;
	return 0;
}

static int export_one(struct agent_page *page, int socket, struct physical_memory *memory, struct batch *batch,
		      struct error_text *error)
{
	int descriptor = -1;
	int code = find_descriptor(page, socket, memory, batch, &descriptor, error);

	if (!code)
		code = add_to_batch(memory, descriptor, batch, error);
	memory->sent = !code;
	return code;
}

/* Why the memory cannot be offloaded now, NULL where it can. */
static const char *obstacle(const struct physical_memory *memory)
{
	if (memory->leaving || memory_has_flight(memory_index(memory)))
		return "a thread was stopped in the middle of a call that changes it; try again";
	if (memory->shared)
		return "other processes can see it; end the sharing before the dump";
	if (!memory->foreign && (!memory->exportable || (!memory->host && memory->bytes < agent_minimum_bytes())))
		return "it cannot be exported";
	return NULL;
}

/* Of the process's own memory that an export has, unless it fails. */
static uint64_t bytes_to_export(void)
{
	uint64_t bytes = 0;
	size_t index;

	for (index = 0; index < table.memories_end; index++) {
		const struct physical_memory *memory = &table.memories[index];

		if (memory->allocation_id && !memory->foreign && !obstacle(memory))
			bytes += memory->bytes;
	}
	return bytes;
}

/* The kind of message that it comes with. */
static uint32_t kind_of(const struct physical_memory *memory)
{
	if (memory->foreign)
		return AGENT_IMPORTS;
	return memory->host ? AGENT_HOST_ALLOCATIONS : AGENT_ALLOCATIONS;
}

/* What it comes to where there is an obstacle: 0 where the driver can save it. */
static int refuse(const struct physical_memory *memory, const char *why, struct error_text *error)
{
	if (memory->foreign)
		return fail(error, -EOPNOTSUPP,
			    "device memory of another process at 0x%llx cannot be taken out of this one: %s",
			    (unsigned long long)memory->lowest, why);
	if (memory->host)
		return fail(error, -EOPNOTSUPP,
			    "%zu MiB of the host's memory (cuMemCreate on NUMA node %d) cannot be saved: %s",
			    memory->bytes >> 20, memory->properties.location.id, why);
	if (memory->imported)
		return fail(error, -EOPNOTSUPP, "%zu MiB of device memory of this restored process cannot be saved: %s",
			    memory->bytes >> 20, why);
	return 0;
}

/* All of one kind. */
static int export_all(struct agent_page *page, int socket, uint32_t kind, struct batch *batch, uint32_t *count,
		      struct error_text *error)
{
	int result = 0;
	size_t index;

	batch->message.type = kind;
	for (index = 0; !result && index < table.memories_end; index++) {
		struct physical_memory *memory = &table.memories[index];
		const char *why;

		if (!memory->allocation_id || kind_of(memory) != kind)
			continue;
		why = obstacle(memory);
		if (why) {
			result = refuse(memory, why, error);
			continue;
		}
		/* A message is of one node. */
		if (memory->host && batch->message.last != (uint32_t)memory->properties.location.id) {
			result = send_batch(socket, batch, error);
			batch->message.last = (uint32_t)memory->properties.location.id;
		}
		if (!result)
			result = export_one(page, socket, memory, batch, error);
		if (result)
			break;
		++*count;
		if (batch->message.count == AGENT_ALLOCATIONS_MAX)
			result = send_batch(socket, batch, error);
	}
	if (!result)
		result = send_batch(socket, batch, error);
	close_batch(batch);
	return result;
}

int offload_export(struct agent_page *page, int socket, const struct agent_message *request, uint32_t *count,
		   struct error_text *error)
{
	static struct batch batch;
	int result = 0;
	size_t index;

	if (atomic_load(&table.foreign_count))
		return fail(
			error, -EOPNOTSUPP,
			"the process has imported device memory of another process that cannot be followed there (one "
			"without the agent, a multicast object, or handed over by no descriptor), or has made memory of the "
			"host in another way than by cuMemCreate on a NUMA node; neither can be restored: end the sharing, "
			"or free it, before the dump");
	result = replace_memory_tidy(error);
	if (result)
		return result;
	while (!descriptors_are_left(DESCRIPTORS_FOR_MAP)) {
		if (restored_drop_smallest())
			continue;
		return fail(error, table_needs_agent() ? -EOPNOTSUPP : -EMFILE,
			    "the process may open fewer than %d more descriptors, which it needs to get its device "
			    "memory back: raise its limit (ulimit -n)",
			    DESCRIPTORS_FOR_MAP);
	}
	memset(&batch, 0, sizeof(batch));
	batch.message.request_id = request->request_id;
	batch.as_own = request->last != 0;
	for (index = 0; index < table.memories_end; index++)
		table.memories[index].sent = false;
	batch.message.bytes = bytes_to_export();
	result = export_all(page, socket, AGENT_ALLOCATIONS, &batch, count, error);
	if (!result)
		result = export_all(page, socket, AGENT_HOST_ALLOCATIONS, &batch, count, error);
	batch.message.bytes = 0;
	batch.message.last = 0;
	if (!result)
		result = export_all(page, socket, AGENT_IMPORTS, &batch, count, error);
	replace_memory_end();
	/* What was imported the driver could not restore once more, and of what others have it would make another one. */
	if (result && (table_needs_agent() || kept_any()))
		result = -EOPNOTSUPP;
	else if (result)
		offload_forget_descriptors();
	return result;
}

/* What the process has it by. *descriptor is -1 where an export would have to replace it first. */
static int offer_one(int socket, const struct physical_memory *memory, struct batch *batch, int *descriptor,
		     struct error_text *error)
{
	*descriptor = -1;
	if (memory->kept)
		return kept_is_there(memory->kept) ? kept_descriptor(socket, memory, batch, descriptor, error) : 0;
	if (memory->imported)
		return restored_descriptor(socket, memory, batch, descriptor, error);
	return export_descriptor(socket, memory, batch, descriptor, error);
}

int offload_offer(int socket, struct agent_message *reply)
{
	struct error_text *error = &reply->error;
	static struct batch batch;
	int result = 0, descriptor;
	size_t index;

	memset(&batch, 0, sizeof(batch));
	batch.message.type = AGENT_ALLOCATIONS;
	batch.message.request_id = reply->request_id;
	for (index = 0; !result && index < table.memories_end; index++) {
		const struct physical_memory *memory = &table.memories[index];

		if (!memory->allocation_id || memory->foreign || memory->host || memory->released || obstacle(memory))
			continue;
		result = offer_one(socket, memory, &batch, &descriptor, error);
		if (!result && descriptor < 0) {
			reply->bytes += memory->bytes;
			continue;
		}
		if (!result)
			result = add_to_batch(memory, descriptor, &batch, error);
		reply->count += !result;
		if (!result && batch.message.count == OFFER_BATCH)
			result = send_batch(socket, &batch, error);
	}
	if (!result)
		result = send_batch(socket, &batch, error);
	close_batch(&batch);
	return result;
}
