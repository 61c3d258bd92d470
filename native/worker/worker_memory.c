/* SPDX-License-Identifier: MIT */
#include "worker/worker_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define GRANULARITY ((size_t)2 << 20)
#define STAGING_BYTES ((size_t)4 << 20)
#define SMALL_BYTES ((size_t)192 << 10)
#define PINNED_BYTES ((size_t)8 << 20)

static int driver_failed(const struct worker_memory *memory, const char *call, CUresult result,
			 struct error_text *error)
{
	return fail(error, result == CUDA_ERROR_OUT_OF_MEMORY ? -ENOMEM : -EIO, "%s failed: %s", call,
		    cuda_result_name(memory->driver, result));
}

static struct piece *add_piece(struct worker_memory *memory, enum piece_kind kind, size_t bytes,
			       struct error_text *error)
{
	struct piece *piece = &memory->pieces[memory->count];

	if (memory->count == WORKER_PIECES_MAX) {
		fail(error, -ENOSPC, "More than %d pieces; ask for fewer", WORKER_PIECES_MAX);
		return NULL;
	}
	memset(piece, 0, sizeof(*piece));
	piece->kind = kind;
	piece->bytes = bytes;
	piece->number = memory->next_number++;
	if (memory->gpus.count)
		piece->gpu = (unsigned int)(piece->number % memory->gpus.count);
	memory->count++;
	return piece;
}

static CUresult use_gpu(const struct worker_memory *memory, unsigned int gpu)
{
	return memory->gpus.count < 2 ? CUDA_SUCCESS : memory->driver->cuCtxSetCurrent(memory->gpus.contexts[gpu]);
}

static int add_plain(struct worker_memory *memory, size_t bytes, struct error_text *error)
{
	struct piece *piece = add_piece(memory, PIECE_PLAIN, bytes, error);
	CUresult result;

	if (!piece)
		return -ENOSPC;
	result = use_gpu(memory, piece->gpu);
	if (result == CUDA_SUCCESS)
		result = memory->driver->cuMemAlloc(&piece->address, bytes);
	if (result != CUDA_SUCCESS) {
		memory->count--;
		return driver_failed(memory, "cuMemAlloc", result, error);
	}
	return 0;
}

/* Maps the handle in a range of its own. The range is larger than the mapping, as PyTorch's segments are. */
static int map_handle(struct worker_memory *memory, struct piece *piece, CUmemGenericAllocationHandle handle,
		      struct error_text *error)
{
	const struct cuda_driver *driver = memory->driver;
	CUmemAccessDesc access = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = memory->gpus.devices[piece->gpu]},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	size_t reserved_bytes = piece->bytes + 2 * GRANULARITY;
	CUdeviceptr reserved;
	CUresult result;

	result = driver->cuMemAddressReserve(&reserved, reserved_bytes, 0, 0, 0);
	if (result != CUDA_SUCCESS)
		return driver_failed(memory, "cuMemAddressReserve", result, error);
	result = driver->cuMemMap(reserved + GRANULARITY, piece->bytes, 0, handle, 0);
	if (result != CUDA_SUCCESS) {
		driver->cuMemAddressFree(reserved, reserved_bytes);
		return driver_failed(memory, "cuMemMap", result, error);
	}
	result = driver->cuMemSetAccess(reserved + GRANULARITY, piece->bytes, &access, 1);
	if (result != CUDA_SUCCESS) {
		driver->cuMemUnmap(reserved + GRANULARITY, piece->bytes);
		driver->cuMemAddressFree(reserved, reserved_bytes);
		return driver_failed(memory, "cuMemSetAccess", result, error);
	}
	piece->address = reserved + GRANULARITY;
	piece->reserved = reserved;
	piece->reserved_bytes = reserved_bytes;
	return 0;
}

static int add_virtual(struct worker_memory *memory, size_t bytes, bool keep_handle, struct error_text *error)
{
	CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
					  .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
	CUmemGenericAllocationHandle handle;
	struct piece *piece;
	CUresult result;
	int failed;

	piece = add_piece(memory, PIECE_VIRTUAL, bytes, error);
	if (!piece)
		return -ENOSPC;
	properties.location.id = memory->gpus.devices[piece->gpu];
	result = memory->driver->cuMemCreate(&handle, bytes, &properties, 0);
	if (result != CUDA_SUCCESS) {
		memory->count--;
		return driver_failed(memory, "cuMemCreate", result, error);
	}
	failed = map_handle(memory, piece, handle, error);
	if (keep_handle && !failed)
		piece->handle = handle;
	else
		memory->driver->cuMemRelease(handle);
	if (failed)
		memory->count--;
	return failed;
}

static int add_alias(struct worker_memory *memory, size_t original, size_t bytes, struct error_text *error)
{
	struct piece *piece = add_piece(memory, PIECE_ALIAS, bytes, error);
	int result;

	if (!piece)
		return -ENOSPC;
	piece->gpu = memory->pieces[original].gpu;
	result = map_handle(memory, piece, memory->pieces[original].handle, error);
	if (result) {
		memory->count--;
		return result;
	}
	piece->original = original;
	memory->pieces[original].aliased = true;
	return 0;
}

