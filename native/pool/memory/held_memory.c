/* SPDX-License-Identifier: MIT */
#include "pool/memory/held_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "protocol/share_mark.h"
#include "support/log.h"

/* Codes by which a driver says that the machine has no such NUMA node. */
static bool says_no_node(CUresult status)
{
	return status == CUDA_ERROR_INVALID_DEVICE || status == CUDA_ERROR_INVALID_VALUE;
}

static int call_failed(const struct held_memory *memory, const char *call, CUresult status, struct error_text *error)
{
	return fail(error, cuda_result_to_errno(status), "%s failed for allocation %llu (%llu MiB) on GPU %d: %s", call,
		    (unsigned long long)memory->allocation_id, (unsigned long long)(memory->bytes >> 20),
		    memory->device->device, cuda_result_name(&memory->device->pool->driver, status));
}

static void count_held(struct held_memory *memory)
{
	memory->has_handle = true;
	if (!memory->on_host)
		atomic_fetch_add(&memory->device->bytes_held, memory->bytes);
}

int held_memory_import(struct held_memory *memory, struct error_text *error)
{
	const struct cuda_driver *driver = &memory->device->pool->driver;
	CUresult status;

	status = driver->cuMemImportFromShareableHandle(&memory->handle, (void *)(intptr_t)memory->descriptor,
							CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	if (status != CUDA_SUCCESS)
		return call_failed(memory, "cuMemImportFromShareableHandle", status, error);
	count_held(memory);
	return 0;
}

static CUresult create_on_node(struct held_memory *memory, unsigned int node)
{
	const CUmemAllocationProp properties = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {.type = CU_MEM_LOCATION_TYPE_HOST_NUMA, .id = (int)node},
	};

	return memory->device->pool->driver.cuMemCreate(&memory->handle, memory->bytes, &properties, 0);
}

/* Where the driver makes none on its node: on the one that this thread runs on, or the first. */
static CUresult create_elsewhere(struct held_memory *memory)
{
	unsigned int processor, node = 0;
	CUresult status;

	if (getcpu(&processor, &node))
		node = 0;
	status = create_on_node(memory, node);
	if (says_no_node(status) && node)
		status = create_on_node(memory, node = 0);
	if (status == CUDA_SUCCESS)
		log_warning(
			"Memory of the host (allocation %llu, %llu MiB) was on NUMA node %u, where the driver makes none "
			"here: it is on node %u now",
			(unsigned long long)memory->allocation_id, (unsigned long long)(memory->bytes >> 20),
			memory->node, node);
	return status;
}

static int create_on_host(struct held_memory *memory, struct error_text *error)
{
	CUresult status = create_on_node(memory, memory->node);

	if (says_no_node(status))
		status = create_elsewhere(memory);
	if (status == CUDA_ERROR_OUT_OF_MEMORY)
		return fail(error, -ENOMEM,
			    "The machine has no room for %llu MiB of the host's memory (allocation %llu, on NUMA node "
			    "%u); end what else needs it",
			    (unsigned long long)(memory->bytes >> 20), (unsigned long long)memory->allocation_id,
			    memory->node);
	if (status != CUDA_SUCCESS)
		return call_failed(memory, "cuMemCreate", status, error);
	count_held(memory);
	return 0;
}

int held_memory_create(struct held_memory *memory, struct error_text *error)
{
	const struct cuda_driver *driver = &memory->device->pool->driver;
	CUmemAllocationProp properties = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = memory->device->device},
	};
	size_t free_bytes = 0, total = 0;
	CUresult status;
	int rdma = 0;

	if (memory->on_host)
		return create_on_host(memory, error);
	/* NVSHMEM, NCCL and GPUDirect storage register such memory; the flag costs nothing where they do not. */
	driver->cuDeviceGetAttribute(&rdma, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
				     memory->device->device);
	properties.allocFlags.gpuDirectRDMACapable = rdma != 0;
	status = driver->cuMemCreate(&memory->handle, memory->bytes, &properties, 0);
	if (status == CUDA_ERROR_OUT_OF_MEMORY) {
		driver->cuMemGetInfo(&free_bytes, &total);
		return fail(error, -ENOMEM,
			    "GPU %d (%s) has no room for the image: allocation %llu needs %llu MiB, %zu MiB are free; "
			    "end what else uses this GPU",
			    memory->device->device, memory->device->name, (unsigned long long)memory->allocation_id,
			    (unsigned long long)(memory->bytes >> 20), free_bytes >> 20);
	}
	if (status != CUDA_SUCCESS)
		return call_failed(memory, "cuMemCreate", status, error);
	count_held(memory);
	return 0;
}

