/* SPDX-License-Identifier: MIT */
#include <stdbool.h>

#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/allocation_table.h"
#include "agent/sharing/legacy_ipc.h"

/* What cuMemAlloc gave must look like it, although it is mapped piecewise from exportable memory. */

struct described {
	struct plain_allocation plain;
	bool shareable;
};

static bool find_plain(CUdeviceptr address, struct described *found)
{
	const struct plain_allocation *allocation;

	table_lock();
	allocation = plain_containing(address);
	if (allocation) {
		found->plain = *allocation;
		found->shareable = ipc_is_shareable(allocation);
	}
	table_unlock();
	return allocation != NULL;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
	struct described allocation;

	if (!find_plain(address, &allocation))
		return real_driver()->cuMemGetAddressRange_v2(base, bytes, address);
	if (base)
		*base = allocation.plain.address;
	if (bytes)
		*bytes = allocation.plain.bytes;
	return CUDA_SUCCESS;
}

/* Writes the attribute where the driver would say something else of our memory. */
static void correct_attribute(void *data, CUpointer_attribute attribute, const struct described *allocation)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = allocation->plain.context;
		break;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		/* The driver has written its own answer, as wide as it takes a truth value to be. */
		*(unsigned char *)data = allocation->shareable;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = allocation->plain.address;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = allocation->plain.bytes;
		break;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = CU_MEM_HANDLE_TYPE_NONE;
		break;
	default:
		break;
	}
}

static bool is_corrected(CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		return true;
	default:
		return false;
	}
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
	bool corrected = data && is_corrected(attribute);
	struct described allocation;
	CUresult result;

	if (corrected && find_plain(address, &allocation)) {
		correct_attribute(data, attribute, &allocation);
		return CUDA_SUCCESS;
	}
	result = real_driver()->cuPointerGetAttribute(data, attribute, address);
	if (result == CUDA_SUCCESS && attribute == CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE &&
	    find_plain(address, &allocation))
		correct_attribute(data, attribute, &allocation);
	return result;
}

CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr address)
{
	CUresult result = real_driver()->cuPointerGetAttributes(count, attributes, data, address);
	struct described allocation;
	unsigned int index;

	if (result != CUDA_SUCCESS || !find_plain(address, &allocation))
		return result;
	for (index = 0; index < count; index++)
		correct_attribute(data[index], attributes[index], &allocation);
	return result;
}
