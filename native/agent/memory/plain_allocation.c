/* SPDX-License-Identifier: MIT */
#include "agent/memory/plain_allocation.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "agent/base/agent_settings.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/handle_use.h"
#include "agent/memory/kept_descriptors.h"

size_t pieces_of(size_t bytes)
{
	return bytes / PIECE_BYTES + (bytes % PIECE_BYTES != 0);
}

size_t piece_bytes(size_t bytes, size_t index)
{
	size_t left = bytes - index * PIECE_BYTES;

	return left < PIECE_BYTES ? left : PIECE_BYTES;
}

/* Properties of our memory on the device; false where it cannot be made there. */
static bool choose_properties(CUdevice device, CUmemAllocationProp *properties)
{
	const struct real_driver *driver = real_driver();
	int virtual_memory = 0, descriptors = 0, direct_rdma = 0;

	driver->cuDeviceGetAttribute(&virtual_memory, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device);
	driver->cuDeviceGetAttribute(&descriptors, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
				     device);
	driver->cuDeviceGetAttribute(&direct_rdma, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, device);
	*properties = (CUmemAllocationProp){
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
		.allocFlags = {.gpuDirectRDMACapable = direct_rdma != 0},
	};
	return virtual_memory && descriptors;
}

void pieces_undo(const struct pieces *pieces)
{
	const struct real_driver *driver = real_driver();
	size_t index;

	for (index = 0; index < pieces->mapped; index++)
		driver->cuMemUnmap(pieces->address + index * PIECE_BYTES, piece_bytes(pieces->bytes, index));
	for (index = 0; index < pieces->created; index++) {
		driver->cuMemRelease(pieces->handles[index]);
		kept_drop(pieces->kept[index]);
	}
	driver->cuMemAddressFree(pieces->address, pieces->bytes);
}

static bool make_pieces(struct pieces *pieces, const CUmemAllocationProp *properties)
{
	const struct real_driver *driver = real_driver();
	size_t count = pieces_of(pieces->bytes);
	size_t index;

	if (driver->cuMemAddressReserve(&pieces->address, pieces->bytes, 0, 0, 0) != CUDA_SUCCESS)
		return false;
	for (index = 0; index < count; index++) {
		size_t bytes = piece_bytes(pieces->bytes, index);

		if (driver->cuMemCreate(&pieces->handles[index], bytes, properties, 0) != CUDA_SUCCESS)
			goto undo;
		pieces->created++;
		if (driver->cuMemMap(pieces->address + index * PIECE_BYTES, bytes, 0, pieces->handles[index], 0) !=
		    CUDA_SUCCESS)
			goto undo;
		pieces->mapped++;
	}
	if (access_set(pieces->address, pieces->bytes, 0, (uint64_t)1 << properties->location.id) == CUDA_SUCCESS)
		return true;
undo:
	pieces_undo(pieces);
	return false;
}

/* Table locked. */
static bool record_piece(struct pieces *pieces, size_t index, const CUmemAllocationProp *properties,
			 const struct plain_allocation *allocation)
{
	struct physical_memory *memory = memory_add();
	struct mapping mapping = {
		.address = pieces->address + index * PIECE_BYTES,
		.bytes = piece_bytes(pieces->bytes, index),
		.mapped = true,
		.write_devices = (uint64_t)1 << allocation->device,
	};

	if (!memory)
		return false;
	memory->real = pieces->handles[index];
	memory->context = allocation->context;
	memory->references = 1;
	if (properties) {
		memory->bytes = mapping.bytes;
		memory->properties = *properties;
		memory->exportable = true;
	} else {
		memory_set_foreign(memory, pieces->kept[index]);
		pieces->kept[index] = 0;
	}
	mapping.memory = memory_index(memory);
	if (mapping_add(&mapping))
		return true;
	memory_remove(memory);
	return false;
}

bool plain_record(struct pieces *pieces, const CUmemAllocationProp *properties,
		  const struct plain_allocation *allocation)
{
	size_t done = 0;
	bool recorded;

	recorded = plain_add(allocation);
	if (recorded && properties)
		access_note_new(allocation->address);
	while (recorded && done < pieces->created) {
		recorded = record_piece(pieces, done, properties, allocation);
		if (recorded)
			done++;
	}
	if (!recorded && done < pieces->created) {
		while (done--) {
			size_t mapping = mapping_find(allocation->address);
			struct physical_memory *memory = &table.memories[table.mappings[mapping].memory];

			mapping_remove(mapping);
			memory_remove(memory);
		}
		if (plain_containing(allocation->address))
			plain_remove(plain_containing(allocation->address));
	}
	return recorded;
}

/*
 * Waits as cuMemFree does, for everything that was submitted to the context. A capture under way forbids waiting; what
 * is freed then cannot be in use by work outside the capture without the application knowing.
 */
static CUresult wait_for_context(CUcontext context)
{
	const struct real_driver *driver = real_driver();
	CUcontext current = NULL;
	CUresult result;

	driver->cuCtxGetCurrent(&current);
	if (current != context && driver->cuCtxSetCurrent(context) != CUDA_SUCCESS)
		return CUDA_SUCCESS; /* the context is gone, and so is its work */
	result = driver->cuCtxSynchronize();
	if (current != context)
		driver->cuCtxSetCurrent(current);
	return result == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED ? CUDA_SUCCESS : result;
}

