/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_DRIVER_CUDA_PROTOTYPES_H
#define REKINDLE_DRIVER_CUDA_PROTOTYPES_H

#include "driver/cuda_abi.h"

/*
 * The parameters of the driver's functions, by exported symbol, once. Who calls, interposes or simulates some of them has a
 * list that names these: CUDA_DRIVER_FUNCTIONS (cuda_driver.h), INTERPOSED_FUNCTIONS and CALLED_FUNCTIONS (agent/interpose),
 * SIMCUDA_FUNCTIONS (simcuda/functions.h).
 */

#define PARAMETERS_cuInit (unsigned int flags)
#define PARAMETERS_cuDriverGetVersion (int *version)
#define PARAMETERS_cuGetErrorName (CUresult error, const char **name)
#define PARAMETERS_cuGetErrorString (CUresult error, const char **text)
#define PARAMETERS_cuGetProcAddress (const char *symbol, void **function, int version, uint64_t flags)
#define PARAMETERS_cuGetProcAddress_v2 \
	(const char *symbol, void **function, int version, uint64_t flags, CUdriverProcAddressQueryResult *status)
#define PARAMETERS_cuDeviceGetCount (int *count)
#define PARAMETERS_cuDeviceGet (CUdevice * device, int ordinal)
#define PARAMETERS_cuDeviceGetName (char *name, int length, CUdevice device)
#define PARAMETERS_cuDeviceGetUuid (CUuuid * uuid, CUdevice device)
#define PARAMETERS_cuDeviceGetUuid_v2 (CUuuid * uuid, CUdevice device)
#define PARAMETERS_cuDeviceTotalMem_v2 (size_t *bytes, CUdevice device)
#define PARAMETERS_cuDeviceGetAttribute (int *value, CUdevice_attribute attribute, CUdevice device)
#define PARAMETERS_cuDeviceGetPCIBusId (char *id, int length, CUdevice device)
#define PARAMETERS_cuDeviceCanAccessPeer (int *can, CUdevice device, CUdevice peer)
#define PARAMETERS_cuDevicePrimaryCtxRetain (CUcontext * context, CUdevice device)
#define PARAMETERS_cuDevicePrimaryCtxRelease (CUdevice device)
#define PARAMETERS_cuDevicePrimaryCtxRelease_v2 (CUdevice device)
#define PARAMETERS_cuDevicePrimaryCtxReset (CUdevice device)
#define PARAMETERS_cuDevicePrimaryCtxReset_v2 (CUdevice device)
#define PARAMETERS_cuDevicePrimaryCtxSetFlags_v2 (CUdevice device, unsigned int flags)
#define PARAMETERS_cuDevicePrimaryCtxGetState (CUdevice device, unsigned int *flags, int *active)
#define PARAMETERS_cuCtxCreate_v2 (CUcontext * context, unsigned int flags, CUdevice device)
#define PARAMETERS_cuCtxCreate_v3 \
	(CUcontext * context, CUexecAffinityParam * parameters, int count, unsigned int flags, CUdevice device)
#define PARAMETERS_cuCtxCreate_v4 \
	(CUcontext * context, CUctxCreateParams * parameters, unsigned int flags, CUdevice device)
#define PARAMETERS_cuCtxDestroy (CUcontext context)
#define PARAMETERS_cuCtxDestroy_v2 (CUcontext context)
#define PARAMETERS_cuCtxAttach (CUcontext * context, unsigned int flags)
#define PARAMETERS_cuCtxDetach (CUcontext context)
#define PARAMETERS_cuCtxEnablePeerAccess (CUcontext peer, unsigned int flags)
#define PARAMETERS_cuCtxDisablePeerAccess (CUcontext peer)
#define PARAMETERS_cuCtxPushCurrent_v2 (CUcontext context)
#define PARAMETERS_cuCtxPopCurrent_v2 (CUcontext * context)
#define PARAMETERS_cuCtxSetCurrent (CUcontext context)
#define PARAMETERS_cuCtxGetCurrent (CUcontext * context)
#define PARAMETERS_cuCtxGetDevice (CUdevice * device)
#define PARAMETERS_cuCtxGetDevice_v2 (CUdevice * device, CUcontext context)
#define PARAMETERS_cuCtxSynchronize (void)
#define PARAMETERS_cuCtxSynchronize_v2 (CUcontext context)
#define PARAMETERS_cuCtxGetFlags (unsigned int *flags)
#define PARAMETERS_cuCtxGetApiVersion (CUcontext context, unsigned int *version)
#define PARAMETERS_cuMemGetInfo_v2 (size_t *free_bytes, size_t *total_bytes)
#define PARAMETERS_cuMemAlloc_v2 (CUdeviceptr * address, size_t bytes)
#define PARAMETERS_cuMemAllocPitch_v2 \
	(CUdeviceptr * address, size_t *pitch, size_t width, size_t height, unsigned int element)
