/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "simcuda/simcuda.h"

static CUresult attribute_of_device_memory(void *data, CUpointer_attribute attribute, const struct mapping *mapping,
					   CUdeviceptr pointer)
{
	/* Measured: the range of virtual memory is the reserved one. */
	const struct reservation *reservation = reservation_of(pointer, 1);

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = mapping->context;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = mapping->memory->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = pointer;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned int *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = mapping->memory->device;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = mapping->memory->handle;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(unsigned int *)data = mapping->kind == MAPPING_PLAIN;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = reservation ? reservation->address : mapping->address;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = mapping->address;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = reservation ? reservation->bytes : mapping->bytes;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = mapping->bytes;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned int *)data = 1;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = (unsigned long long)mapping->memory->properties.requestedHandleTypes;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(int *)data = current_context()       ? mapping_access(mapping, current_context()->device)
			       : mapping->memory->host ? mapping->processor
						       : mapping_access(mapping, mapping->memory->device);
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(void **)data = NULL;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult attribute_of_host_memory(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = CU_MEMORYTYPE_HOST;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(CUdeviceptr *)data = pointer;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned int *)data = 0;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult simulated_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;

	if (!data)
		return result;
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(pointer);
	if (mapping)
		result = attribute_of_device_memory(data, attribute, mapping, pointer);
	pthread_mutex_unlock(&table_mutex);
	if (!mapping && host_range_is_pinned((void *)(uintptr_t)pointer, 1))
		result = attribute_of_host_memory(data, attribute, pointer);
	return result;
}

/* Unlike the single call this one succeeds for memory that the driver does not know, with empty values. */
CUresult simulated_cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data,
					  CUdeviceptr pointer)
{
	if (!attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < count; i++) {
		if (simulated_cuPointerGetAttribute(data[i], attributes[i], pointer) == CUDA_SUCCESS)
			continue;
		if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			*(int *)data[i] = -2;
		else
			memset(data[i], 0, sizeof(unsigned int));
	}
	return CUDA_SUCCESS;
}
