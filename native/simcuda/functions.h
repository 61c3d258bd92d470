/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_FUNCTIONS_H
#define REKINDLE_SIMCUDA_FUNCTIONS_H

#include "driver/cuda_abi.h"

/*
 * What a call needs before it may run:
 * QUERY: nothing; works before cuInit and while the process is locked.
 * DRIVER: cuInit, and it waits at the gate while the process is locked.
 * CONTEXT: DRIVER and a current context.
 * STREAM: DRIVER, and an injected delay is spent on the stream instead of in the caller. The default stream needs a
 * current context, other streams have theirs.
 */
enum call_kind { CALL_QUERY, CALL_DRIVER, CALL_CONTEXT, CALL_STREAM };

/*
 * Every function of the simulated driver: the name that applications ask cuGetProcAddress for, the exported symbol, the
 * first CUDA version that has this variant, what it needs, parameters and arguments. A later variant of a name follows
 * the earlier one.
 */
#define SIMCUDA_FUNCTIONS(FUNCTION)                                                                                    \
	FUNCTION(cuInit, cuInit, 2000, QUERY, (unsigned int flags), (flags))                                           \
	FUNCTION(cuDriverGetVersion, cuDriverGetVersion, 2020, QUERY, (int *version), (version))                       \
	FUNCTION(cuGetErrorName, cuGetErrorName, 6000, QUERY, (CUresult error, const char **name), (error, name))      \
	FUNCTION(cuGetErrorString, cuGetErrorString, 6000, QUERY, (CUresult error, const char **text), (error, text))  \
	FUNCTION(cuGetProcAddress, cuGetProcAddress, 11030, QUERY,                                                     \
		 (const char *symbol, void **function, int version, uint64_t flags),                                   \
		 (symbol, function, version, flags))                                                                   \
	FUNCTION(cuGetProcAddress, cuGetProcAddress_v2, 12000, QUERY,                                                  \
		 (const char *symbol, void **function, int version, uint64_t flags,                                    \
		  CUdriverProcAddressQueryResult *status),                                                             \
		 (symbol, function, version, flags, status))                                                           \
	FUNCTION(cuDeviceGetCount, cuDeviceGetCount, 2000, DRIVER, (int *count), (count))                              \
	FUNCTION(cuDeviceGet, cuDeviceGet, 2000, DRIVER, (CUdevice * device, int ordinal), (device, ordinal))          \
	FUNCTION(cuDeviceGetName, cuDeviceGetName, 2000, DRIVER, (char *name, int length, CUdevice device),            \
		 (name, length, device))                                                                               \
	FUNCTION(cuDeviceGetUuid, cuDeviceGetUuid, 9020, DRIVER, (CUuuid * uuid, CUdevice device), (uuid, device))     \
	FUNCTION(cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040, DRIVER, (CUuuid * uuid, CUdevice device), (uuid, device)) \
	FUNCTION(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020, DRIVER, (size_t * bytes, CUdevice device),               \
		 (bytes, device))                                                                                      \
	FUNCTION(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, DRIVER,                                             \
		 (int *value, CUdevice_attribute attribute, CUdevice device), (value, attribute, device))              \
	FUNCTION(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, DRIVER, (char *id, int length, CUdevice device),      \
		 (id, length, device))                                                                                 \
	FUNCTION(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000, DRIVER,                                           \
		 (int *can, CUdevice device, CUdevice peer), (can, device, peer))                                      \
	FUNCTION(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, DRIVER,                                     \
		 (CUcontext * context, CUdevice device), (context, device))                                            \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 7000, DRIVER, (CUdevice device), (device))   \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 7000, DRIVER, (CUdevice device), (device))       \
	FUNCTION(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, 7000, DRIVER,                              \
		 (CUdevice device, unsigned int flags), (device, flags))                                               \
	FUNCTION(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, DRIVER,                                 \
		 (CUdevice device, unsigned int *flags, int *active), (device, flags, active))                         \
	FUNCTION(cuCtxCreate, cuCtxCreate_v2, 3020, DRIVER,                                                            \
		 (CUcontext * context, unsigned int flags, CUdevice device), (context, flags, device))                 \
	FUNCTION(cuCtxCreate, cuCtxCreate_v3, 11040, DRIVER,                                                           \
		 (CUcontext * context, CUexecAffinityParam * parameters, int count, unsigned int flags,                \
		  CUdevice device),                                                                                    \
		 (context, parameters, count, flags, device))                                                          \
	FUNCTION(cuCtxCreate, cuCtxCreate_v4, 12050, DRIVER,                                                           \
		 (CUcontext * context, CUctxCreateParams * parameters, unsigned int flags, CUdevice device),           \
		 (context, parameters, flags, device))                                                                 \
	FUNCTION(cuCtxDestroy, cuCtxDestroy_v2, 4000, DRIVER, (CUcontext context), (context))                          \
	FUNCTION(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, DRIVER, (CUcontext context), (context))                  \
	FUNCTION(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, DRIVER, (CUcontext * context), (context))                  \
	FUNCTION(cuCtxSetCurrent, cuCtxSetCurrent, 4000, DRIVER, (CUcontext context), (context))                       \
	FUNCTION(cuCtxGetCurrent, cuCtxGetCurrent, 4000, DRIVER, (CUcontext * context), (context))                     \
	FUNCTION(cuCtxGetDevice, cuCtxGetDevice, 2000, CONTEXT, (CUdevice * device), (device))                         \
	FUNCTION(cuCtxGetDevice, cuCtxGetDevice_v2, 13000, DRIVER, (CUdevice * device, CUcontext context),             \
		 (device, context))                                                                                    \
	FUNCTION(cuCtxSynchronize, cuCtxSynchronize, 2000, CONTEXT, (void), ())                                        \
	FUNCTION(cuCtxSynchronize, cuCtxSynchronize_v2, 13000, DRIVER, (CUcontext context), (context))                 \
	FUNCTION(cuCtxGetFlags, cuCtxGetFlags, 7000, CONTEXT, (unsigned int *flags), (flags))                          \
	FUNCTION(cuCtxGetApiVersion, cuCtxGetApiVersion, 3020, DRIVER, (CUcontext context, unsigned int *version),     \
		 (context, version))                                                                                   \
	FUNCTION(cuMemGetInfo, cuMemGetInfo_v2, 3020, CONTEXT, (size_t * free_bytes, size_t * total_bytes),            \
		 (free_bytes, total_bytes))                                                                            \
	FUNCTION(cuMemAlloc, cuMemAlloc_v2, 3020, CONTEXT, (CUdeviceptr * address, size_t bytes), (address, bytes))    \
	FUNCTION(cuMemAllocPitch, cuMemAllocPitch_v2, 3020, CONTEXT,                                                   \
		 (CUdeviceptr * address, size_t * pitch, size_t width, size_t height, unsigned int element),           \
		 (address, pitch, width, height, element))                                                             \
	FUNCTION(cuMemFree, cuMemFree_v2, 3020, DRIVER, (CUdeviceptr address), (address))                              \
	FUNCTION(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, CONTEXT,                                         \
		 (CUdeviceptr * base, size_t * bytes, CUdeviceptr address), (base, bytes, address))                    \
	FUNCTION(cuMemAllocHost, cuMemAllocHost_v2, 3020, CONTEXT, (void **pointer, size_t bytes), (pointer, bytes))   \
	FUNCTION(cuMemFreeHost, cuMemFreeHost, 2000, CONTEXT, (void *pointer), (pointer))                              \
	FUNCTION(cuMemHostAlloc, cuMemHostAlloc, 2020, CONTEXT, (void **pointer, size_t bytes, unsigned int flags),    \
		 (pointer, bytes, flags))                                                                              \
	FUNCTION(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, 3020, CONTEXT,                               \
		 (CUdeviceptr * address, void *pointer, unsigned int flags), (address, pointer, flags))                \
	FUNCTION(cuMemHostGetFlags, cuMemHostGetFlags, 2030, CONTEXT, (unsigned int *flags, void *pointer),            \
		 (flags, pointer))                                                                                     \
	FUNCTION(cuMemHostRegister, cuMemHostRegister_v2, 4000, CONTEXT,                                               \
		 (void *pointer, size_t bytes, unsigned int flags), (pointer, bytes, flags))                           \
	FUNCTION(cuMemHostUnregister, cuMemHostUnregister, 4000, CONTEXT, (void *pointer), (pointer))                  \
	FUNCTION(cuMemcpy, cuMemcpy, 4000, CONTEXT, (CUdeviceptr destination, CUdeviceptr source, size_t bytes),       \
		 (destination, source, bytes))                                                                         \
	FUNCTION(cuMemcpyAsync, cuMemcpyAsync, 4000, STREAM,                                                           \
		 (CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream),                         \
		 (destination, source, bytes, stream))                                                                 \
	FUNCTION(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020, CONTEXT,                                                         \
		 (CUdeviceptr destination, const void *source, size_t bytes), (destination, source, bytes))            \
	FUNCTION(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, CONTEXT, (void *destination, CUdeviceptr source, size_t bytes),  \
		 (destination, source, bytes))                                                                         \
	FUNCTION(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020, CONTEXT,                                                         \
		 (CUdeviceptr destination, CUdeviceptr source, size_t bytes), (destination, source, bytes))            \
	FUNCTION(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020, STREAM,                                                \
		 (CUdeviceptr destination, const void *source, size_t bytes, CUstream stream),                         \
		 (destination, source, bytes, stream))                                                                 \
	FUNCTION(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020, STREAM,                                                \
		 (void *destination, CUdeviceptr source, size_t bytes, CUstream stream),                               \
		 (destination, source, bytes, stream))                                                                 \
	FUNCTION(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020, STREAM,                                                \
		 (CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream),                         \
		 (destination, source, bytes, stream))                                                                 \
	FUNCTION(cuMemsetD8, cuMemsetD8_v2, 3020, CONTEXT,                                                             \
		 (CUdeviceptr destination, unsigned char value, size_t count), (destination, value, count))            \
	FUNCTION(cuMemsetD16, cuMemsetD16_v2, 3020, CONTEXT,                                                           \
		 (CUdeviceptr destination, unsigned short value, size_t count), (destination, value, count))           \
	FUNCTION(cuMemsetD32, cuMemsetD32_v2, 3020, CONTEXT,                                                           \
		 (CUdeviceptr destination, unsigned int value, size_t count), (destination, value, count))             \
	FUNCTION(cuMemsetD8Async, cuMemsetD8Async, 3020, STREAM,                                                       \
		 (CUdeviceptr destination, unsigned char value, size_t count, CUstream stream),                        \
		 (destination, value, count, stream))                                                                  \
	FUNCTION(cuMemsetD16Async, cuMemsetD16Async, 3020, STREAM,                                                     \
		 (CUdeviceptr destination, unsigned short value, size_t count, CUstream stream),                       \
		 (destination, value, count, stream))                                                                  \
	FUNCTION(cuMemsetD32Async, cuMemsetD32Async, 3020, STREAM,                                                     \
		 (CUdeviceptr destination, unsigned int value, size_t count, CUstream stream),                         \
		 (destination, value, count, stream))                                                                  \
	FUNCTION(cuStreamCreate, cuStreamCreate, 2000, CONTEXT, (CUstream * stream, unsigned int flags),               \
		 (stream, flags))                                                                                      \
	FUNCTION(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, CONTEXT,                                \
		 (CUstream * stream, unsigned int flags, int priority), (stream, flags, priority))                     \
	FUNCTION(cuStreamDestroy, cuStreamDestroy_v2, 4000, DRIVER, (CUstream stream), (stream))                       \
	FUNCTION(cuStreamSynchronize, cuStreamSynchronize, 2000, DRIVER, (CUstream stream), (stream))                  \
	FUNCTION(cuStreamQuery, cuStreamQuery, 2000, DRIVER, (CUstream stream), (stream))                              \
	FUNCTION(cuStreamWaitEvent, cuStreamWaitEvent, 3020, STREAM,                                                   \
		 (CUstream stream, CUevent event, unsigned int flags), (stream, event, flags))                         \
	FUNCTION(cuStreamGetFlags, cuStreamGetFlags, 5050, DRIVER, (CUstream stream, unsigned int *flags),             \
		 (stream, flags))                                                                                      \
	FUNCTION(cuStreamGetCtx, cuStreamGetCtx, 9020, DRIVER, (CUstream stream, CUcontext * context),                 \
		 (stream, context))                                                                                    \
	FUNCTION(cuLaunchHostFunc, cuLaunchHostFunc, 10000, STREAM, (CUstream stream, CUhostFn function, void *data),  \
		 (stream, function, data))                                                                             \
	FUNCTION(cuEventCreate, cuEventCreate, 2000, CONTEXT, (CUevent * event, unsigned int flags), (event, flags))   \
	FUNCTION(cuEventDestroy, cuEventDestroy_v2, 4000, DRIVER, (CUevent event), (event))                            \
	FUNCTION(cuEventRecord, cuEventRecord, 2000, STREAM, (CUevent event, CUstream stream), (event, stream))        \
	FUNCTION(cuEventQuery, cuEventQuery, 2000, DRIVER, (CUevent event), (event))                                   \
	FUNCTION(cuEventSynchronize, cuEventSynchronize, 2000, DRIVER, (CUevent event), (event))                       \
	FUNCTION(cuEventElapsedTime, cuEventElapsedTime, 2000, DRIVER,                                                 \
		 (float *milliseconds, CUevent start, CUevent end), (milliseconds, start, end))                        \
	FUNCTION(cuEventElapsedTime, cuEventElapsedTime_v2, 12080, DRIVER,                                             \
		 (float *milliseconds, CUevent start, CUevent end), (milliseconds, start, end))                        \
	FUNCTION(cuMemCreate, cuMemCreate, 10020, DRIVER,                                                              \
		 (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *properties,          \
		  unsigned long long flags),                                                                           \
		 (handle, bytes, properties, flags))                                                                   \
	FUNCTION(cuMemRelease, cuMemRelease, 10020, DRIVER, (CUmemGenericAllocationHandle handle), (handle))           \
	FUNCTION(cuMemAddressReserve, cuMemAddressReserve, 10020, DRIVER,                                              \
		 (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags),  \
		 (address, bytes, alignment, hint, flags))                                                             \
	FUNCTION(cuMemAddressFree, cuMemAddressFree, 10020, DRIVER, (CUdeviceptr address, size_t bytes),               \
		 (address, bytes))                                                                                     \
	FUNCTION(cuMemMap, cuMemMap, 10020, DRIVER,                                                                    \
		 (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,               \
		  unsigned long long flags),                                                                           \
		 (address, bytes, offset, handle, flags))                                                              \
	FUNCTION(cuMemUnmap, cuMemUnmap, 10020, DRIVER, (CUdeviceptr address, size_t bytes), (address, bytes))         \
	FUNCTION(cuMemSetAccess, cuMemSetAccess, 10020, DRIVER,                                                        \
		 (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count),                     \
		 (address, bytes, access, count))                                                                      \
	FUNCTION(cuMemGetAccess, cuMemGetAccess, 10020, DRIVER,                                                        \
		 (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address),                      \
		 (flags, location, address))                                                                           \
	FUNCTION(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020, DRIVER,                          \
		 (size_t * granularity, const CUmemAllocationProp *properties, int option),                            \
		 (granularity, properties, option))                                                                    \
	FUNCTION(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, DRIVER,                            \
		 (void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags),           \
		 (shareable, handle, type, flags))                                                                     \
	FUNCTION(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, DRIVER,                        \
		 (CUmemGenericAllocationHandle * handle, void *shareable, int type), (handle, shareable, type))        \
	FUNCTION(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, DRIVER,                              \
		 (CUmemGenericAllocationHandle * handle, void *address), (handle, address))                            \
	FUNCTION(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020, DRIVER,        \
		 (CUmemAllocationProp * properties, CUmemGenericAllocationHandle handle), (properties, handle))        \
	FUNCTION(cuPointerGetAttribute, cuPointerGetAttribute, 4000, DRIVER,                                           \
		 (void *data, CUpointer_attribute attribute, CUdeviceptr pointer), (data, attribute, pointer))         \
	FUNCTION(cuPointerGetAttributes, cuPointerGetAttributes, 7000, DRIVER,                                         \
		 (unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr pointer),              \
		 (count, attributes, data, pointer))                                                                   \
	FUNCTION(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, CONTEXT, (CUipcMemHandle * handle, CUdeviceptr address),  \
		 (handle, address))                                                                                    \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 4010, CONTEXT,                                             \
		 (CUdeviceptr * address, CUipcMemHandle handle, unsigned int flags), (address, handle, flags))         \
	FUNCTION(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, CONTEXT, (CUdeviceptr address), (address))            \
	FUNCTION(cuCheckpointProcessGetRestoreThreadId, cuCheckpointProcessGetRestoreThreadId, 12080, QUERY,           \
		 (int pid, int *thread_id), (pid, thread_id))                                                          \
	FUNCTION(cuCheckpointProcessGetState, cuCheckpointProcessGetState, 12080, QUERY,                               \
		 (int pid, CUprocessState *state), (pid, state))                                                       \
	FUNCTION(cuCheckpointProcessLock, cuCheckpointProcessLock, 12080, QUERY,                                       \
		 (int pid, CUcheckpointLockArgs *arguments), (pid, arguments))                                         \
	FUNCTION(cuCheckpointProcessCheckpoint, cuCheckpointProcessCheckpoint, 12080, QUERY,                           \
		 (int pid, CUcheckpointCheckpointArgs *arguments), (pid, arguments))                                   \
	FUNCTION(cuCheckpointProcessRestore, cuCheckpointProcessRestore, 12080, QUERY,                                 \
		 (int pid, CUcheckpointRestoreArgs *arguments), (pid, arguments))                                      \
	FUNCTION(cuCheckpointProcessUnlock, cuCheckpointProcessUnlock, 12080, QUERY,                                   \
		 (int pid, CUcheckpointUnlockArgs *arguments), (pid, arguments))

/* The implementation of each function, without gate, injection and checks of the caller's state. */
#define SIMCUDA_DECLARE(name, symbol, version, kind, parameters, arguments) CUresult simulated_##symbol parameters;
SIMCUDA_FUNCTIONS(SIMCUDA_DECLARE)
#undef SIMCUDA_DECLARE

#endif