/* Unmaps and releases one piece; a flight over the allocation is on record. One that is gone already is no error. */
static CUresult drop_piece(CUdeviceptr address)
{
	const struct real_driver *driver = real_driver();
	struct physical_memory *memory = NULL;
	struct mapping *mapping;
	struct mapping found = {0};
	CUresult result;
	bool unused;

	table_lock();
	mapping = mapping_containing(address);
	if (mapping)
		found = *mapping;
	table_unlock();
	if (!found.bytes)
		return CUDA_SUCCESS;
	result = driver->cuMemUnmap(found.address, found.bytes);
	if (result != CUDA_SUCCESS)
		return result;
	table_lock();
	memory = &table.memories[found.memory];
	memory->references = 0;
	mapping_remove(mapping_find(address));
	unused = memory_is_unused(memory);
	memory->leaving = unused;
	table_unlock();
	/* Else the sharing thread is exporting it, and gives it back. */
	return unused ? memory_give_back(memory) : CUDA_SUCCESS;
}

/* The allocation is marked as leaving, the flight on record; both end here. */
static CUresult drop_allocation(struct flight *flight)
{
	CUresult result = CUDA_SUCCESS;
	struct plain_allocation *allocation;
	size_t offset;

	for (offset = 0; result == CUDA_SUCCESS && offset < flight->bytes; offset += PIECE_BYTES)
		result = drop_piece(flight->address + offset);
	table_lock();
	allocation = plain_containing(flight->address);
	if (result == CUDA_SUCCESS)
		plain_remove(allocation);
	else
		allocation->leaving = false;
	flight_end(flight);
	table_unlock();
	/* Only now: another thread may be given the addresses at once, and puts them into the table. */
	return result == CUDA_SUCCESS ? real_driver()->cuMemAddressFree(flight->address, flight->bytes) : result;
}

/* Marks the allocation as leaving. Table locked. */
static void start_leaving(struct plain_allocation *allocation, struct flight *flight)
{
	allocation->leaving = true;
	flight->address = allocation->address;
	flight->bytes = allocation->reserved;
	flight_begin(flight);
}

static void stop_leaving(struct flight *flight)
{
	table_lock();
	plain_containing(flight->address)->leaving = false;
	flight_end(flight);
	table_unlock();
}

CUresult plain_free(CUdeviceptr address, bool opened, bool *ours)
{
	struct flight flight = {.memory = TABLE_NONE};
	struct plain_allocation *allocation;
	CUcontext context = NULL;
	CUresult result = CUDA_SUCCESS;

	table_lock();
	allocation = plain_containing(address);
	*ours = allocation != NULL;
	if (allocation) {
		context = allocation->context;
		if (allocation->address != address || allocation->leaving || opened != (allocation->opens != 0))
			result = CUDA_ERROR_INVALID_VALUE;
		else if (mapping_range_is_released(address, allocation->reserved))
			result = CUDA_ERROR_ILLEGAL_STATE; /* its contents are in a GPU image only */
		else if (allocation->opens > 1)
			allocation->opens--;
		else
			start_leaving(allocation, &flight);
	}
	table_unlock();
	if (!flight.bytes)
		return result;
	result = wait_for_context(context);
	if (result == CUDA_SUCCESS)
		return drop_allocation(&flight);
	stop_leaving(&flight);
	return result;
}

/* Marks the context's first allocation above the address as leaving. False: there is none. */
static bool start_leaving_after(CUdeviceptr address, CUcontext context, struct flight *flight)
{
	size_t index;

	table_lock();
	for (index = 0; index < table.plain_count && !flight->bytes; index++) {
		struct plain_allocation *allocation = &table.plain[index];

		if (allocation->address > address && allocation->context == context && !allocation->leaving)
			start_leaving(allocation, flight);
	}
	table_unlock();
	return flight->bytes != 0;
}

void plain_free_of_context(CUcontext context)
{
	CUdeviceptr last = 0;

	for (;;) {
		struct flight flight = {.memory = TABLE_NONE};

		if (!start_leaving_after(last, context, &flight))
			return;
		last = flight.address;
		/* What cannot be given back stays, and the others go. */
		drop_allocation(&flight);
	}
}

bool plain_allocate(CUdeviceptr *address, size_t bytes)
{
	const struct real_driver *driver = real_driver();
	struct plain_allocation allocation = {.bytes = bytes};
	struct pieces pieces = {0};
	CUmemAllocationProp properties;
	size_t granularity = 0;
	bool recorded, ours;

	if (!agent_is_enabled() || bytes < agent_minimum_bytes() || bytes > PIECES_MAX * PIECE_BYTES - PIECE_BYTES ||
	    !driver->has_virtual_memory)
		return false;
	if (driver->cuCtxGetCurrent(&allocation.context) != CUDA_SUCCESS || !allocation.context ||
	    driver->cuCtxGetDevice(&allocation.device) != CUDA_SUCCESS)
		return false;
	if (!access_is_possible(allocation.device) || !choose_properties(allocation.device, &properties) ||
	    driver->cuMemGetAllocationGranularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) !=
		    CUDA_SUCCESS ||
	    !granularity || !table_open())
		return false;
	access_add_device(allocation.device);
	pieces.bytes = (bytes + granularity - 1) / granularity * granularity;
	if (!make_pieces(&pieces, &properties))
		return false;
	allocation.address = pieces.address;
	allocation.reserved = pieces.bytes;
	table_lock();
	recorded = plain_record(&pieces, &properties, &allocation);
	table_unlock();
	if (!recorded) {
		pieces_undo(&pieces);
		return false;
	}
	if (access_complete() != CUDA_SUCCESS) {
		plain_free(allocation.address, false, &ours);
		return false;
	}
	*address = allocation.address;
	return true;
}
