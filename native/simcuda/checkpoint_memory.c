/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/*
 * What a checkpoint does with memory: the contents go to private memory of the process, the addresses stay reserved and
 * every memfd is closed, so that CRIU dumps the data as ordinary memory and nothing of the device is left. A restore
 * makes fresh memfds, puts the contents back and maps them where they were. What another process has made, and what is the
 * host's, it does not bring back.
 */

static bool has_reserved_address_only(void *address, size_t bytes)
{
	return mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
	       MAP_FAILED;
}

/* Reads only what was ever written, so that untouched memory costs nothing. */
static int copy_out(struct memory *memory)
{
	off_t data = 0, hole = 0, end = (off_t)memory->bytes;

	while ((data = lseek(memory->descriptor, hole, SEEK_DATA)) >= 0 && data < end) {
		hole = lseek(memory->descriptor, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		while (data < hole) {
			ssize_t length =
				pread(memory->descriptor, (char *)memory->saved + data, (size_t)(hole - data), data);

			if (length <= 0)
				return -EIO;
			data += length;
		}
	}
	return 0;
}

static CUresult save(struct memory *memory)
{
	if (memory->imported || memory->host) {
		memory->lost = true;
	} else {
		memory->saved = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory->saved == MAP_FAILED) {
			memory->saved = NULL;
			return CUDA_ERROR_OUT_OF_MEMORY;
		}
		if (copy_out(memory))
			return CUDA_ERROR_OPERATING_SYSTEM;
	}
	for (size_t i = 0; i < mappings_end; i++) {
		if (mappings[i].used && mappings[i].memory == memory &&
		    !has_reserved_address_only((void *)(uintptr_t)mappings[i].address, mappings[i].mapped_bytes))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memory_close_descriptor(memory);
	return CUDA_SUCCESS;
}

CUresult checkpoint_memory_save(void)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < memories_end && result == CUDA_SUCCESS; i++) {
		if (memories[i].used && memories[i].descriptor >= 0)
			result = save(&memories[i]);
	}
	if (result == CUDA_SUCCESS && device_file_close())
		result = CUDA_ERROR_OPERATING_SYSTEM;
	pthread_mutex_unlock(&table_mutex);
	return result;
}

static int copy_in(struct memory *memory)
{
	const char *contents = memory->saved;
	size_t done = 0;

	/* Whole runs of zero pages stay holes. */
	while (done < memory->bytes) {
		size_t length = 0;

		while (done + length < memory->bytes && length < GRANULARITY) {
			const uint64_t *word = (const uint64_t *)(const void *)(contents + done + length);
			uint64_t any = 0;

			for (size_t i = 0; i < 512; i++)
				any |= word[i];
			if (!any)
				break;
			length += 4096;
		}
		for (size_t written = 0; written < length;) {
			ssize_t count = pwrite(memory->descriptor, contents + done + written, length - written,
					       (off_t)(done + written));

			if (count <= 0)
				return -ENOSPC;
			written += (size_t)count;
		}
		done += length < GRANULARITY ? length + 4096 : length;
	}
	return 0;
}

static CUresult load(struct memory *memory)
{
	if (memory_open_descriptor(memory))
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (copy_in(memory))
		return CUDA_ERROR_OUT_OF_MEMORY;
	munmap(memory->saved, memory->bytes);
	memory->saved = NULL;
	for (size_t i = 0; i < mappings_end; i++) {
		if (mappings[i].used && mappings[i].memory == memory && mapping_place(&mappings[i]))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}

CUresult checkpoint_memory_load(void)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < memories_end; i++) {
		/* As measured: memory of another process that was still mapped makes the restore fail, or of the host. */
		if (memories[i].used && memories[i].lost && memories[i].mappings && result == CUDA_SUCCESS)
			result = memories[i].host ? CUDA_ERROR_UNKNOWN : CUDA_ERROR_NOT_SUPPORTED;
	}
	if (result == CUDA_SUCCESS && device_file_open_again())
		result = CUDA_ERROR_OPERATING_SYSTEM;
	for (size_t i = 0; i < memories_end && result == CUDA_SUCCESS; i++) {
		if (memories[i].used && memories[i].saved)
			result = load(&memories[i]);
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}
