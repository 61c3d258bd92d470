/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>

#include "agent/agent_settings.h"
#include "agent/interposed.h"
#include "agent/real_driver.h"
#include "agent/virtual_memory.h"

/* Handles that go out to others. What others hold cannot be replaced behind their back: it stays with the driver. */

static void retain_foreign(CUmemGenericAllocationHandle real)
{
	struct physical_memory *memory;

	table_lock();
	memory = memory_of_foreign_handle(real);
	if (memory)
		memory->references++;
	table_unlock();
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address)
{
	CUdeviceptr pointer = (CUdeviceptr)(uintptr_t)address;
	CUresult result =
		CUDA_ERROR_INVALID_VALUE; /* as the driver answers for memory of cuMemAlloc, opened memory too */
	struct physical_memory *memory;
	struct mapping *mapping;
	bool ours;

	if (!handle || !address)
		return real_driver()->cuMemRetainAllocationHandle(handle, address);
	table_lock();
	mapping = mapping_containing(pointer);
	memory = mapping ? &table.memories[mapping->memory] : NULL;
	ours = memory && (!memory->foreign || plain_containing(pointer));
	if (ours && !plain_containing(pointer)) {
		memory->references++;
		*handle = virtual_handle(memory);
		result = CUDA_SUCCESS;
	}
	table_unlock();
	if (ours)
		return result;
	result = real_driver()->cuMemRetainAllocationHandle(handle, address);
	if (result == CUDA_SUCCESS && memory)
		retain_foreign(*handle);
	return result;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties, CUmemGenericAllocationHandle handle)
{
	struct physical_memory *memory;
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	use.result = real_driver()->cuMemGetAllocationPropertiesFromHandle(properties, use.real);
	memory = handle_use_memory(&use);
	if (memory && use.result == CUDA_SUCCESS) {
		/* As the application asked for it, whatever the memory was made with since. */
		table_lock();
		*properties = memory->properties;
		table_unlock();
	}
	handle_use_end(&use);
	return use.result;
}

/* Marks memory as shared before others can see it; *was_shared for taking that back. */
static void mark_shared(const struct handle_use *use, bool *was_shared, bool *imported)
{
	struct physical_memory *memory = handle_use_memory(use);

	*was_shared = true;
	*imported = false;
	if (!memory)
		return;
	table_lock();
	*was_shared = memory->shared;
	*imported = memory->imported;
	memory->shared = true;
	table_unlock();
}

static void unmark_shared(const struct handle_use *use, bool was_shared)
{
	if (was_shared)
		return;
	table_lock();
	handle_use_memory(use)->shared = false;
	table_unlock();
}

void complain_of_restored_memory(void)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&complained))
		agent_complain("device memory that was there before this process was restored cannot be shared with "
			       "other processes; allocate what is to be shared after the restore");
}

CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle, int type,
				      unsigned long long flags)
{
	bool was_shared, imported;
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	mark_shared(&use, &was_shared, &imported);
	use.result = real_driver()->cuMemExportToShareableHandle(shareable, use.real, type, flags);
	if (use.result != CUDA_SUCCESS) {
		unmark_shared(&use, was_shared);
		if (imported)
			complain_of_restored_memory();
	}
	handle_use_end(&use);
	return use.result;
}

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle multicast, size_t multicast_offset,
			    CUmemGenericAllocationHandle handle, size_t offset, size_t bytes, unsigned long long flags)
{
	bool was_shared, imported;
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	mark_shared(&use, &was_shared, &imported);
	use.result = real_driver()->cuMulticastBindMem(multicast, multicast_offset, use.real, offset, bytes, flags);
	if (use.result != CUDA_SUCCESS)
		unmark_shared(&use, was_shared);
	handle_use_end(&use);
	return use.result;
}

/* Begins a call that shows the memory of a range to others. */
static void share_range_begin(struct flight *flight, CUdeviceptr address, size_t bytes)
{
	size_t index;

	*flight = (struct flight){.address = address, .bytes = bytes, .memory = TABLE_NONE};
	table_lock();
	for (index = mapping_find(address); index < table.mapping_count; index++) {
		if (table.mappings[index].address >= address + bytes)
			break;
		table.memories[table.mappings[index].memory].shared = true;
	}
	flight_begin(flight);
	table_unlock();
}

static void share_range_end(struct flight *flight)
{
	table_lock();
	flight_end(flight);
	table_unlock();
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle multicast, size_t multicast_offset, CUdeviceptr address,
			     size_t bytes, unsigned long long flags)
{
	struct flight flight;
	CUresult result;

	share_range_begin(&flight, address, bytes);
	result = real_driver()->cuMulticastBindAddr(multicast, multicast_offset, address, bytes, flags);
	share_range_end(&flight);
	return result;
}

CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr address, size_t bytes, int type,
				       unsigned long long flags)
{
	struct flight flight;
	CUresult result;

	share_range_begin(&flight, address, bytes);
	result = real_driver()->cuMemGetHandleForAddressRange(handle, address, bytes, type, flags);
	share_range_end(&flight);
	return result;
}