#define PARAMETERS_cuMemFree_v2 (CUdeviceptr address)
#define PARAMETERS_cuMemFreeAsync (CUdeviceptr address, CUstream stream)
#define PARAMETERS_cuMemFreeAsync_ptsz (CUdeviceptr address, CUstream stream)
#define PARAMETERS_cuMemGetAddressRange_v2 (CUdeviceptr * base, size_t *bytes, CUdeviceptr address)
#define PARAMETERS_cuMemAllocHost_v2 (void **pointer, size_t bytes)
#define PARAMETERS_cuMemFreeHost (void *pointer)
#define PARAMETERS_cuMemHostAlloc (void **pointer, size_t bytes, unsigned int flags)
#define PARAMETERS_cuMemHostGetDevicePointer_v2 (CUdeviceptr * address, void *pointer, unsigned int flags)
#define PARAMETERS_cuMemHostGetFlags (unsigned int *flags, void *pointer)
#define PARAMETERS_cuMemHostRegister_v2 (void *pointer, size_t bytes, unsigned int flags)
#define PARAMETERS_cuMemHostUnregister (void *pointer)
#define PARAMETERS_cuMemcpy (CUdeviceptr destination, CUdeviceptr source, size_t bytes)
#define PARAMETERS_cuMemcpyAsync (CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream)
#define PARAMETERS_cuMemcpyHtoD_v2 (CUdeviceptr destination, const void *source, size_t bytes)
#define PARAMETERS_cuMemcpyDtoH_v2 (void *destination, CUdeviceptr source, size_t bytes)
#define PARAMETERS_cuMemcpyDtoD_v2 (CUdeviceptr destination, CUdeviceptr source, size_t bytes)
#define PARAMETERS_cuMemcpyHtoDAsync_v2 (CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
#define PARAMETERS_cuMemcpyDtoHAsync_v2 (void *destination, CUdeviceptr source, size_t bytes, CUstream stream)
#define PARAMETERS_cuMemcpyDtoDAsync_v2 (CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream)
#define PARAMETERS_cuMemsetD8_v2 (CUdeviceptr destination, unsigned char value, size_t count)
#define PARAMETERS_cuMemsetD16_v2 (CUdeviceptr destination, unsigned short value, size_t count)
#define PARAMETERS_cuMemsetD32_v2 (CUdeviceptr destination, unsigned int value, size_t count)
#define PARAMETERS_cuMemsetD8Async (CUdeviceptr destination, unsigned char value, size_t count, CUstream stream)
#define PARAMETERS_cuMemsetD16Async (CUdeviceptr destination, unsigned short value, size_t count, CUstream stream)
#define PARAMETERS_cuMemsetD32Async (CUdeviceptr destination, unsigned int value, size_t count, CUstream stream)
#define PARAMETERS_cuStreamCreate (CUstream * stream, unsigned int flags)
#define PARAMETERS_cuStreamCreateWithPriority (CUstream * stream, unsigned int flags, int priority)
#define PARAMETERS_cuStreamDestroy_v2 (CUstream stream)
#define PARAMETERS_cuStreamSynchronize (CUstream stream)
#define PARAMETERS_cuStreamQuery (CUstream stream)
#define PARAMETERS_cuStreamWaitEvent (CUstream stream, CUevent event, unsigned int flags)
#define PARAMETERS_cuStreamGetFlags (CUstream stream, unsigned int *flags)
#define PARAMETERS_cuStreamGetCtx (CUstream stream, CUcontext * context)
#define PARAMETERS_cuLaunchHostFunc (CUstream stream, CUhostFn function, void *data)
#define PARAMETERS_cuModuleLoadData (CUmodule * module, const void *image)
#define PARAMETERS_cuModuleUnload (CUmodule module)
#define PARAMETERS_cuModuleGetFunction (CUfunction * function, CUmodule module, const char *name)
#define PARAMETERS_cuLaunchKernel                                                                                   \
	(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x,  \
	 unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **parameters, \
	 void **extra)
