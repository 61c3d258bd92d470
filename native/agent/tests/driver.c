/* SPDX-License-Identifier: MIT */
#include "agent/tests/driver.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

CUcontext driver_start(void)
{
	CUcontext context = NULL;

	if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CUDA_SUCCESS ||
	    cuCtxSetCurrent(context) != CUDA_SUCCESS)
		abort();
	return context;
}

CUmemAllocationProp driver_properties(int handle_types)
{
	return (CUmemAllocationProp){
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = handle_types,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
	};
}

CUmemAccessDesc driver_access(void)
{
	return (CUmemAccessDesc){
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
}

int is_of_agent(const void *function)
{
	Dl_info info;

	return dladdr(function, &info) && strstr(info.dli_fname, "librekindle-preload");
}

int agent_is_loaded(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "librekindle-preload");
}
