/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/* Virtual memory management: handles, reserved addresses, mappings. */

static struct reservation reservations[RESERVATIONS_MAX];
static size_t reservations_end;

struct reservation *reservation_of(CUdeviceptr address, size_t bytes)
{
	for (size_t i = 0; i < reservations_end; i++) {
		if (reservations[i].used && address >= reservations[i].address &&
		    address + bytes <= reservations[i].address + reservations[i].bytes)
			return &reservations[i];
	}
	return NULL;
}

size_t reservations_in_use(void)
{
	size_t count = 0;

	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < reservations_end; i++)
		count += reservations[i].used;
	pthread_mutex_unlock(&table_mutex);
	return count;
}

static bool any_mapping_in(CUdeviceptr address, size_t bytes)
{
	for (size_t i = 0; i < mappings_end; i++) {
		if (mappings[i].used && address < mappings[i].address + mappings[i].bytes &&
		    mappings[i].address < address + bytes)
			return true;
	}
	return false;
}

/* Measured: memory of the host is that of a node that there is, and no device's network card can have it. */
static CUresult find_place(const CUmemAllocationProp *properties, struct place *place)
{
	*place = (struct place){
		.host = properties->location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA,
		.number = properties->location.id,
	};
	if (place->host)
		return node_is_valid(place->number) && !properties->allocFlags.gpuDirectRDMACapable
			       ? CUDA_SUCCESS
			       : CUDA_ERROR_INVALID_VALUE;
	if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	return device_is_valid(place->number) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* Measured: it is told of every location of the host, also of those where nothing can be made. */
CUresult simulated_cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *properties, int option)
{
	bool of_host;

	if (!granularity || !properties || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED || option < 0 ||
	    option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
		return CUDA_ERROR_INVALID_VALUE;
	of_host = properties->location.type >= CU_MEM_LOCATION_TYPE_HOST &&
		  properties->location.type <= CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
	if (!of_host && properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	if (!of_host && !device_is_valid(properties->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	*granularity = GRANULARITY;
	return CUDA_SUCCESS;
}

CUresult simulated_cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
			       const CUmemAllocationProp *properties, unsigned long long flags)
{
	struct memory *memory = NULL;
	struct place place;
	CUresult result;

	if (!handle || !bytes || bytes % GRANULARITY || flags || !properties ||
	    properties->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    properties->requestedHandleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	result = find_place(properties, &place);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&table_mutex);
	result = memory_create(place, bytes, &memory);
	if (result == CUDA_SUCCESS) {
		memory->properties = *properties;
		*handle = memory->handle;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemRelease(CUmemGenericAllocationHandle handle)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct memory *memory;

	pthread_mutex_lock(&table_mutex);
	memory = memory_by_handle(handle);
	if (memory) {
		memory->references--;
		memory_drop_if_unused(memory);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr hint,
				       unsigned long long flags)
{
	struct reservation *reservation = NULL;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
	void *start;

	if (!address || !bytes || bytes % GRANULARITY || flags || (alignment & (alignment - 1)))
		return CUDA_ERROR_INVALID_VALUE;
	if (alignment < GRANULARITY)
		alignment = GRANULARITY;
	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < RESERVATIONS_MAX && !reservation; i++) {
		if (!reservations[i].used) {
			reservation = &reservations[i];
			if (i >= reservations_end)
				reservations_end = i + 1;
		}
	}
	start = reservation ? reserve_addresses(bytes, alignment, hint) : NULL;
	if (start) {
		*reservation = (struct reservation){true, (CUdeviceptr)(uintptr_t)start, bytes};
		*address = reservation->address;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct reservation *reservation;

	pthread_mutex_lock(&table_mutex);
	reservation = reservation_of(address, bytes);
	if (reservation && reservation->address == address && reservation->bytes == bytes &&
	    !any_mapping_in(address, bytes)) {
		munmap((void *)(uintptr_t)address, bytes);
		reservation->used = false;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
			    unsigned long long flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;
	struct memory *memory;

	if (!bytes || address % GRANULARITY || flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&table_mutex);
	memory = memory_by_handle(handle);
	if (!memory || memory->lost)
		goto out;
	/* Measured: a handle is mapped whole or not at all. */
	if (offset || bytes != memory->bytes) {
		result = CUDA_ERROR_NOT_SUPPORTED;
		goto out;
	}
	if (!reservation_of(address, bytes) || any_mapping_in(address, bytes))
		goto out;
	mapping = mapping_add();
	if (!mapping) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto out;
	}
	mapping->kind = MAPPING_VIRTUAL;
	mapping->address = address;
	mapping->bytes = mapping->mapped_bytes = bytes;
	mapping->memory = memory;
	if (mapping_place(mapping)) {
		mapping->used = false;
		result = CUDA_ERROR_MAP_FAILED;
		goto out;
	}
	memory->mappings++;
	result = CUDA_SUCCESS;
out:
	pthread_mutex_unlock(&table_mutex);
	return result;
}

/* True when whole virtual mappings cover the range exactly. */
static bool range_is_whole_mappings(CUdeviceptr address, size_t bytes)
{
	CUdeviceptr end = address + bytes;

	while (address < end) {
		struct mapping *mapping = mapping_at(address);

		if (!mapping || mapping->kind != MAPPING_VIRTUAL || mapping->address != address)
			return false;
		address += mapping->bytes;
	}
	return address == end;
}

CUresult simulated_cuMemUnmap(CUdeviceptr address, size_t bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	/* Unlike cuMemFree it does not wait for what is submitted: that will find the memory gone. */
	streams_hold();
	pthread_mutex_lock(&table_mutex);
	if (bytes && range_is_whole_mappings(address, bytes)) {
		CUdeviceptr end = address + bytes;

		while (address < end) {
			struct mapping *mapping = mapping_at(address);

			address += mapping->bytes;
			mapping_remove(mapping, true);
		}
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	streams_go_on();
	return result;
}

static void give_device(struct mapping *mapping, CUdevice device, int access)
{
	uint32_t bit = (uint32_t)1 << device;

	mapping->readers = access & CU_MEM_ACCESS_FLAGS_PROT_READ ? mapping->readers | bit : mapping->readers & ~bit;
	mapping->writers =
		access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? mapping->writers | bit : mapping->writers & ~bit;
}

/* The processor's, by either location, of which the second has a number that may be any. */
static bool is_of_processor(const CUmemLocation *location)
{
	return location->type == CU_MEM_LOCATION_TYPE_HOST || location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
}

static CUresult set_access(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access)
{
	bool to_processor = is_of_processor(&access->location);
	CUdeviceptr end = address + bytes;

	if (!range_is_whole_mappings(address, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	while (address < end) {
		struct mapping *mapping = mapping_at(address);

		if (to_processor && !mapping->memory->host)
			return CUDA_ERROR_NOT_SUPPORTED;
		if (to_processor)
			mapping->processor = access->flags;
		else
			give_device(mapping, access->location.id, access->flags);
		if (mapping_place(mapping))
			return CUDA_ERROR_OUT_OF_MEMORY;
		address += mapping->bytes;
	}
	return CUDA_SUCCESS;
}

static CUresult check_access(const CUmemAccessDesc *access)
{
	if (access->location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_of_processor(&access->location) && access->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!is_of_processor(&access->location) && !device_is_valid(access->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	if (access->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && access->flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
	    access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult simulated_cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
	CUresult result = CUDA_SUCCESS;

	if (!bytes || !access || !count)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++)
		result = check_access(&access[i]);
	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++)
		result = set_access(address, bytes, &access[i]);
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;

	if (!flags || !location)
		return result;
	if (!is_of_processor(location) &&
	    (location->type != CU_MEM_LOCATION_TYPE_DEVICE || !device_is_valid(location->id)))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && mapping->kind == MAPPING_VIRTUAL) {
		*flags = (unsigned long long)(is_of_processor(location) ? mapping->processor
									: mapping_access(mapping, location->id));
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle, int type,
						unsigned long long flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct memory *memory;
	char link[64];
	int descriptor;

	if (!shareable || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || flags)
		return result;
	pthread_mutex_lock(&table_mutex);
	memory = memory_by_handle(handle);
	if (!memory || memory->imported ||
	    !(memory->properties.requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR))
		goto out;
	/* As with the driver's, each is an open file of its own. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", memory->descriptor);
	descriptor = open(link, O_RDWR | O_CLOEXEC);
	if (descriptor < 0) {
		result = CUDA_ERROR_OPERATING_SYSTEM;
		goto out;
	}
	*(int *)shareable = descriptor;
	result = CUDA_SUCCESS;
out:
	pthread_mutex_unlock(&table_mutex);
	return result;
}

/* A memfd instead of a dma-buf. */
CUresult simulated_cuMemGetHandleForAddressRange(void *handle, CUdeviceptr address, size_t bytes, int type,
						 unsigned long long flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;
	int descriptor;

	if (!handle || type != CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD || flags)
		return result;
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at(address);
	if (mapping && address + bytes <= mapping->address + mapping->mapped_bytes) {
		descriptor = fcntl(mapping->memory->descriptor, F_DUPFD_CLOEXEC, 0);
		result = descriptor < 0 ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
		if (descriptor >= 0)
			*(int *)handle = descriptor;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable, int type)
{
	struct memory *memory = NULL;
	CUresult result;
	struct place place;
	size_t bytes;
	int descriptor;

	if (!handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	if (fcntl((int)(intptr_t)shareable, F_GETFD) < 0)
		return CUDA_ERROR_UNKNOWN;
	if (!place_of_descriptor((int)(intptr_t)shareable, &place, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	descriptor = fcntl((int)(intptr_t)shareable, F_DUPFD_CLOEXEC, 0);
	if (descriptor < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	pthread_mutex_lock(&table_mutex);
	result = memory_adopt(descriptor, place, bytes, &memory);
	if (result == CUDA_SUCCESS) {
		memory->properties = (CUmemAllocationProp){
			/* Measured: none of the handle types that it was made with. */
			.type = CU_MEM_ALLOCATION_TYPE_PINNED,
			.location = {place.host ? CU_MEM_LOCATION_TYPE_HOST_NUMA : CU_MEM_LOCATION_TYPE_DEVICE,
				     place.number},
		};
		*handle = memory->handle;
	}
	pthread_mutex_unlock(&table_mutex);
	if (result != CUDA_SUCCESS)
		close(descriptor);
	return result;
}

CUresult simulated_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct mapping *mapping;

	if (!handle)
		return result;
	pthread_mutex_lock(&table_mutex);
	mapping = mapping_at((CUdeviceptr)(uintptr_t)address);
	if (mapping && mapping->kind == MAPPING_VIRTUAL) {
		mapping->memory->references++;
		*handle = mapping->memory->handle;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties,
							  CUmemGenericAllocationHandle handle)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct memory *memory;

	if (!properties)
		return result;
	pthread_mutex_lock(&table_mutex);
	memory = memory_by_handle(handle);
	if (memory) {
		*properties = memory->properties;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}
