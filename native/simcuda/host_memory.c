/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <sys/mman.h>

#include "simcuda/simcuda.h"

/* Pinned host memory is ordinary private memory here, so CRIU dumps it with the process. */
struct host_range {
	bool used;
	bool registered; /* the application's own memory */
	char *start;
	size_t bytes;
	unsigned int flags;
};

static struct host_range ranges[HOST_RANGES_MAX];
static size_t ranges_end; /* one past the highest entry ever used */

void host_memory_forget(void)
{
	memset(ranges, 0, ranges_end * sizeof(ranges[0]));
	ranges_end = 0;
}

static struct host_range *range_of(const void *pointer)
{
	const char *address = pointer;

	for (size_t i = 0; i < ranges_end; i++) {
		if (ranges[i].used && address >= ranges[i].start && address < ranges[i].start + ranges[i].bytes)
			return &ranges[i];
	}
	return NULL;
}

bool host_range_is_pinned(const void *pointer, size_t bytes)
{
	struct host_range *range;
	bool pinned;

	pthread_mutex_lock(&table_mutex);
	range = range_of(pointer);
	pinned = range && (const char *)pointer + bytes <= range->start + range->bytes;
	pthread_mutex_unlock(&table_mutex);
	return pinned;
}

static CUresult range_add(void *start, size_t bytes, unsigned int flags, bool registered)
{
	for (size_t i = 0; i < HOST_RANGES_MAX; i++) {
		if (ranges[i].used)
			continue;
		ranges[i] = (struct host_range){true, registered, start, bytes, flags};
		if (i >= ranges_end)
			ranges_end = i + 1;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult simulated_cuMemHostAlloc(void **pointer, size_t bytes, unsigned int flags)
{
	CUresult result;
	void *memory;

	if (!pointer || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&table_mutex);
	result = range_add(memory, bytes, flags, false);
	pthread_mutex_unlock(&table_mutex);
	if (result != CUDA_SUCCESS)
		munmap(memory, bytes);
	else
		*pointer = memory;
	return result;
}

CUresult simulated_cuMemAllocHost_v2(void **pointer, size_t bytes)
{
	return simulated_cuMemHostAlloc(pointer, bytes, 0);
}

static CUresult range_remove(void *pointer, bool registered)
{
	struct host_range *range, removed;

	streams_synchronise_all();
	pthread_mutex_lock(&table_mutex);
	range = range_of(pointer);
	if (!range || range->start != pointer || range->registered != registered) {
		pthread_mutex_unlock(&table_mutex);
		return registered ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE;
	}
	removed = *range;
	range->used = false;
	pthread_mutex_unlock(&table_mutex);
	if (!registered)
		munmap(removed.start, removed.bytes);
	return CUDA_SUCCESS;
}

CUresult simulated_cuMemFreeHost(void *pointer)
{
	return range_remove(pointer, false);
}

CUresult simulated_cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned int flags)
{
	CUresult result;

	if (!pointer || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&table_mutex);
	if (range_of(pointer) || range_of((char *)pointer + bytes - 1))
		result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	else
		result = range_add(pointer, bytes, flags, true);
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuMemHostUnregister(void *pointer)
{
	return range_remove(pointer, true);
}

CUresult simulated_cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *pointer, unsigned int flags)
{
	if (!address || flags || !host_range_is_pinned(pointer, 1))
		return CUDA_ERROR_INVALID_VALUE;
	*address = (CUdeviceptr)(uintptr_t)pointer;
	return CUDA_SUCCESS;
}

CUresult simulated_cuMemHostGetFlags(unsigned int *flags, void *pointer)
{
	struct host_range *range;
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!flags)
		return result;
	pthread_mutex_lock(&table_mutex);
	range = range_of(pointer);
	if (range) {
		*flags = range->flags;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}
