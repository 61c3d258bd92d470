/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_REAL_DRIVER_H
#define REKINDLE_AGENT_REAL_DRIVER_H

#include <stdbool.h>

#include "agent/interposed.h"
#include "driver/cuda_abi.h"

/* What the agent calls of the driver beyond what it interposes, by exported symbol. */
#define CALLED_FUNCTIONS(FUNCTION)                                                                                    \
	FUNCTION(cuDeviceGetCount, (int *count))                                                                      \
	FUNCTION(cuDeviceGetAttribute, (int *value, CUdevice_attribute attribute, CUdevice device))                   \
	FUNCTION(cuDeviceGetUuid_v2, (CUuuid * uuid, CUdevice device))                                                \
	FUNCTION(cuDeviceCanAccessPeer, (int *can, CUdevice device, CUdevice peer))                                   \
	FUNCTION(cuDevicePrimaryCtxGetState, (CUdevice device, unsigned int *flags, int *active))                     \
	FUNCTION(cuCtxGetCurrent, (CUcontext * context))                                                              \
	FUNCTION(cuCtxSetCurrent, (CUcontext context))                                                                \
	FUNCTION(cuCtxGetDevice, (CUdevice * device))                                                                 \
	FUNCTION(cuCtxSynchronize, (void))                                                                            \
	FUNCTION(cuStreamCreate, (CUstream * stream, unsigned int flags))                                             \
	FUNCTION(cuStreamSynchronize, (CUstream stream))                                                              \
	FUNCTION(cuStreamDestroy_v2, (CUstream stream))                                                               \
	FUNCTION(cuMemcpyDtoDAsync_v2, (CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream))  \
	FUNCTION(cuMemAddressReserve,                                                                                 \
		 (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags)) \
	FUNCTION(cuMemAddressFree, (CUdeviceptr address, size_t bytes))                                               \
	FUNCTION(cuMemGetAllocationGranularity,                                                                       \
		 (size_t * granularity, const CUmemAllocationProp *properties, int option))

/*
 * The driver's own functions. One that the driver lacks is there all the same and returns CUDA_ERROR_NOT_FOUND, as all
 * of them do while no driver is loaded.
 */
struct real_driver {
#define REAL_DRIVER_MEMBER(symbol, parameters) CUresult(*symbol) parameters;
#define REAL_DRIVER_INTERPOSED(name, symbol, version, per_thread, parameters) REAL_DRIVER_MEMBER(symbol, parameters)
	INTERPOSED_FUNCTIONS(REAL_DRIVER_INTERPOSED)
	CALLED_FUNCTIONS(REAL_DRIVER_MEMBER)
#undef REAL_DRIVER_INTERPOSED
#undef REAL_DRIVER_MEMBER
	bool loaded;
	bool has_virtual_memory;
};

/* Never NULL. Finds a driver that the process has loaded by now; loads none. */
const struct real_driver *real_driver(void);

/* The driver's address of a symbol that the agent interposes, NULL where it has none. */
void *real_driver_symbol(const char *symbol);

/* libc's dlsym. Valid once the agent's own dlsym was called, or after real_dlsym_find. */
extern void *(*real_dlsym)(void *handle, const char *symbol);
void real_dlsym_find(void);

/* In a forked child: another thread of the parent may have held the lock. */
void real_driver_after_fork(void);

#endif
