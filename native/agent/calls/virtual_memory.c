/* SPDX-License-Identifier: MIT */
#include <stdbool.h>

#include "agent/base/agent_settings.h"
#include "agent/control/control_thread.h"
#include "agent/control/published_page.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/handle_use.h"
#include "agent/memory/kept_descriptors.h"

/*
 * The application's own virtual memory management. It gets virtual handles, so that the physical memory behind them can be
 * replaced, and the memory gets an exportable handle type. Memory lives while a handle or a mapping of it does, as in the
 * driver; the agent keeps the driver's handle until both are gone, because it exports through it.
 *
 * Between RELEASE and MAP nothing of the application runs, unless the one who stopped it died. Calls on memory that is
 * released then return CUDA_ERROR_ILLEGAL_STATE and change nothing; new memory can still be made.
 */

/* Of the one kind that there is on a driver 580: the other locations of the host are refused there. */
static bool is_of_host(const CUmemAllocationProp *properties)
{
	return properties->location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
}

/* Ordinary memory: what cuMemAlloc would give, or the host's. All else is the driver's own business. */
static bool is_ordinary(const CUmemAllocationProp *properties, unsigned long long flags)
{
	bool of_device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE && properties->location.id >= 0 &&
			 properties->location.id < DEVICES_TRACKED;

	return !flags && properties->type == CU_MEM_ALLOCATION_TYPE_PINNED && (of_device || is_of_host(properties)) &&
	       !properties->allocFlags.compressionType && !properties->allocFlags.usage;
}

/* Puts memory of the application into the table; *handle becomes virtual where there is room, else it stays real. */
static bool track(CUmemGenericAllocationHandle *handle, const struct physical_memory *description)
{
	struct physical_memory *memory;
	uint64_t id;

	table_lock();
	memory = memory_add();
	if (memory) {
		id = memory->allocation_id;
		*memory = *description;
		memory->allocation_id = id;
		memory->real = *handle;
		memory->references = 1;
		if (is_of_host(&description->properties))
			memory_set_host(memory);
		*handle = virtual_handle(memory);
	}
	table_unlock();
	return memory != NULL;
}

/* What is to be offloaded, with a descriptor where the driver gives one. */
static CUresult create_exportable(CUmemGenericAllocationHandle *handle, struct physical_memory *description,
				  const CUmemAllocationProp *properties)
{
	const struct real_driver *driver = real_driver();
	CUmemAllocationProp exportable = *properties;
	CUresult result;

	exportable.requestedHandleTypes |= CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	description->exportable = true;
	result = driver->cuMemCreate(handle, description->bytes, &exportable, 0);
	if (result != CUDA_SUCCESS && exportable.requestedHandleTypes != properties->requestedHandleTypes) {
		description->exportable = false;
		result = driver->cuMemCreate(handle, description->bytes, properties, 0);
	}
	if (result != CUDA_SUCCESS)
		return result;
	description->properties = *properties;
	driver->cuCtxGetCurrent(&description->context);
	return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
		     unsigned long long flags)
{
	struct physical_memory description = {.bytes = bytes};
	bool tracked, of_host;
	CUresult result;

	if (!handle || !properties || !agent_is_enabled())
		return real_driver()->cuMemCreate(handle, bytes, properties, flags);
	/* The driver brings its own device memory back, but nothing else. */
	of_host = properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE;
	tracked = is_ordinary(properties, flags) && (of_host || bytes >= agent_minimum_bytes()) && table_open();
	/* From before it is made on: the driver could not restore it. */
	if (of_host)
		atomic_fetch_add(&table.foreign_count, 1);
	result = tracked ? create_exportable(handle, &description, properties)
			 : real_driver()->cuMemCreate(handle, bytes, properties, flags);
	tracked = tracked && result == CUDA_SUCCESS && track(handle, &description);
	if (of_host && (tracked || result != CUDA_SUCCESS))
		atomic_fetch_sub(&table.foreign_count, 1);
	if (result == CUDA_SUCCESS && (tracked || of_host))
		control_thread_start();
	if (result == CUDA_SUCCESS && of_host)
		published_page_need_agent();
	return result;
}

/*
 * Memory that came by a descriptor, of an owner with an agent: it can be followed. 0 for all else, a multicast
 * object for one, which has no properties.
 */
static uint32_t keep_imported(CUmemGenericAllocationHandle real, void *shareable, int type)
{
	CUmemAllocationProp properties = {0};

	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
	    real_driver()->cuMemGetAllocationPropertiesFromHandle(&properties, real) != CUDA_SUCCESS ||
	    properties.type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    (properties.location.type != CU_MEM_LOCATION_TYPE_DEVICE && !is_of_host(&properties)))
		return 0;
	return kept_add((int)(intptr_t)shareable, true, 0);
}

