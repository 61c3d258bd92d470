/* SPDX-License-Identifier: MIT */
#include "hash/device_hash.h"

#include <errno.h>
#include <stdlib.h>

#include "hash/hash_stripe.h"

/* Of one launch, so that the two buffers stay small. */
#define CHUNKS_MAX 16384u

#define TEXT(name) TEXT_OF(name)
#define TEXT_OF(name) #name

/* hash_kernel.ptx, with a NUL behind it; see hash_kernel_text.S. */
extern const char hash_kernel_text[] __attribute__((visibility("hidden")));

static_assert(sizeof(struct hash_state) == sizeof(struct chunk_hash), "a result is a hash");
static_assert(sizeof(struct hash_chunk) == 16, "struct hash_chunk is 16 bytes");

struct device_hash {
	const struct cuda_driver *driver;
	CUmodule module;
	CUfunction kernel;
	CUstream stream; /* apart from what else goes on in the context */
	CUdeviceptr chunks, results;
};

static int call_failed(const struct device_hash *hash, const char *call, CUresult status, struct error_text *error)
{
	return fail(error, cuda_result_to_errno(status), "The hash kernel cannot be used: %s: %s", call,
		    cuda_result_name(hash->driver, status));
}

int device_hash_open(struct device_hash **hash_out, const struct cuda_driver *driver, struct error_text *error)
{
	struct device_hash *hash = calloc(1, sizeof(*hash));
	const char *call = "cuModuleLoadData";
	CUresult status;
	int result;

	if (!hash)
		return fail(error, -ENOMEM, "Out of memory");
	hash->driver = driver;
	status = driver->cuModuleLoadData(&hash->module, hash_kernel_text);
	if (status != CUDA_SUCCESS)
		hash->module = NULL;
	if (status == CUDA_SUCCESS) {
		call = "cuModuleGetFunction";
		status = driver->cuModuleGetFunction(&hash->kernel, hash->module, TEXT(HASH_KERNEL));
	}
	if (status == CUDA_SUCCESS) {
		call = "cuStreamCreate";
		status = driver->cuStreamCreate(&hash->stream, CU_STREAM_NON_BLOCKING);
	}
	if (status == CUDA_SUCCESS) {
		call = "cuMemAlloc";
		status = driver->cuMemAlloc(&hash->chunks, CHUNKS_MAX * sizeof(struct hash_chunk));
	}
	if (status == CUDA_SUCCESS)
		status = driver->cuMemAlloc(&hash->results, CHUNKS_MAX * sizeof(struct hash_state));
	if (status != CUDA_SUCCESS) {
		result = call_failed(hash, call, status, error);
		device_hash_close(hash);
		return result;
	}
	*hash_out = hash;
	return 0;
}

/* count: CHUNKS_MAX at most. */
static int hash_some(struct device_hash *hash, const struct hash_chunk *chunks, size_t count, struct chunk_hash *hashes,
		     struct error_text *error)
{
	const struct cuda_driver *driver = hash->driver;
	void *parameters[] = {&hash->chunks, &hash->results};
	const char *call = "cuMemcpyHtoD";
	CUresult status;

	status = driver->cuMemcpyHtoD(hash->chunks, chunks, count * sizeof(*chunks));
	if (status == CUDA_SUCCESS) {
		call = "cuMemsetD8Async";
		status = driver->cuMemsetD8Async(hash->results, 0, count * sizeof(*hashes), hash->stream);
	}
	if (status == CUDA_SUCCESS) {
		call = "cuLaunchKernel";
		status = driver->cuLaunchKernel(hash->kernel, (unsigned int)count * HASH_BLOCKS, 1, 1, HASH_THREADS, 1,
						1, 0, hash->stream, parameters, NULL);
	}
	if (status == CUDA_SUCCESS) {
		call = "cuStreamSynchronize";
		status = driver->cuStreamSynchronize(hash->stream);
	}
	if (status == CUDA_SUCCESS) {
		call = "cuMemcpyDtoH";
		status = driver->cuMemcpyDtoH(hashes, hash->results, count * sizeof(*hashes));
	}
	return status == CUDA_SUCCESS ? 0 : call_failed(hash, call, status, error);
}

int device_hash_chunks(struct device_hash *hash, const struct device_chunk *chunks, size_t count,
		       struct chunk_hash *hashes, struct error_text *error)
{
	struct hash_chunk *wanted = calloc(count < CHUNKS_MAX ? count + 1 : CHUNKS_MAX, sizeof(*wanted));
	size_t at, some, i;
	int result = 0;

	if (!wanted)
		return fail(error, -ENOMEM, "Out of memory");
	for (at = 0; at < count && result == 0; at += some) {
		some = count - at < CHUNKS_MAX ? count - at : CHUNKS_MAX;
		for (i = 0; i < some; i++)
			wanted[i] = (struct hash_chunk){chunks[at + i].address, chunks[at + i].bytes / HASH_TILE_BYTES};
		result = hash_some(hash, wanted, some, &hashes[at], error);
	}
	free(wanted);
	return result;
}

void device_hash_close(struct device_hash *hash)
{
	if (!hash)
		return;
	if (hash->results)
		hash->driver->cuMemFree(hash->results);
	if (hash->chunks)
		hash->driver->cuMemFree(hash->chunks);
	if (hash->stream)
		hash->driver->cuStreamDestroy(hash->stream);
	if (hash->module)
		hash->driver->cuModuleUnload(hash->module);
	free(hash);
}