/* The first virtual piece gets a second mapping. Drivers map whole handles only (NOT_SUPPORTED for a part of one). */
static int add_aliases(struct worker_memory *memory, struct error_text *error)
{
	for (size_t i = 0; i < memory->count; i++)
		if (memory->pieces[i].kind == PIECE_VIRTUAL && memory->pieces[i].handle)
			return add_alias(memory, i, memory->pieces[i].bytes, error);
	return 0;
}

static int add_host(struct worker_memory *memory, size_t bytes, struct error_text *error)
{
	struct piece *piece = add_piece(memory, memory->driver ? PIECE_PINNED : PIECE_HOST, bytes, error);
	void *pointer = MAP_FAILED;

	if (!piece)
		return -ENOSPC;
	if (memory->driver) {
		CUresult result = memory->driver->cuMemHostAlloc(&pointer, bytes, 0);

		if (result != CUDA_SUCCESS) {
			memory->count--;
			return driver_failed(memory, "cuMemHostAlloc", result, error);
		}
	} else {
		pointer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pointer == MAP_FAILED) {
			memory->count--;
			return fail(error, -ENOMEM, "No host memory for %zu MiB", bytes >> 20);
		}
	}
	piece->address = (CUdeviceptr)(uintptr_t)pointer;
	return 0;
}

/* Pieces of uneven size, each a multiple of 2 MiB, that make up the whole. */
static size_t piece_bytes(const struct worker_memory *memory, unsigned int number, size_t left)
{
	unsigned int rest = memory->options.pieces - number;
	size_t even = left / rest / GRANULARITY;

	if (rest == 1)
		return left;
	even += number % 2 ? even / 3 : 0;
	return even ? even * GRANULARITY : GRANULARITY;
}

static int create_pieces(struct worker_memory *memory, struct error_text *error)
{
	const struct worker_options *options = &memory->options;
	size_t left = options->mib << 20;
	unsigned int virtual_pieces = 0;
	int result = 0;

	for (unsigned int i = 0; i < options->pieces && left && !result; i++) {
		size_t bytes = piece_bytes(memory, i, left);

		if (bytes > left)
			bytes = left;
		if (!memory->driver)
			result = add_host(memory, bytes, error);
		else if ((i + 1) * options->vmm_percent / 100 > virtual_pieces)
			result = add_virtual(memory, bytes, virtual_pieces++ < 2 || i % 2 == 0, error);
		else
			result = add_plain(memory, bytes, error);
		left -= bytes;
	}
	if (result || !memory->driver)
		return result;
	result = add_aliases(memory, error);
	if (!result)
		result = add_plain(memory, SMALL_BYTES, error);
	if (!result)
		result = add_host(memory, PINNED_BYTES, error);
	return result;
}

static int create_streams(struct worker_memory *memory, unsigned int thread, struct error_text *error)
{
	CUresult result = CUDA_SUCCESS;

	for (unsigned int gpu = 0; gpu < memory->gpus.count && result == CUDA_SUCCESS; gpu++) {
		result = use_gpu(memory, gpu);
		if (result == CUDA_SUCCESS)
			result = memory->driver->cuStreamCreate(&memory->streams[thread][gpu], CU_STREAM_NON_BLOCKING);
	}
	return result == CUDA_SUCCESS ? 0 : driver_failed(memory, "cuStreamCreate", result, error);
}

static int create_staging(struct worker_memory *memory, struct error_text *error)
{
	int failed = 0;

	for (unsigned int i = 0; i < memory->threads && !failed; i++) {
		CUresult result =
			memory->driver->cuMemHostAlloc(&memory->staging[i], STAGING_BYTES, CU_MEMHOSTALLOC_PORTABLE);

		failed = result == CUDA_SUCCESS ? create_streams(memory, i, error)
						: driver_failed(memory, "cuMemHostAlloc", result, error);
	}
	return failed;
}

int worker_memory_create(struct worker_memory *memory, const struct cuda_driver *driver, const struct worker_gpus *gpus,
			 const struct worker_options *options, struct error_text *error)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int result;

	memset(memory, 0, sizeof(*memory));
	memory->driver = driver;
	if (gpus)
		memory->gpus = *gpus;
	memory->options = *options;
	memory->threads = cores < 1 ? 1 : cores > 8 ? 8 : (unsigned int)cores;
	if (driver) {
		result = create_staging(memory, error);
		if (result)
			return result;
	}
	result = create_pieces(memory, error);
	if (!result && use_gpu(memory, 0) != CUDA_SUCCESS)
		result = fail(error, -EIO, "cuCtxSetCurrent failed");
	return result ? result : worker_chunks_run(memory, CHUNK_FILL, 0, false, NULL, error);
}

