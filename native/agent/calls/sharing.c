/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>

#include "agent/base/agent_settings.h"
#include "agent/calls/sharing.h"
#include "agent/control/published_page.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/handle_use.h"
#include "agent/sharing/memory_export.h"

/*
 * Handles that go out to others. What others hold cannot be replaced behind their back: where they hold it by a descriptor,
 * all of them are given the same memory again (memory_export.h); else it stays with the driver.
 */

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
	ours = memory != NULL;
	if (ours && !plain_containing(pointer)) {
		memory->references++;
		*handle = virtual_handle(memory);
		result = CUDA_SUCCESS;
	}
	table_unlock();
	return ours ? result : real_driver()->cuMemRetainAllocationHandle(handle, address);
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
		if (!memory->foreign)
			*properties = memory->properties;
		table_unlock();
	}
	handle_use_end(&use);
	return use.result;
}

/*
 * Others have the memory from now on. Not before: a call that fails must not keep it from being offloaded for good. While
 * the call is under way its flight does that.
 */
static void mark_shared(const struct handle_use *use)
{
	struct physical_memory *memory = handle_use_memory(use);

	if (!memory)
		return;
	table_lock();
	memory->shared = true;
	table_unlock();
}

void complain_of_restored_memory(void)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&complained))
		agent_complain(
			"device memory that was there before this process was restored cannot be shared with "
			"other processes: the process may open too few descriptors for all of it, or has closed "
			"those that the agent had; raise its limit (ulimit -n), or allocate what is to be shared "
			"after the restore");
}

CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle, int type,
				      unsigned long long flags)
{
	struct handle_use use;
	bool restored;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	if (handle_use_memory(&use) && shareable && type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR && !flags) {
		use.result = memory_export(&use, shareable, &restored);
		if (restored)
			complain_of_restored_memory();
		if (use.result == CUDA_SUCCESS)
			published_page_need_agent();
	} else {
		use.result = real_driver()->cuMemExportToShareableHandle(shareable, use.real, type, flags);
		if (use.result == CUDA_SUCCESS)
			mark_shared(&use);
	}
	handle_use_end(&use);
	return use.result;
}

static CUresult bind_end(struct handle_use *use, CUresult result)
{
	if (result == CUDA_SUCCESS)
		mark_shared(use);
	handle_use_end(use);
	return result;
}

CUresult cuMulticastBindMem(CUmemGenericAllocationHandle multicast, size_t multicast_offset,
			    CUmemGenericAllocationHandle handle, size_t offset, size_t bytes, unsigned long long flags)
{
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	return bind_end(&use,
			real_driver()->cuMulticastBindMem(multicast, multicast_offset, use.real, offset, bytes, flags));
}

CUresult cuMulticastBindMem_v2(CUmemGenericAllocationHandle multicast, CUdevice device, size_t multicast_offset,
			       CUmemGenericAllocationHandle handle, size_t offset, size_t bytes,
			       unsigned long long flags)
{
	struct handle_use use;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	return bind_end(&use, real_driver()->cuMulticastBindMem_v2(multicast, device, multicast_offset, use.real,
								   offset, bytes, flags));
}

/* Begins a call that shows the memory of a range to others. */
static void share_range_begin(struct flight *flight, CUdeviceptr address, size_t bytes)
{
	*flight = (struct flight){.address = address, .bytes = bytes, .memory = TABLE_NONE};
	table_lock();
	flight_begin(flight);
	table_unlock();
}

static CUresult share_range_end(struct flight *flight, CUresult result)
{
	size_t index;

	table_lock();
	for (index = mapping_find(flight->address); result == CUDA_SUCCESS && index < table.mapping_count; index++) {
		if (table.mappings[index].address >= flight->address + flight->bytes)
			break;
		table.memories[table.mappings[index].memory].shared = true;
	}
	flight_end(flight);
	table_unlock();
	return result;
}

CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle multicast, size_t multicast_offset, CUdeviceptr address,
			     size_t bytes, unsigned long long flags)
{
	struct flight flight;

	share_range_begin(&flight, address, bytes);
	return share_range_end(&flight,
			       real_driver()->cuMulticastBindAddr(multicast, multicast_offset, address, bytes, flags));
}

CUresult cuMulticastBindAddr_v2(CUmemGenericAllocationHandle multicast, CUdevice device, size_t multicast_offset,
				CUdeviceptr address, size_t bytes, unsigned long long flags)
{
	struct flight flight;

	share_range_begin(&flight, address, bytes);
	return share_range_end(&flight, real_driver()->cuMulticastBindAddr_v2(multicast, device, multicast_offset,
									      address, bytes, flags));
}

CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr address, size_t bytes, int type,
				       unsigned long long flags)
{
	struct flight flight;

	share_range_begin(&flight, address, bytes);
	return share_range_end(&flight,
			       real_driver()->cuMemGetHandleForAddressRange(handle, address, bytes, type, flags));
}
