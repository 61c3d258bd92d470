/* SPDX-License-Identifier: MIT */
/*
 * A driver that does nothing, in no time: what is measured with it is the agent's own. EMPTY_DRIVER_DOWN=1: addresses are
 * given from the top down, each below all that are there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cuda_prototypes.h"

#define EXPORT __attribute__((visibility("default")))
#define DEVICES 8
#define BASE ((CUdeviceptr)1 << 40)

static char contexts[DEVICES];
static __thread CUcontext current;

#define CALL(symbol, result)                                                                    \
	EXPORT CUresult symbol PARAMETERS_##symbol;                                             \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wunused-parameter\"") \
		CUresult symbol PARAMETERS_##symbol                                             \
	{                                                                                       \
		result;                                                                         \
		return CUDA_SUCCESS;                                                            \
	}                                                                                       \
	_Pragma("GCC diagnostic pop")

static CUdeviceptr next_address(size_t bytes)
{
	static CUdeviceptr up = BASE, down = BASE;
	const char *wanted = getenv("EMPTY_DRIVER_DOWN");

	if (wanted && !strcmp(wanted, "1"))
		return down -= bytes;
	up += bytes;
	return up - bytes;
}

CALL(cuInit, (void)flags)
CALL(cuDeviceGetCount, *count = DEVICES)
CALL(cuDeviceGetAttribute, *value = 1)
CALL(cuDeviceCanAccessPeer, *can = 1)
CALL(cuDevicePrimaryCtxRetain, *context = (CUcontext)(void *)&contexts[device])
CALL(cuDevicePrimaryCtxGetState, *active = 0)
CALL(cuCtxSetCurrent, current = context)
CALL(cuCtxGetCurrent, *context = current)
CALL(cuCtxGetDevice, *device = (CUdevice)((char *)(void *)current - contexts))
CALL(cuCtxSynchronize, )
CALL(cuMemAddressReserve, *address = next_address(bytes))
CALL(cuMemAddressFree, )
CALL(cuMemCreate, *handle = 1)
CALL(cuMemRelease, )
CALL(cuMemMap, )
CALL(cuMemUnmap, )
CALL(cuMemSetAccess, )
CALL(cuMemGetAllocationGranularity, *granularity = (size_t)2 << 20)
CALL(cuMemImportFromShareableHandle, )
CALL(cuMemAlloc_v2, *address = next_address(bytes))
CALL(cuMemFree_v2, )