int worker_memory_allocate(struct worker_memory *memory, size_t mib, struct error_text *error)
{
	size_t first = memory->count, half = (mib << 20) / 2 / GRANULARITY * GRANULARITY, rest = (mib << 20) - half;
	int result = 0;

	if (!mib || mib % 2)
		return fail(error, -EINVAL, "The number of MiB must be even and not 0");
	if (!memory->driver) {
		result = add_host(memory, mib << 20, error);
	} else {
		if (half)
			result = add_virtual(memory, half, true, error);
		if (!result)
			result = add_plain(memory, rest, error);
		if (!result && use_gpu(memory, 0) != CUDA_SUCCESS)
			result = fail(error, -EIO, "cuCtxSetCurrent failed");
	}
	return result ? result : worker_chunks_run(memory, CHUNK_FILL, first, false, NULL, error);
}

static int free_piece(struct worker_memory *memory, size_t index, struct error_text *error)
{
	const struct cuda_driver *driver = memory->driver;
	struct piece *piece = &memory->pieces[index];
	CUresult result = CUDA_SUCCESS;

	if (piece->kind == PIECE_PLAIN) {
		result = driver->cuMemFree(piece->address);
	} else if (piece->kind == PIECE_VIRTUAL) {
		result = driver->cuMemUnmap(piece->address, piece->bytes);
		if (result == CUDA_SUCCESS && piece->handle)
			result = driver->cuMemRelease(piece->handle);
		if (result == CUDA_SUCCESS)
			result = driver->cuMemAddressFree(piece->reserved, piece->reserved_bytes);
	} else {
		munmap((void *)(uintptr_t)piece->address, piece->bytes);
	}
	if (result != CUDA_SUCCESS)
		return driver_failed(memory, "Freeing a piece", result, error);
	memory->count--;
	memmove(piece, piece + 1, (memory->count - index) * sizeof(*piece));
	for (size_t i = index; i < memory->count; i++) {
		if (memory->pieces[i].kind == PIECE_ALIAS && memory->pieces[i].original > index)
			memory->pieces[i].original--;
	}
	return 0;
}

int worker_memory_free(struct worker_memory *memory, uint64_t count, struct error_text *error)
{
	int result = 0;

	for (size_t i = memory->count; i-- > 0 && count && !result;) {
		struct piece *piece = &memory->pieces[i];

		if (piece->aliased || piece->kind == PIECE_ALIAS || piece->kind == PIECE_PINNED)
			continue;
		result = free_piece(memory, i, error);
		count--;
	}
	return !result && count ? fail(error, -ENOENT, "There are not so many pieces that can be freed") : result;
}

int worker_memory_change(struct worker_memory *memory, struct error_text *error)
{
	memory->generation++;
	return worker_chunks_run(memory, CHUNK_FILL, 0, true, NULL, error);
}

static int check_aliases(const struct worker_memory *memory, const uint64_t *hashes, struct error_text *error)
{
	for (size_t i = 0; i < memory->count; i++) {
		const struct piece *alias = &memory->pieces[i], *original = &memory->pieces[alias->original];

		if (alias->kind != PIECE_ALIAS)
			continue;
		for (size_t offset = 0; offset < alias->bytes; offset += WORKER_CHUNK_BYTES) {
			size_t chunk = offset / WORKER_CHUNK_BYTES;

			if (alias->bytes != original->bytes && offset + WORKER_CHUNK_BYTES > alias->bytes)
				continue;
			if (hashes[alias->first_hash + chunk] != hashes[original->first_hash + chunk])
				return fail(error, -EBADMSG,
					    "A second mapping at %#llx shows other contents than the first",
					    alias->address + offset);
		}
	}
	return 0;
}

int worker_memory_checksum(struct worker_memory *memory, uint64_t *checksum, struct error_text *error)
{
	size_t count = 0;
	uint64_t *hashes;
	int result;

	for (size_t i = 0; i < memory->count; i++) {
		memory->pieces[i].first_hash = count;
		count += (memory->pieces[i].bytes + WORKER_CHUNK_BYTES - 1) / WORKER_CHUNK_BYTES;
	}
	hashes = calloc(count + 1, sizeof(*hashes));
	if (!hashes)
		return fail(error, -ENOMEM, "No memory for the checksums");
	result = worker_chunks_run(memory, CHUNK_HASH, 0, false, hashes, error);
	if (!result)
		result = check_aliases(memory, hashes, error);
	if (!result)
		*checksum = XXH3_64bits(hashes, count * sizeof(*hashes));
	free(hashes);
	return result;
}

size_t worker_memory_device_bytes(const struct worker_memory *memory)
{
	size_t bytes = 0;

	for (size_t i = 0; i < memory->count; i++) {
		if (memory->pieces[i].kind == PIECE_PLAIN || memory->pieces[i].kind == PIECE_VIRTUAL)
			bytes += memory->pieces[i].bytes;
	}
	return bytes;
}
