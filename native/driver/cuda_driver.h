/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_DRIVER_CUDA_DRIVER_H
#define REKINDLE_DRIVER_CUDA_DRIVER_H

#include <stdbool.h>

#include "driver/cuda_abi.h"
#include "support/error_text.h"

/*
 * Every driver function that Rekindle itself calls: result name, the API version to ask cuGetProcAddress for
 * (major * 1000 + minor * 10) and the parameters. Functions of CUDA_DRIVER_CHECKPOINT_FUNCTIONS exist since driver 570.
 */
#define CUDA_DRIVER_FUNCTIONS(FUNCTION)                                                                                \
	FUNCTION(cuInit, 2000, (unsigned int flags))                                                                   \
	FUNCTION(cuDriverGetVersion, 2020, (int *version))                                                             \
	FUNCTION(cuGetErrorName, 6000, (CUresult error, const char **name))                                            \
	FUNCTION(cuGetErrorString, 6000, (CUresult error, const char **text))                                          \
	FUNCTION(cuDeviceGetCount, 2000, (int *count))                                                                 \
	FUNCTION(cuDeviceGet, 2000, (CUdevice * device, int ordinal))                                                  \
	FUNCTION(cuDeviceGetName, 2000, (char *name, int length, CUdevice device))                                     \
	FUNCTION(cuDeviceGetUuid, 11040, (CUuuid * uuid, CUdevice device))                                             \
	FUNCTION(cuDeviceTotalMem, 3020, (size_t * bytes, CUdevice device))                                            \
	FUNCTION(cuDeviceGetAttribute, 2000, (int *value, CUdevice_attribute attribute, CUdevice device))              \
	FUNCTION(cuDevicePrimaryCtxRetain, 7000, (CUcontext * context, CUdevice device))                               \
	FUNCTION(cuDevicePrimaryCtxRelease, 11000, (CUdevice device))                                                  \
	FUNCTION(cuCtxSetCurrent, 4000, (CUcontext context))                                                           \
	FUNCTION(cuCtxGetCurrent, 4000, (CUcontext * context))                                                         \
	FUNCTION(cuCtxGetDevice, 2000, (CUdevice * device))                                                            \
	FUNCTION(cuCtxSynchronize, 2000, (void))                                                                       \
	FUNCTION(cuMemGetInfo, 3020, (size_t * free_bytes, size_t * total_bytes))                                      \
	FUNCTION(cuMemAlloc, 3020, (CUdeviceptr * address, size_t bytes))                                              \
	FUNCTION(cuMemFree, 3020, (CUdeviceptr address))                                                               \
	FUNCTION(cuMemHostAlloc, 2020, (void **pointer, size_t bytes, unsigned int flags))                             \
	FUNCTION(cuMemFreeHost, 2000, (void *pointer))                                                                 \
	FUNCTION(cuMemHostRegister, 6050, (void *pointer, size_t bytes, unsigned int flags))                           \
	FUNCTION(cuMemHostUnregister, 4000, (void *pointer))                                                           \
	FUNCTION(cuMemcpyHtoD, 3020, (CUdeviceptr destination, const void *source, size_t bytes))                      \
	FUNCTION(cuMemcpyDtoH, 3020, (void *destination, CUdeviceptr source, size_t bytes))                            \
	FUNCTION(cuMemcpyDtoD, 3020, (CUdeviceptr destination, CUdeviceptr source, size_t bytes))                      \
	FUNCTION(cuMemcpyHtoDAsync, 3020,                                                                              \
		 (CUdeviceptr destination, const void *source, size_t bytes, CUstream stream))                         \
	FUNCTION(cuMemcpyDtoHAsync, 3020, (void *destination, CUdeviceptr source, size_t bytes, CUstream stream))      \
	FUNCTION(cuMemsetD8, 3020, (CUdeviceptr destination, unsigned char value, size_t bytes))                       \
	FUNCTION(cuMemsetD8Async, 3020, (CUdeviceptr destination, unsigned char value, size_t bytes, CUstream stream)) \
	FUNCTION(cuStreamCreate, 2000, (CUstream * stream, unsigned int flags))                                        \
	FUNCTION(cuStreamDestroy, 4000, (CUstream stream))                                                             \
	FUNCTION(cuStreamSynchronize, 2000, (CUstream stream))                                                         \
	FUNCTION(cuStreamQuery, 2000, (CUstream stream))                                                               \
	FUNCTION(cuEventCreate, 2000, (CUevent * event, unsigned int flags))                                           \
	FUNCTION(cuEventDestroy, 4000, (CUevent event))                                                                \
	FUNCTION(cuEventRecord, 2000, (CUevent event, CUstream stream))                                                \
	FUNCTION(cuEventQuery, 2000, (CUevent event))                                                                  \
	FUNCTION(cuEventSynchronize, 2000, (CUevent event))                                                            \
	FUNCTION(cuMemCreate, 10020,                                                                                   \
		 (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *properties,          \
		  unsigned long long flags))                                                                           \
	FUNCTION(cuMemRelease, 10020, (CUmemGenericAllocationHandle handle))                                           \
	FUNCTION(cuMemAddressReserve, 10020,                                                                           \
		 (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags))  \
	FUNCTION(cuMemAddressFree, 10020, (CUdeviceptr address, size_t bytes))                                         \
	FUNCTION(cuMemMap, 10020,                                                                                      \
		 (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,               \
		  unsigned long long flags))                                                                           \
	FUNCTION(cuMemUnmap, 10020, (CUdeviceptr address, size_t bytes))                                               \
	FUNCTION(cuMemSetAccess, 10020,                                                                                \
		 (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count))                     \
	FUNCTION(cuMemGetAllocationGranularity, 10020,                                                                 \
		 (size_t * granularity, const CUmemAllocationProp *properties, int option))                            \
	FUNCTION(cuMemExportToShareableHandle, 10020,                                                                  \
		 (void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags))           \
	FUNCTION(cuMemImportFromShareableHandle, 10020,                                                                \
		 (CUmemGenericAllocationHandle * handle, void *shareable, int type))

#define CUDA_DRIVER_CHECKPOINT_FUNCTIONS(FUNCTION)                                                       \
	FUNCTION(cuCheckpointProcessGetRestoreThreadId, 12080, (int pid, int *thread_id))                \
	FUNCTION(cuCheckpointProcessGetState, 12080, (int pid, CUprocessState *state))                   \
	FUNCTION(cuCheckpointProcessLock, 12080, (int pid, CUcheckpointLockArgs *arguments))             \
	FUNCTION(cuCheckpointProcessCheckpoint, 12080, (int pid, CUcheckpointCheckpointArgs *arguments)) \
	FUNCTION(cuCheckpointProcessRestore, 12080, (int pid, CUcheckpointRestoreArgs *arguments))       \
	FUNCTION(cuCheckpointProcessUnlock, 12080, (int pid, CUcheckpointUnlockArgs *arguments))

/* The driver, opened. Filled once by cuda_driver_open and only read after that, so any thread may use it. */
struct cuda_driver {
	void *library;	/* from dlopen; stays open for the life of the process */
	int version;	/* what cuDriverGetVersion says: 13000 is CUDA 13.0 */
	bool simulated; /* true for simcuda: say SIMULATED wherever a person sees it */
#define CUDA_DRIVER_MEMBER(name, version, parameters) CUresult(*name) parameters;
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
