/* SPDX-License-Identifier: MIT */
#include "agent/sharing/legacy_ipc.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/calls/sharing.h"
#include "agent/control/control_thread.h"
#include "agent/control/published_page.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/plain_allocation.h"
#include "agent/memory/restored_descriptors.h"
#include "agent/sharing/memory_export.h"
#include "agent/sharing/sharing_thread.h"

#define LAZY_ENABLE_PEER_ACCESS 1u /* CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS */

bool ipc_is_shareable(const struct plain_allocation *allocation)
{
	CUdeviceptr end = allocation->address + allocation->reserved;
	size_t index;

	if (allocation->leaving || allocation->opens)
		return false;
	for (index = mapping_find(allocation->address); index < table.mapping_count; index++) {
		const struct physical_memory *memory = &table.memories[table.mappings[index].memory];

		if (table.mappings[index].address >= end)
			break;
		if (memory->imported && !memory->kept && !restored_is_noted(memory->restored, memory->allocation_id))
			return false;
	}
	return true;
}

static bool is_backed(CUdeviceptr address)
{
	bool backed;

	table_lock();
	backed = plain_containing(address) != NULL;
	table_unlock();
	return backed;
}

/* Marks the allocation as shared and describes it. Table locked. */
static CUresult share(const struct plain_allocation *allocation, struct ipc_handle *handle)
{
	CUdeviceptr end = allocation->address + allocation->reserved;
	size_t first = mapping_find(allocation->address);
	size_t index;

	if (mapping_range_is_released(allocation->address, allocation->reserved))
		return CUDA_ERROR_ILLEGAL_STATE;
	if (!ipc_is_shareable(allocation))
		return CUDA_ERROR_INVALID_VALUE;
	for (index = first; index < table.mapping_count && table.mappings[index].address < end; index++)
		table.memories[table.mappings[index].memory].exported = true;
	handle->magic = LEGACY_IPC_MAGIC;
	handle->address = allocation->address;
	handle->origin.allocation_id = table.memories[table.mappings[first].memory].allocation_id;
	return CUDA_SUCCESS;
}

/*
 * A piece that nobody has fetched before a dump is imported memory after the restore, which the driver exports no more: its
 * descriptor is made now, and kept. Where that fails, whoever opens the handle is told so.
 */
static CUresult keep_piece(CUmemGenericAllocationHandle handle)
{
	struct handle_use use;
	int descriptor;
	bool restored;

	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result;
	use.result = memory_export(&use, &descriptor, &restored);
	if (restored)
		complain_of_restored_memory();
	if (use.result == CUDA_SUCCESS)
		close(descriptor);
	handle_use_end(&use);
	return use.result;
}

static CUresult keep_pieces(CUdeviceptr address, size_t bytes)
{
	CUresult result = CUDA_SUCCESS;
	size_t offset;

	for (offset = 0; result == CUDA_SUCCESS && offset < bytes; offset += PIECE_BYTES) {
		CUmemGenericAllocationHandle handle = 0;
		const struct mapping *mapping;
		bool kept = false;

		table_lock();
		mapping = mapping_containing(address + offset);
		if (mapping) {
			handle = virtual_handle(&table.memories[mapping->memory]);
			kept = table.memories[mapping->memory].kept;
		}
		table_unlock();
		if (!handle)
			return CUDA_ERROR_INVALID_VALUE;
		if (!kept)
			result = keep_piece(handle);
	}
	return result;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address)
{
	const struct plain_allocation *allocation;
	struct ipc_handle described = {0};
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	size_t bytes = 0;
	bool restored = false;

	if (!handle || !is_backed(address))
		return real_driver()->cuIpcGetMemHandle(handle, address);
	if (sharing_thread_start(described.origin.exporter))
		return CUDA_ERROR_OPERATING_SYSTEM;
	table_lock();
	allocation = plain_containing(address);
	if (allocation) {
		bytes = allocation->reserved;
		result = share(allocation, &described);
		restored = result == CUDA_ERROR_INVALID_VALUE && !allocation->leaving && !allocation->opens;
	}
	table_unlock();
	if (restored)
		complain_of_restored_memory();
	if (result == CUDA_SUCCESS)
		result = keep_pieces(described.address, bytes);
	if (result != CUDA_SUCCESS)
		return result;
	published_page_need_agent();
	memcpy(handle, &described, sizeof(*handle));
	return result;
}

