/* SPDX-License-Identifier: MIT */
#include "agent/memory/in_place.h"

#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"

CUresult map_everywhere(const struct physical_memory *memory, CUmemGenericAllocationHandle real)
{
	struct mapping_walk walk = mapping_walk(memory);
	struct mapping *mapping;

	while ((mapping = mapping_next(&walk))) {
		CUresult result;

		if (mapping->mapped)
			continue;
		result = real_driver()->cuMemMap(mapping->address, mapping->bytes, mapping->offset, real, 0);
		if (result != CUDA_SUCCESS)
			return result;
		result = access_set(mapping->address, mapping->bytes, mapping->read_devices, mapping->write_devices);
		if (result != CUDA_SUCCESS) {
			/* Without access it is not where it belongs; the next attempt begins anew. */
			real_driver()->cuMemUnmap(mapping->address, mapping->bytes);
			return result;
		}
		mapping->mapped = true;
	}
	return CUDA_SUCCESS;
}

CUresult unmap_everywhere(const struct physical_memory *memory)
{
	struct mapping_walk walk = mapping_walk(memory);
	struct mapping *mapping;

	while ((mapping = mapping_next(&walk))) {
		CUresult result;

		if (!mapping->mapped)
			continue;
		result = real_driver()->cuMemUnmap(mapping->address, mapping->bytes);
		if (result != CUDA_SUCCESS)
			return result;
		mapping->mapped = false;
	}
	return CUDA_SUCCESS;
}
