/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_FUNCTIONS_H
#define REKINDLE_SIMCUDA_FUNCTIONS_H

#include "driver/cuda_prototypes.h"

/*
 * What a call needs before it may run:
 * QUERY: nothing; works before cuInit and while the process is locked.
 * DRIVER: cuInit, and it waits at the gate while the process is locked.
 * WORK: DRIVER, and it fails where the current context's device is broken (simcuda.h), as do the next two.
 * CONTEXT: DRIVER and a current context.
 * STREAM: DRIVER, and an injected delay is spent on the stream instead of in the caller. The default stream needs a
 * current context, other streams have theirs.
 */
enum call_kind { CALL_QUERY, CALL_DRIVER, CALL_WORK, CALL_CONTEXT, CALL_STREAM };

/*
 * Every function of the simulated driver: the name that applications ask cuGetProcAddress for, the exported symbol, the
 * first CUDA version that has this variant, what it needs, and the arguments. A later variant of a name follows
 * the earlier one.
 */
#define SIMCUDA_FUNCTIONS(FUNCTION)                                                                                 \
	FUNCTION(cuInit, cuInit, 2000, QUERY, (flags))                                                              \
	FUNCTION(cuDriverGetVersion, cuDriverGetVersion, 2020, QUERY, (version))                                    \
	FUNCTION(cuGetErrorName, cuGetErrorName, 6000, QUERY, (error, name))                                        \
	FUNCTION(cuGetErrorString, cuGetErrorString, 6000, QUERY, (error, text))                                    \
	FUNCTION(cuGetProcAddress, cuGetProcAddress, 11030, QUERY, (symbol, function, version, flags))              \
	FUNCTION(cuGetProcAddress, cuGetProcAddress_v2, 12000, QUERY, (symbol, function, version, flags, status))   \
	FUNCTION(cuDeviceGetCount, cuDeviceGetCount, 2000, DRIVER, (count))                                         \
	FUNCTION(cuDeviceGet, cuDeviceGet, 2000, DRIVER, (device, ordinal))                                         \
	FUNCTION(cuDeviceGetName, cuDeviceGetName, 2000, DRIVER, (name, length, device))                            \
	FUNCTION(cuDeviceGetUuid, cuDeviceGetUuid, 9020, DRIVER, (uuid, device))                                    \
	FUNCTION(cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040, DRIVER, (uuid, device))                                \
	FUNCTION(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020, DRIVER, (bytes, device))                              \
	FUNCTION(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, DRIVER, (value, attribute, device))              \
	FUNCTION(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, DRIVER, (id, length, device))                      \
	FUNCTION(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000, DRIVER, (can, device, peer))                   \
	FUNCTION(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, DRIVER, (context, device))               \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease, 7000, DRIVER, (device))                      \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, DRIVER, (device))                  \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset, 7000, DRIVER, (device))                          \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000, DRIVER, (device))                      \
	FUNCTION(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, 11000, DRIVER, (device, flags))         \
	FUNCTION(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, DRIVER, (device, flags, active))     \
	FUNCTION(cuCtxCreate, cuCtxCreate_v2, 3020, DRIVER, (context, flags, device))                               \
	FUNCTION(cuCtxCreate, cuCtxCreate_v3, 11040, DRIVER, (context, parameters, count, flags, device))           \
	FUNCTION(cuCtxCreate, cuCtxCreate_v4, 12050, DRIVER, (context, parameters, flags, device))                  \
	FUNCTION(cuCtxDestroy, cuCtxDestroy, 2000, DRIVER, (context))                                               \
	FUNCTION(cuCtxDestroy, cuCtxDestroy_v2, 4000, DRIVER, (context))                                            \
	FUNCTION(cuCtxAttach, cuCtxAttach, 2000, CONTEXT, (context, flags))                                         \
	FUNCTION(cuCtxDetach, cuCtxDetach, 2000, CONTEXT, (context))                                                \
	FUNCTION(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, 4000, CONTEXT, (peer, flags))                        \
	FUNCTION(cuCtxDisablePeerAccess, cuCtxDisablePeerAccess, 4000, CONTEXT, (peer))                             \
	FUNCTION(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, DRIVER, (context))                                    \
	FUNCTION(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, DRIVER, (context))                                      \
	FUNCTION(cuCtxSetCurrent, cuCtxSetCurrent, 4000, DRIVER, (context))                                         \
	FUNCTION(cuCtxGetCurrent, cuCtxGetCurrent, 4000, DRIVER, (context))                                         \
	FUNCTION(cuCtxGetDevice, cuCtxGetDevice, 2000, CONTEXT, (device))                                           \
	FUNCTION(cuCtxGetDevice, cuCtxGetDevice_v2, 13000, DRIVER, (device, context))                               \
	FUNCTION(cuCtxSynchronize, cuCtxSynchronize, 2000, CONTEXT, ())                                             \
	FUNCTION(cuCtxSynchronize, cuCtxSynchronize_v2, 13000, DRIVER, (context))                                   \
	FUNCTION(cuCtxGetFlags, cuCtxGetFlags, 7000, CONTEXT, (flags))                                              \
	FUNCTION(cuCtxGetApiVersion, cuCtxGetApiVersion, 3020, DRIVER, (context, version))                          \
	FUNCTION(cuMemGetInfo, cuMemGetInfo_v2, 3020, CONTEXT, (free_bytes, total_bytes))                           \
	FUNCTION(cuMemAlloc, cuMemAlloc_v2, 3020, CONTEXT, (address, bytes))                                        \
	FUNCTION(cuMemAllocPitch, cuMemAllocPitch_v2, 3020, CONTEXT, (address, pitch, width, height, element))      \
	FUNCTION(cuMemFree, cuMemFree_v2, 3020, WORK, (address))                                                    \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync, 11020, WORK, (address, stream))                                    \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync_ptsz, 11020, WORK, (address, stream))                               \
	FUNCTION(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, CONTEXT, (base, bytes, address))              \
	FUNCTION(cuMemAllocHost, cuMemAllocHost_v2, 3020, CONTEXT, (pointer, bytes))                                \
	FUNCTION(cuMemFreeHost, cuMemFreeHost, 2000, CONTEXT, (pointer))                                            \
	FUNCTION(cuMemHostAlloc, cuMemHostAlloc, 2020, CONTEXT, (pointer, bytes, flags))                            \
	FUNCTION(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, 3020, CONTEXT, (address, pointer, flags)) \
	FUNCTION(cuMemHostGetFlags, cuMemHostGetFlags, 2030, CONTEXT, (flags, pointer))                             \
	FUNCTION(cuMemHostRegister, cuMemHostRegister_v2, 4000, CONTEXT, (pointer, bytes, flags))                   \
	FUNCTION(cuMemHostUnregister, cuMemHostUnregister, 4000, CONTEXT, (pointer))                                \
	FUNCTION(cuMemcpy, cuMemcpy, 4000, CONTEXT, (destination, source, bytes))                                   \
	FUNCTION(cuMemcpyAsync, cuMemcpyAsync, 4000, STREAM, (destination, source, bytes, stream))                  \
	FUNCTION(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020, CONTEXT, (destination, source, bytes))                        \
	FUNCTION(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, CONTEXT, (destination, source, bytes))                        \
	FUNCTION(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020, CONTEXT, (destination, source, bytes))                        \
	FUNCTION(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020, STREAM, (destination, source, bytes, stream))       \
	FUNCTION(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020, STREAM, (destination, source, bytes, stream))       \
	FUNCTION(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020, STREAM, (destination, source, bytes, stream))       \
	FUNCTION(cuMemsetD8, cuMemsetD8_v2, 3020, CONTEXT, (destination, value, count))                             \
	FUNCTION(cuMemsetD16, cuMemsetD16_v2, 3020, CONTEXT, (destination, value, count))                           \
	FUNCTION(cuMemsetD32, cuMemsetD32_v2, 3020, CONTEXT, (destination, value, count))                           \
	FUNCTION(cuMemsetD8Async, cuMemsetD8Async, 3020, STREAM, (destination, value, count, stream))               \
	FUNCTION(cuMemsetD16Async, cuMemsetD16Async, 3020, STREAM, (destination, value, count, stream))             \
	FUNCTION(cuMemsetD32Async, cuMemsetD32Async, 3020, STREAM, (destination, value, count, stream))             \
	FUNCTION(cuStreamCreate, cuStreamCreate, 2000, CONTEXT, (stream, flags))                                    \
	FUNCTION(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, CONTEXT, (stream, flags, priority))  \
	FUNCTION(cuStreamDestroy, cuStreamDestroy_v2, 4000, WORK, (stream))                                         \
	FUNCTION(cuStreamSynchronize, cuStreamSynchronize, 2000, WORK, (stream))                                    \
	FUNCTION(cuStreamQuery, cuStreamQuery, 2000, WORK, (stream))                                                \
	FUNCTION(cuStreamWaitEvent, cuStreamWaitEvent, 3020, STREAM, (stream, event, flags))                        \
	FUNCTION(cuStreamGetFlags, cuStreamGetFlags, 5050, DRIVER, (stream, flags))                                 \
	FUNCTION(cuStreamGetCtx, cuStreamGetCtx, 9020, DRIVER, (stream, context))                                   \
	FUNCTION(cuLaunchHostFunc, cuLaunchHostFunc, 10000, STREAM, (stream, function, data))                       \
	FUNCTION(cuModuleLoadData, cuModuleLoadData, 2000, CONTEXT, (module, image))                                \
	FUNCTION(cuModuleUnload, cuModuleUnload, 2000, CONTEXT, (module))                                           \
	FUNCTION(cuModuleGetFunction, cuModuleGetFunction, 2000, CONTEXT, (function, module, name))                 \
	FUNCTION(cuLaunchKernel, cuLaunchKernel, 4000, STREAM,                                                      \
		 (function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, parameters,    \
		  extra))                                                                                           \
	FUNCTION(cuEventCreate, cuEventCreate, 2000, CONTEXT, (event, flags))                                       \
	FUNCTION(cuEventDestroy, cuEventDestroy_v2, 4000, DRIVER, (event))                                          \
	FUNCTION(cuEventRecord, cuEventRecord, 2000, STREAM, (event, stream))                                       \
	FUNCTION(cuEventQuery, cuEventQuery, 2000, WORK, (event))                                                   \
	FUNCTION(cuEventSynchronize, cuEventSynchronize, 2000, WORK, (event))                                       \
	FUNCTION(cuEventElapsedTime, cuEventElapsedTime, 2000, WORK, (milliseconds, start, end))                    \
	FUNCTION(cuEventElapsedTime, cuEventElapsedTime_v2, 12080, WORK, (milliseconds, start, end))                \
	FUNCTION(cuMemCreate, cuMemCreate, 10020, WORK, (handle, bytes, properties, flags))                         \
	FUNCTION(cuMemRelease, cuMemRelease, 10020, WORK, (handle))                                                 \
	FUNCTION(cuMemAddressReserve, cuMemAddressReserve, 10020, WORK, (address, bytes, alignment, hint, flags))   \
	FUNCTION(cuMemAddressFree, cuMemAddressFree, 10020, WORK, (address, bytes))                                 \
	FUNCTION(cuMemMap, cuMemMap, 10020, WORK, (address, bytes, offset, handle, flags))                          \
	FUNCTION(cuMemUnmap, cuMemUnmap, 10020, WORK, (address, bytes))                                             \
	FUNCTION(cuMemSetAccess, cuMemSetAccess, 10020, WORK, (address, bytes, access, count))                      \
	FUNCTION(cuMemGetAccess, cuMemGetAccess, 10020, WORK, (flags, location, address))                           \
	FUNCTION(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020, DRIVER,                       \
		 (granularity, properties, option))                                                                 \
	FUNCTION(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, WORK,                           \
		 (shareable, handle, type, flags))                                                                  \
	FUNCTION(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, WORK,                       \
		 (handle, shareable, type))                                                                         \
	FUNCTION(cuMemGetHandleForAddressRange, cuMemGetHandleForAddressRange, 11070, WORK,                         \
		 (handle, address, bytes, type, flags))                                                             \
	FUNCTION(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, WORK, (handle, address))          \
	FUNCTION(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020, DRIVER,     \
		 (properties, handle))                                                                              \
	FUNCTION(cuPointerGetAttribute, cuPointerGetAttribute, 4000, WORK, (data, attribute, pointer))              \
	FUNCTION(cuPointerGetAttributes, cuPointerGetAttributes, 7000, WORK, (count, attributes, data, pointer))    \
	FUNCTION(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, CONTEXT, (handle, address))                            \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle, 4010, CONTEXT, (address, handle, flags))                   \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 11000, CONTEXT, (address, handle, flags))               \
	FUNCTION(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, CONTEXT, (address))                                \
	FUNCTION(cuCheckpointProcessGetRestoreThreadId, cuCheckpointProcessGetRestoreThreadId, 12080, QUERY,        \
		 (pid, thread_id))                                                                                  \
	FUNCTION(cuCheckpointProcessGetState, cuCheckpointProcessGetState, 12080, QUERY, (pid, state))              \
	FUNCTION(cuCheckpointProcessLock, cuCheckpointProcessLock, 12080, QUERY, (pid, arguments))                  \
	FUNCTION(cuCheckpointProcessCheckpoint, cuCheckpointProcessCheckpoint, 12080, QUERY, (pid, arguments))      \
	FUNCTION(cuCheckpointProcessRestore, cuCheckpointProcessRestore, 12080, QUERY, (pid, arguments))            \
	FUNCTION(cuCheckpointProcessUnlock, cuCheckpointProcessUnlock, 12080, QUERY, (pid, arguments))

/* The implementation of each function, without gate, injection and checks of the caller's state. */
#define SIMCUDA_DECLARE(name, symbol, version, kind, arguments) CUresult simulated_##symbol PARAMETERS_##symbol;
SIMCUDA_FUNCTIONS(SIMCUDA_DECLARE)
#undef SIMCUDA_DECLARE

#endif