/* *handle becomes virtual where there is room; else the count of what cannot be followed stays. */
static void track_imported(CUmemGenericAllocationHandle *handle, uint32_t kept)
{
	struct physical_memory *memory;

	table_lock();
	memory = memory_add();
	if (memory) {
		memory->real = *handle;
		memory->references = 1;
		memory_set_foreign(memory, kept);
		*handle = virtual_handle(memory);
		atomic_fetch_sub(&table.foreign_count, 1);
	}
	table_unlock();
	if (!memory)
		kept_drop(kept);
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable, int type)
{
	bool tracked = agent_is_enabled() && table_open();
	CUresult result;

	/* From before the import on: the driver could not restore such memory. */
	if (tracked)
		atomic_fetch_add(&table.foreign_count, 1);
	result = real_driver()->cuMemImportFromShareableHandle(handle, shareable, type);
	if (!tracked)
		return result;
	if (result != CUDA_SUCCESS) {
		atomic_fetch_sub(&table.foreign_count, 1);
		return result;
	}
	track_imported(handle, keep_imported(*handle, shareable, type));
	control_thread_start();
	published_page_need_agent();
	return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	struct physical_memory *memory;
	CUresult result = CUDA_SUCCESS;
	uint64_t id = 0;

	if (!handle_is_virtual(handle))
		return real_driver()->cuMemRelease(handle);
	table_lock();
	memory = memory_of_handle(handle);
	if (!memory || !memory->references) {
		result = CUDA_ERROR_INVALID_VALUE;
	} else if (memory->released) {
		result = CUDA_ERROR_ILLEGAL_STATE;
	} else {
		id = memory->allocation_id;
		memory->references--;
	}
	table_unlock();
	return result == CUDA_SUCCESS ? memory_give_back_if_unused(memory_index(memory), id) : result;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags)
{
	struct mapping mapping = {.address = address, .bytes = bytes, .offset = offset, .mapped = true};
	struct physical_memory *memory;
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	use.result = real_driver()->cuMemMap(address, bytes, offset, use.real, flags);
	if (use.result == CUDA_SUCCESS) {
		table_lock();
		memory = handle_use_memory(&use);
		if (memory) {
			mapping.memory = memory_index(memory);
			if (!mapping_add(&mapping))
				memory->shared = true; /* mapped where the agent could not find it again */
		}
		table_unlock();
	}
	handle_use_end(&use);
	return use.result;
}

/*
 * Begins a call on the mappings of a range: CUDA_SUCCESS with a flight on record; INVALID_VALUE where the driver would
 * refuse because cuMemAlloc gave it; ILLEGAL_STATE where memory is released.
 */
static CUresult range_begin(struct flight *flight, CUdeviceptr address, size_t bytes)
{
	CUresult result = CUDA_SUCCESS;

	*flight = (struct flight){.address = address, .bytes = bytes, .memory = TABLE_NONE};
	table_lock();
	if (plain_overlaps(address, bytes))
		result = CUDA_ERROR_INVALID_VALUE;
	else if (mapping_range_is_released(address, bytes))
		result = CUDA_ERROR_ILLEGAL_STATE;
	else
		flight_begin(flight);
	table_unlock();
	return result;
}

static void range_end(struct flight *flight)
{
	table_lock();
	flight_end(flight);
	table_unlock();
}

/* Takes one mapping of the range out of the table and gives its memory back where it was the last. False: none left. */
static bool forget_mapping(const struct flight *flight)
{
	uint32_t memory = 0;
	uint64_t id = 0;
	size_t index;

	table_lock();
	index = mapping_find(flight->address);
	if (index < table.mapping_count && table.mappings[index].address < flight->address + flight->bytes) {
		memory = table.mappings[index].memory;
		id = table.memories[memory].allocation_id;
		mapping_remove(index);
	}
	table_unlock();
	if (id)
		memory_give_back_if_unused(memory, id);
	return id != 0;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
	struct flight flight;
	CUresult result = range_begin(&flight, address, bytes);

	if (result != CUDA_SUCCESS)
		return result;
	result = real_driver()->cuMemUnmap(address, bytes);
	/* The driver unmaps whole mappings only, so those of the range are gone. */
	while (result == CUDA_SUCCESS && forget_mapping(&flight))
		;
	range_end(&flight);
	return result;
}

/* The processor's, by one location of the host or the other. False where the agent could not give it again. */
static bool apply_processor_access(struct mapping *mapping, const CUmemAccessDesc *access)
{
	const CUmemLocation *before = &mapping->processor.location;

	if (access->location.type != CU_MEM_LOCATION_TYPE_HOST &&
	    access->location.type != CU_MEM_LOCATION_TYPE_HOST_NUMA)
		return false;
	if (mapping->processor.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
	    (before->type != access->location.type || before->id != access->location.id))
		return false;
	mapping->processor = *access;
	return true;
}

static void apply_access(struct mapping *mapping, const CUmemAccessDesc *access)
{
	uint64_t bit;

	if (apply_processor_access(mapping, access))
		return;
	if (access->location.type != CU_MEM_LOCATION_TYPE_DEVICE || access->location.id < 0 ||
	    access->location.id >= DEVICES_TRACKED) {
		/* The agent could not give this access again. */
		table.memories[mapping->memory].shared = true;
		return;
	}
	bit = (uint64_t)1 << access->location.id;
	mapping->read_devices &= ~bit;
	mapping->write_devices &= ~bit;
	if (access->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		mapping->write_devices |= bit;
	else if (access->flags == CU_MEM_ACCESS_FLAGS_PROT_READ)
		mapping->read_devices |= bit;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
	struct flight flight;
	CUresult result = range_begin(&flight, address, bytes);
	size_t index, entry;

	if (result != CUDA_SUCCESS)
		return result;
	result = real_driver()->cuMemSetAccess(address, bytes, access, count);
	table_lock();
	for (index = mapping_find(address); result == CUDA_SUCCESS && index < table.mapping_count; index++) {
		struct mapping *mapping = &table.mappings[index];

		if (mapping->address >= address + bytes)
			break;
		/* Access to a part of a mapping only: the agent could not give it again. */
		if (mapping->address < address || mapping->address + mapping->bytes > address + bytes)
			table.memories[mapping->memory].shared = true;
		for (entry = 0; entry < count; entry++)
			apply_access(mapping, &access[entry]);
	}
	flight_end(&flight);
	table_unlock();
	return result;
}