/* As the driver documents it: what the context has opened already is counted and given out again. */
static bool open_again(const struct ipc_handle *handle, CUcontext context, CUdeviceptr *address)
{
	struct plain_allocation *allocation = plain_opened(&handle->origin, context);

	if (!allocation)
		return false;
	allocation->opens++;
	*address = allocation->address;
	return true;
}

static CUresult open_first(const struct ipc_handle *handle, struct plain_allocation *allocation, CUdeviceptr *address)
{
	struct pieces pieces;
	CUresult result = ipc_import(handle, allocation->device, &pieces, &allocation->bytes);
	bool recorded, opened;

	if (result != CUDA_SUCCESS)
		return result;
	allocation->address = pieces.address;
	allocation->reserved = pieces.bytes;
	allocation->opens = 1;
	allocation->origin = handle->origin;
	table_lock();
	/* Another thread may have opened it meanwhile. */
	opened = open_again(handle, allocation->context, address);
	recorded = !opened && plain_record(&pieces, NULL, allocation);
	table_unlock();
	if (recorded)
		*address = allocation->address;
	else
		pieces_undo(&pieces);
	return opened || recorded ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult open_handle(const struct ipc_handle *handle, CUdeviceptr *address)
{
	const struct real_driver *driver = real_driver();
	struct plain_allocation allocation = {0};
	CUresult result;
	bool opened;

	if (driver->cuCtxGetCurrent(&allocation.context) != CUDA_SUCCESS || !allocation.context ||
	    driver->cuCtxGetDevice(&allocation.device) != CUDA_SUCCESS)
		return CUDA_ERROR_INVALID_CONTEXT;
	/* Measured: what the driver says to a process that opens its own. */
	if (sharing_thread_is_own(handle->origin.exporter))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!driver->has_virtual_memory || allocation.device >= DEVICES_TRACKED)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!table_open())
		return CUDA_ERROR_OUT_OF_MEMORY;
	table_lock();
	opened = open_again(handle, allocation.context, address);
	table_unlock();
	if (opened)
		return CUDA_SUCCESS;
	/* From before the first import on: the driver could not restore such memory. */
	atomic_fetch_add(&table.foreign_count, 1);
	result = open_first(handle, &allocation, address);
	atomic_fetch_sub(&table.foreign_count, 1);
	if (result == CUDA_SUCCESS) {
		control_thread_start();
		published_page_need_agent();
	}
	return result;
}

/* The handle where it is the agent's. */
static bool is_of_agent(const CUipcMemHandle *given, struct ipc_handle *handle)
{
	memcpy(handle, given, sizeof(*handle));
	return handle->magic == LEGACY_IPC_MAGIC && agent_is_enabled();
}

/*
 * Memory of another process that the driver itself has given out: allocations below the agent's minimum, for one. Neither
 * can be saved, nor be unmapped and mapped again at its address. Each opening is closed once.
 */
static CUresult open_of_driver(CUdeviceptr *address, const CUipcMemHandle *handle, unsigned int flags)
{
	CUresult result;

	if (!agent_is_enabled() || !table_open())
		return real_driver()->cuIpcOpenMemHandle_v2(address, *handle, flags);
	atomic_fetch_add(&table.foreign_count, 1);
	result = real_driver()->cuIpcOpenMemHandle_v2(address, *handle, flags);
	if (result == CUDA_SUCCESS)
		control_thread_start();
	else
		atomic_fetch_sub(&table.foreign_count, 1);
	return result;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	struct ipc_handle ours;

	if (!is_of_agent(&handle, &ours) && !agent_is_enabled())
		return real_driver()->cuIpcOpenMemHandle(address, handle, flags);
	return cuIpcOpenMemHandle_v2(address, handle, flags);
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	struct ipc_handle ours;

	if (!is_of_agent(&handle, &ours))
		return open_of_driver(address, &handle, flags);
	if (!address || flags & ~LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	return open_handle(&ours, address);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address)
{
	bool ours = false;
	CUresult result = plain_free(address, true, &ours);

	if (ours)
		return result;
	result = real_driver()->cuIpcCloseMemHandle(address);
	if (result == CUDA_SUCCESS && agent_is_enabled() && table_open())
		atomic_fetch_sub(&table.foreign_count, 1);
	return result;
}
