/* SPDX-License-Identifier: MIT */
#include "agent/memory/in_place.h"

#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"

/* By the location that the application named: the driver takes that of any node, also of one that there is not. */
static CUresult give_processor(const struct mapping *mapping)
{
	if (mapping->processor.flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
		return CUDA_SUCCESS;
	return real_driver()->cuMemSetAccess(mapping->address, mapping->bytes, &mapping->processor, 1);
}

CUresult give_access(struct mapping *mapping)
{
	CUresult result;

	if (!mapping->lacks_access)
		return CUDA_SUCCESS;
	result = access_set(mapping->address, mapping->bytes, mapping->read_devices, mapping->write_devices);
	if (result == CUDA_SUCCESS)
		result = give_processor(mapping);
	mapping->mapped = result == CUDA_SUCCESS;
	mapping->lacks_access = !mapping->mapped;
	return result;
}

CUresult map_without_access(const struct physical_memory *memory, CUmemGenericAllocationHandle real)
{
	struct mapping_walk walk = mapping_walk(memory);
	struct mapping *mapping;

	while ((mapping = mapping_next(&walk))) {
		CUresult result;

		if (mapping->mapped || mapping->lacks_access)
			continue;
		result = real_driver()->cuMemMap(mapping->address, mapping->bytes, mapping->offset, real, 0);
		if (result != CUDA_SUCCESS)
			return result;
		mapping->lacks_access = true;
	}
	return CUDA_SUCCESS;
}

CUresult map_everywhere(const struct physical_memory *memory, CUmemGenericAllocationHandle real)
{
	struct mapping_walk walk = mapping_walk(memory);
	CUresult result = map_without_access(memory, real);
	struct mapping *mapping;

	while (result == CUDA_SUCCESS && (mapping = mapping_next(&walk)))
		result = give_access(mapping);
	return result;
}

CUresult unmap_everywhere(const struct physical_memory *memory)
{
	struct mapping_walk walk = mapping_walk(memory);
	struct mapping *mapping;

	while ((mapping = mapping_next(&walk))) {
		CUresult result;

		if (!mapping->mapped && !mapping->lacks_access)
			continue;
		result = real_driver()->cuMemUnmap(mapping->address, mapping->bytes);
		if (result != CUDA_SUCCESS)
			return result;
		mapping->mapped = mapping->lacks_access = false;
	}
	return CUDA_SUCCESS;
}
