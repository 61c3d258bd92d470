/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/* Legacy interprocess handles: a plain allocation is opened by taking its memfd out of the other process. */

struct simulated_ipc_handle {
	uint64_t magic;
	int32_t process_id;
	int32_t descriptor;
	int32_t device;
	uint32_t reserved;
	uint64_t bytes;
	uint64_t inode;
};
static_assert(sizeof(struct simulated_ipc_handle) <= sizeof(CUipcMemHandle), "the handle fits");

#define IPC_MAGIC 0x4350494d4953ull

CUresult simulated_cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct simulated_ipc_handle opened = {.magic = IPC_MAGIC, .process_id = getpid()};
	struct mapping *mapping;

	if (!handle)
		return result;
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && mapping->kind == MAPPING_PLAIN) {
		opened.descriptor = mapping->memory->descriptor;
		opened.device = mapping->memory->device;
		opened.bytes = mapping->bytes;
		opened.inode = mapping->memory->inode;
		memset(handle, 0, sizeof(*handle));
		memcpy(handle, &opened, sizeof(opened));
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

static int take_descriptor(const struct simulated_ipc_handle *opened)
{
	int process, descriptor;

	process = (int)syscall(SYS_pidfd_open, opened->process_id, 0);
	if (process < 0)
		return -1;
	descriptor = (int)syscall(SYS_pidfd_getfd, process, opened->descriptor, 0);
	close(process);
	return descriptor;
}

CUresult simulated_cuIpcOpenMemHandle_v2(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
	struct memory *memory = NULL;
	struct mapping *mapping;
	struct simulated_ipc_handle opened;
	struct place place;
	size_t bytes;
	int descriptor;

	(void)flags;
	memcpy(&opened, &handle, sizeof(opened));
	if (!address || opened.magic != IPC_MAGIC)
		return CUDA_ERROR_INVALID_VALUE;
	/* Measured: a process cannot open its own. */
	if (opened.process_id == getpid())
		return CUDA_ERROR_INVALID_CONTEXT;
	descriptor = take_descriptor(&opened);
	if (descriptor < 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (inode_of_descriptor(descriptor) != opened.inode || !place_of_descriptor(descriptor, &place, &bytes)) {
		close(descriptor);
		return CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_lock(&table_mutex);
	if (memory_adopt(descriptor, place, bytes, &memory) != CUDA_SUCCESS) {
		close(descriptor);
		goto out;
	}
	memory->plain = true;
	mapping = mapping_add();
	if (mapping) {
		mapping->kind = MAPPING_LEGACY_IPC;
		mapping->memory = memory;
		mapping->bytes = opened.bytes;
		mapping->mapped_bytes = bytes;
		mapping->readers = mapping->writers = ALL_DEVICES;
		mapping->context = current_context();
		mapping->address = (CUdeviceptr)(uintptr_t)reserve_addresses(bytes, GRANULARITY, 0);
	}
	if (!mapping || !mapping->address || mapping_place(mapping)) {
		if (mapping)
			mapping->used = false;
		memory->references = 0;
		memory_drop_if_unused(memory);
		goto out;
	}
	memory->mappings = 1;
	*address = mapping->address;
	result = CUDA_SUCCESS;
out:
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuIpcOpenMemHandle(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	return simulated_cuIpcOpenMemHandle_v2(address, handle, flags);
}

CUresult simulated_cuIpcCloseMemHandle(CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;

	streams_synchronise_all();
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && mapping->kind == MAPPING_LEGACY_IPC && mapping->address == address) {
		mapping->memory->references = 0;
		mapping_remove(mapping, false);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}
