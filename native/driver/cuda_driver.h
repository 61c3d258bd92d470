/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_DRIVER_CUDA_DRIVER_H
#define REKINDLE_DRIVER_CUDA_DRIVER_H

#include <stdbool.h>

#include "driver/cuda_prototypes.h"
#include "support/error_text.h"

/*
 * Every driver function that Rekindle itself calls: name, the symbol whose parameters it has, the API version to ask
 * cuGetProcAddress for (major * 1000 + minor * 10). Functions of CUDA_DRIVER_CHECKPOINT_FUNCTIONS exist since driver 570.
 */
#define CUDA_DRIVER_FUNCTIONS(FUNCTION)                                               \
	FUNCTION(cuInit, cuInit, 2000)                                                \
	FUNCTION(cuDriverGetVersion, cuDriverGetVersion, 2020)                        \
	FUNCTION(cuGetErrorName, cuGetErrorName, 6000)                                \
	FUNCTION(cuGetErrorString, cuGetErrorString, 6000)                            \
	FUNCTION(cuDeviceGetCount, cuDeviceGetCount, 2000)                            \
	FUNCTION(cuDeviceGet, cuDeviceGet, 2000)                                      \
	FUNCTION(cuDeviceGetName, cuDeviceGetName, 2000)                              \
	FUNCTION(cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040)                          \
	FUNCTION(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020)                         \
	FUNCTION(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000)                    \
	FUNCTION(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000)                  \
	FUNCTION(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000)            \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000)      \
	FUNCTION(cuCtxSetCurrent, cuCtxSetCurrent, 4000)                              \
	FUNCTION(cuCtxGetCurrent, cuCtxGetCurrent, 4000)                              \
	FUNCTION(cuCtxGetDevice, cuCtxGetDevice, 2000)                                \
	FUNCTION(cuCtxSynchronize, cuCtxSynchronize, 2000)                            \
	FUNCTION(cuMemGetInfo, cuMemGetInfo_v2, 3020)                                 \
	FUNCTION(cuMemAlloc, cuMemAlloc_v2, 3020)                                     \
	FUNCTION(cuMemFree, cuMemFree_v2, 3020)                                       \
	FUNCTION(cuMemHostAlloc, cuMemHostAlloc, 2020)                                \
	FUNCTION(cuMemFreeHost, cuMemFreeHost, 2000)                                  \
	FUNCTION(cuMemHostRegister, cuMemHostRegister_v2, 6050)                       \
	FUNCTION(cuMemHostUnregister, cuMemHostUnregister, 4000)                      \
	FUNCTION(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020)                                 \
	FUNCTION(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020)                                 \
	FUNCTION(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020)                                 \
	FUNCTION(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020)                       \
	FUNCTION(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020)                       \
	FUNCTION(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020)                       \
	FUNCTION(cuMemsetD8, cuMemsetD8_v2, 3020)                                     \
	FUNCTION(cuMemsetD8Async, cuMemsetD8Async, 3020)                              \
	FUNCTION(cuStreamCreate, cuStreamCreate, 2000)                                \
	FUNCTION(cuStreamDestroy, cuStreamDestroy_v2, 4000)                           \
	FUNCTION(cuStreamSynchronize, cuStreamSynchronize, 2000)                      \
	FUNCTION(cuStreamQuery, cuStreamQuery, 2000)                                  \
	FUNCTION(cuLaunchHostFunc, cuLaunchHostFunc, 10000)                           \
	FUNCTION(cuModuleLoadData, cuModuleLoadData, 2000)                            \
	FUNCTION(cuModuleUnload, cuModuleUnload, 2000)                                \
	FUNCTION(cuModuleGetFunction, cuModuleGetFunction, 2000)                      \
	FUNCTION(cuLaunchKernel, cuLaunchKernel, 4000)                                \
	FUNCTION(cuEventCreate, cuEventCreate, 2000)                                  \
	FUNCTION(cuEventDestroy, cuEventDestroy_v2, 4000)                             \
	FUNCTION(cuEventRecord, cuEventRecord, 2000)                                  \
	FUNCTION(cuEventQuery, cuEventQuery, 2000)                                    \
	FUNCTION(cuEventSynchronize, cuEventSynchronize, 2000)                        \
	FUNCTION(cuMemCreate, cuMemCreate, 10020)                                     \
	FUNCTION(cuMemRelease, cuMemRelease, 10020)                                   \
	FUNCTION(cuMemAddressReserve, cuMemAddressReserve, 10020)                     \
	FUNCTION(cuMemAddressFree, cuMemAddressFree, 10020)                           \
	FUNCTION(cuMemMap, cuMemMap, 10020)                                           \
	FUNCTION(cuMemUnmap, cuMemUnmap, 10020)                                       \
	FUNCTION(cuMemSetAccess, cuMemSetAccess, 10020)                               \
	FUNCTION(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020) \
	FUNCTION(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020)   \
	FUNCTION(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020)

#define CUDA_DRIVER_CHECKPOINT_FUNCTIONS(FUNCTION)                                                    \
	FUNCTION(cuCheckpointProcessGetRestoreThreadId, cuCheckpointProcessGetRestoreThreadId, 12080) \
	FUNCTION(cuCheckpointProcessGetState, cuCheckpointProcessGetState, 12080)                     \
	FUNCTION(cuCheckpointProcessLock, cuCheckpointProcessLock, 12080)                             \
	FUNCTION(cuCheckpointProcessCheckpoint, cuCheckpointProcessCheckpoint, 12080)                 \
	FUNCTION(cuCheckpointProcessRestore, cuCheckpointProcessRestore, 12080)                       \
	FUNCTION(cuCheckpointProcessUnlock, cuCheckpointProcessUnlock, 12080)

/* The driver, opened. Filled once by cuda_driver_open and only read after that, so any thread may use it. */
struct cuda_driver {
	void *library;	/* from dlopen; stays open for the life of the process */
	int version;	/* what cuDriverGetVersion says: 13000 is CUDA 13.0 */
	bool simulated; /* true for simcuda: say SIMULATED wherever a person sees it */
#define CUDA_DRIVER_MEMBER(name, symbol, version) CUresult(*name) PARAMETERS_##symbol;
	CUDA_DRIVER_FUNCTIONS(CUDA_DRIVER_MEMBER)
	CUDA_DRIVER_CHECKPOINT_FUNCTIONS(CUDA_DRIVER_MEMBER)
#undef CUDA_DRIVER_MEMBER
};

/*
 * Opens the driver library with dlopen and resolves every function with cuGetProcAddress. path: the library to open, or
 * NULL for libcuda.so.1 by the loader's search path. A simulated driver found under the default name is refused: it is
 * used only when path names it. Does not call cuInit. Returns 0; -ENOENT where no driver can be opened; -ENOSYS where it
 * lacks the checkpoint calls (older than 570), with its version and what is needed in the sentence.
 */
int cuda_driver_open(struct cuda_driver *driver, const char *path, struct error_text *error);

/* The driver's name of a result, such as CUDA_ERROR_OUT_OF_MEMORY. Never NULL. */
const char *cuda_result_name(const struct cuda_driver *driver, CUresult result);

/* The negative errno code that stands for a driver result in Rekindle's own functions: 0, -ENOMEM, -ENODEV, -EINVAL, -EIO ... */
int cuda_result_to_errno(CUresult result);

#endif