int held_range_reserve(struct held_range *range, const struct pool *pool, uint64_t bytes, struct error_text *error)
{
	CUresult status;

	*range = (struct held_range){.pool = pool};
	if (!bytes)
		return 0;
	status = pool->driver.cuMemAddressReserve(&range->address, bytes, 0, 0, 0);
	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status), "cuMemAddressReserve failed for %llu MiB: %s",
			    (unsigned long long)(bytes >> 20), cuda_result_name(&pool->driver, status));
	range->bytes = bytes;
	return 0;
}

void held_range_free(struct held_range *range)
{
	if (range->bytes)
		range->pool->driver.cuMemAddressFree(range->address, range->bytes);
	*range = (struct held_range){.bytes = 0};
}

static CUresult choose_address(struct held_memory *memory, struct held_range *range)
{
	CUresult status;

	if (range && range->bytes - range->used >= memory->bytes) {
		memory->here = range->address + range->used;
		range->used += memory->bytes;
		return CUDA_SUCCESS;
	}
	status = memory->device->pool->driver.cuMemAddressReserve(&memory->here, memory->bytes, 0, 0, 0);
	memory->reserved = status == CUDA_SUCCESS;
	return status;
}

int held_memory_map(struct held_memory *memory, struct held_range *range, struct error_text *error)
{
	const struct cuda_driver *driver = &memory->device->pool->driver;
	CUmemAccessDesc access = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = memory->device->device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	const char *call = "cuMemAddressReserve";
	CUresult status;

	status = choose_address(memory, range);
	if (status == CUDA_SUCCESS) {
		call = "cuMemMap";
		status = driver->cuMemMap(memory->here, memory->bytes, 0, memory->handle, 0);
	}
	if (status == CUDA_SUCCESS) {
		memory->mapped = true;
		/*
		 * One call for many neighbours took as long as one for each (H200, driver 580): 42 us for each piece of
		 * 4 MiB, and 650 to 1060 us while copies to the device run, whatever their size, as the driver has the
		 * same engine write its page tables. It keeps others waiting, and more threads do not help either.
		 */
		call = "cuMemSetAccess";
		status = driver->cuMemSetAccess(memory->here, memory->bytes, &access, 1);
	}
	return status == CUDA_SUCCESS ? 0 : call_failed(memory, call, status, error);
}

void held_memory_unmap(struct held_memory *memory)
{
	if (memory->mapped)
		memory->device->pool->driver.cuMemUnmap(memory->here, memory->bytes);
	memory->mapped = false;
	if (memory->reserved)
		memory->device->pool->driver.cuMemAddressFree(memory->here, memory->bytes);
	memory->reserved = false;
}

int held_memory_export_ahead(struct held_memory *memory, struct error_text *error)
{
	int descriptor;

	/* A duplicate of what there is takes no time. */
	if (memory->descriptor >= 0 || memory->is_exported)
		return 0;
	descriptor = held_memory_export(memory, error);
	if (descriptor < 0)
		return descriptor;
	memory->is_exported = true;
	memory->exported = descriptor;
	return 0;
}

int held_memory_export(struct held_memory *memory, struct error_text *error)
{
	CUresult status;
	int descriptor = -1;

	if (memory->is_exported) {
		memory->is_exported = false;
		return memory->exported;
	}
	if (memory->descriptor >= 0) {
		descriptor = fcntl(memory->descriptor, F_DUPFD_CLOEXEC, 3);
		return descriptor >= 0 ? descriptor
				       : fail(error, -errno, "Could not duplicate a descriptor: %s", errno_text(errno));
	}
	status = memory->device->pool->driver.cuMemExportToShareableHandle(&descriptor, memory->handle,
									   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	return status == CUDA_SUCCESS ? descriptor : call_failed(memory, "cuMemExportToShareableHandle", status, error);
}

int held_memory_share(struct held_memory *memory, struct error_text *error)
{
	int descriptor;

	if (memory->descriptor >= 0)
		return 0;
	descriptor = held_memory_export(memory, error);
	if (descriptor < 0)
		return descriptor;
	memory->descriptor = descriptor;
	return share_mark_set(descriptor, memory->allocation_id)
		       ? 0
		       : fail(error, -errno, "A descriptor of device memory could not be marked: %s",
			      errno_text(errno));
}

void held_memory_release(struct held_memory *memory)
{
	held_memory_unmap(memory);
	if (memory->has_handle) {
		memory->device->pool->driver.cuMemRelease(memory->handle);
		if (!memory->on_host)
			atomic_fetch_sub(&memory->device->bytes_held, memory->bytes);
	}
	memory->has_handle = false;
	if (memory->descriptor >= 0)
		close(memory->descriptor);
	if (memory->is_exported)
		close(memory->exported);
	memory->is_exported = false;
	memory->descriptor = -1;
}