#define PARAMETERS_cuEventCreate (CUevent * event, unsigned int flags)
#define PARAMETERS_cuEventDestroy_v2 (CUevent event)
#define PARAMETERS_cuEventRecord (CUevent event, CUstream stream)
#define PARAMETERS_cuEventQuery (CUevent event)
#define PARAMETERS_cuEventSynchronize (CUevent event)
#define PARAMETERS_cuEventElapsedTime (float *milliseconds, CUevent start, CUevent end)
#define PARAMETERS_cuEventElapsedTime_v2 (float *milliseconds, CUevent start, CUevent end)
#define PARAMETERS_cuMemCreate                                                                       \
	(CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *properties, \
	 unsigned long long flags)
#define PARAMETERS_cuMemRelease (CUmemGenericAllocationHandle handle)
#define PARAMETERS_cuMemAddressReserve \
	(CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags)
#define PARAMETERS_cuMemAddressFree (CUdeviceptr address, size_t bytes)
#define PARAMETERS_cuMemMap                                                                     \
	(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, \
	 unsigned long long flags)
#define PARAMETERS_cuMemUnmap (CUdeviceptr address, size_t bytes)
#define PARAMETERS_cuMemSetAccess (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
#define PARAMETERS_cuMemGetAccess (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address)
#define PARAMETERS_cuMemGetAllocationGranularity \
	(size_t *granularity, const CUmemAllocationProp *properties, int option)
#define PARAMETERS_cuMemExportToShareableHandle \
	(void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)
#define PARAMETERS_cuMemImportFromShareableHandle (CUmemGenericAllocationHandle * handle, void *shareable, int type)
#define PARAMETERS_cuMemGetHandleForAddressRange \
	(void *handle, CUdeviceptr address, size_t bytes, int type, unsigned long long flags)
#define PARAMETERS_cuMemRetainAllocationHandle (CUmemGenericAllocationHandle * handle, void *address)
#define PARAMETERS_cuMemGetAllocationPropertiesFromHandle \
	(CUmemAllocationProp * properties, CUmemGenericAllocationHandle handle)
#define PARAMETERS_cuPointerGetAttribute (void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
#define PARAMETERS_cuPointerGetAttributes \
	(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr pointer)
#define PARAMETERS_cuIpcGetMemHandle (CUipcMemHandle * handle, CUdeviceptr address)
#define PARAMETERS_cuIpcOpenMemHandle (CUdeviceptr * address, CUipcMemHandle handle, unsigned int flags)
#define PARAMETERS_cuIpcOpenMemHandle_v2 (CUdeviceptr * address, CUipcMemHandle handle, unsigned int flags)
#define PARAMETERS_cuIpcCloseMemHandle (CUdeviceptr address)
#define PARAMETERS_cuCheckpointProcessGetRestoreThreadId (int pid, int *thread_id)
#define PARAMETERS_cuCheckpointProcessGetState (int pid, CUprocessState *state)
#define PARAMETERS_cuCheckpointProcessLock (int pid, CUcheckpointLockArgs *arguments)
#define PARAMETERS_cuCheckpointProcessCheckpoint (int pid, CUcheckpointCheckpointArgs *arguments)
#define PARAMETERS_cuCheckpointProcessRestore (int pid, CUcheckpointRestoreArgs *arguments)
#define PARAMETERS_cuCheckpointProcessUnlock (int pid, CUcheckpointUnlockArgs *arguments)
#define PARAMETERS_cuMulticastBindMem                                                                          \
	(CUmemGenericAllocationHandle multicast, size_t multicast_offset, CUmemGenericAllocationHandle handle, \
	 size_t offset, size_t bytes, unsigned long long flags)
#define PARAMETERS_cuMulticastBindMem_v2                                                   \
	(CUmemGenericAllocationHandle multicast, CUdevice device, size_t multicast_offset, \
	 CUmemGenericAllocationHandle handle, size_t offset, size_t bytes, unsigned long long flags)
#define PARAMETERS_cuMulticastBindAddr                                                                       \
	(CUmemGenericAllocationHandle multicast, size_t multicast_offset, CUdeviceptr address, size_t bytes, \
	 unsigned long long flags)
#define PARAMETERS_cuMulticastBindAddr_v2                                                                       \
	(CUmemGenericAllocationHandle multicast, CUdevice device, size_t multicast_offset, CUdeviceptr address, \
	 size_t bytes, unsigned long long flags)

#endif
