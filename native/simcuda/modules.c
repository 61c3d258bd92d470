/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "hash/hash_stripe.h"
#include "simcuda/simcuda.h"

/*
 * No text is compiled: a module is known by the name of the kernel in it, and there is one, which runs as the function in C
 * that it is made from (hash/hash_stripe.h).
 */

#define TEXT(name) TEXT_OF(name)
#define TEXT_OF(name) #name
#define KERNEL TEXT(HASH_KERNEL)
#define MODULES_MAX 256

/* Its one function has the same address. */
struct CUmod_st {
	bool used;
};

static struct CUmod_st modules[MODULES_MAX];

static bool is_module(const struct CUmod_st *module)
{
	return module >= modules && module < modules + MODULES_MAX && module->used;
}

CUresult simulated_cuModuleLoadData(CUmodule *module, const void *image)
{
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	if (!strstr(image, ".entry " KERNEL "("))
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&table_mutex);
	for (size_t i = 0; i < MODULES_MAX && result != CUDA_SUCCESS; i++) {
		if (modules[i].used)
			continue;
		modules[i].used = true;
		*module = &modules[i];
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuModuleUnload(CUmodule module)
{
	CUresult result = CUDA_ERROR_INVALID_HANDLE;

	streams_synchronise_context(current_context());
	pthread_mutex_lock(&table_mutex);
	if (is_module(module)) {
		module->used = false;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
	if (!function || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_module(module))
		return CUDA_ERROR_INVALID_HANDLE;
	if (strcmp(name, KERNEL) != 0)
		return CUDA_ERROR_NOT_FOUND;
	*function = (CUfunction)(void *)module;
	return CUDA_SUCCESS;
}

#define POINTER(address) ((void *)(uintptr_t)(address))

CUresult simulated_cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
				  unsigned int block_x, unsigned int block_y, unsigned int block_z,
				  unsigned int shared_bytes, CUstream stream, void **parameters, void **extra)
{
	struct operation operation = {.kind = OPERATION_HASH, .delay_nanoseconds = take_stream_delay()};

	if (!is_module((const struct CUmod_st *)(const void *)function))
		return CUDA_ERROR_INVALID_HANDLE;
	if (!parameters || extra || shared_bytes || !grid_x || grid_y != 1 || grid_z != 1 || grid_x % HASH_BLOCKS ||
	    block_x != HASH_THREADS || block_y != 1 || block_z != 1)
		return CUDA_ERROR_INVALID_VALUE;
	operation.source = POINTER(*(const CUdeviceptr *)parameters[0]);
	operation.destination = POINTER(*(const CUdeviceptr *)parameters[1]);
	operation.value = grid_x / HASH_BLOCKS;
	return stream_submit(stream, &operation);
}
