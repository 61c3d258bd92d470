/* SPDX-License-Identifier: MIT */
#include <sys/mman.h>

#include "simcuda/simcuda.h"

/* cuMemAlloc and its relatives: each allocation is memory of its own, mapped at once. */

CUresult plain_allocate(size_t bytes, CUdeviceptr *address)
{
	CUcontext context = current_context();
	struct memory *memory = NULL;
	struct mapping *mapping;
	CUresult result;

	result = memory_create((struct place){.number = context->device}, bytes, &memory);
	if (result != CUDA_SUCCESS)
		return result;
	memory->plain = true;
	mapping = mapping_add();
	if (!mapping) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto drop_memory;
	}
	mapping->kind = MAPPING_PLAIN;
	mapping->memory = memory;
	mapping->bytes = bytes;
	mapping->mapped_bytes = memory->bytes;
	mapping->readers = mapping->writers = ALL_DEVICES;
	mapping->context = context;
	mapping->address =
		(CUdeviceptr)(uintptr_t)reserve_addresses(memory->bytes, bytes >= GRANULARITY ? GRANULARITY : 4096, 0);
	if (!mapping->address) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto drop_mapping;
	}
	if (mapping_place(mapping)) {
		munmap((void *)(uintptr_t)mapping->address, mapping->mapped_bytes);
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto drop_mapping;
	}
	memory->mappings = 1;
	*address = mapping->address;
	return CUDA_SUCCESS;
drop_mapping:
	mapping->used = false;
drop_memory:
	memory->references = 0;
	memory_drop_if_unused(memory);
	return result;
}

CUresult simulated_cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
	CUresult result;

	if (!address || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&table_mutex);
	result = plain_allocate(bytes, address);
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
				      unsigned int element)
{
	size_t row = (width + 511) / 512 * 512;
	CUresult result;

	if (!pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	result = simulated_cuMemAlloc_v2(address, row * height);
	if (result == CUDA_SUCCESS)
		*pitch = row;
	return result;
}

CUresult simulated_cuMemFree_v2(CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;

	if (!address)
		return CUDA_SUCCESS;
	streams_synchronise_all();
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && mapping->kind == MAPPING_PLAIN && mapping->address == address) {
		mapping->memory->references = 0;
		mapping_remove(mapping, false);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

/* A real driver frees it when the stream comes to it; nobody may use it in between. */
CUresult simulated_cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
	CUresult result = stream_wait_idle(stream);

	return result == CUDA_SUCCESS ? simulated_cuMemFree_v2(address) : result;
}

CUresult simulated_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream)
{
	return simulated_cuMemFreeAsync(address, stream);
}

CUresult simulated_cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_NOT_FOUND;
	struct mapping *mapping;

	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && mapping->readers) {
		if (base)
			*base = mapping->address;
		if (bytes)
			*bytes = mapping->bytes;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
	CUdevice device = current_context()->device;
	size_t used;

	if (!free_bytes || !total_bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&table_mutex);
	used = memory_bytes_alive(device);
	pthread_mutex_unlock(&table_mutex);
	*free_bytes = device_memory_bytes(device) > used ? device_memory_bytes(device) - used : 0;
	return simulated_cuDeviceTotalMem_v2(total_bytes, device);
}
