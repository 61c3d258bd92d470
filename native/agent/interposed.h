/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_INTERPOSED_H
#define REKINDLE_AGENT_INTERPOSED_H

#include "driver/cuda_abi.h"

/*
 * Every driver function that the agent interposes: the name that applications ask cuGetProcAddress for, the exported
 * symbol, the first CUDA version whose ABI that symbol has (older variants pass through), 1 where it is the variant for
 * the per-thread default stream, and the parameters. A later variant of a name follows the earlier one.
 *
 * Why each is here:
 *
 * cuGetProcAddress*		  the CUDA runtime finds the driver's functions through it, as do PyTorch and NCCL
 * cuMemAlloc, cuMemAllocPitch	  cudaMalloc; PyTorch's native caching allocator. Backed by exportable physical memory
 * cuMemFree, cuMemFreeAsync	  frees what the former two gave; cuMemFreeAsync takes memory of cuMemAlloc as well
 * cuMemGetAddressRange		  cuBLAS, NCCL and UCX ask for base and size; must be what the application asked for
 * cuPointerGetAttribute(s)	  likewise: range, context and handle types as the driver's own cuMemAlloc would show
 * cuMemCreate ... cuMemSetAccess PyTorch's expandable segments, vLLM's sleep mode, NCCL: their memory becomes exportable,
 *				  their handles stay valid when the physical memory changes
 * cuMemRetainAllocationHandle	  gives out handles
 * cuMemGetAllocationPropertiesFromHandle, cuMemExportToShareableHandle, cuMulticastBindMem	  take handles
 * cuMemExportToShareableHandle, cuMemImportFromShareableHandle, cuMulticastBind*,
 * cuMemGetHandleForAddressRange  memory that others see through a handle, a multicast object or a dma-buf cannot be
 *				  replaced: it stays with the driver
 * cuIpc*MemHandle		  NCCL, vLLM's custom all-reduce, PyTorch's multiprocessing: the driver refuses legacy handles
 *				  for memory of cuMemAlloc as the agent backs it, so the agent gives and opens its own
 * cuDevicePrimaryCtxRetain, cuCtxEnablePeerAccess	  memory of cuMemAlloc can be copied and, with peer access, used
 *				  from other devices of the process; memory of cuMemCreate needs cuMemSetAccess for that
 * cuCtxDestroy, cuDevicePrimaryCtxReset, cuDevicePrimaryCtxRelease  the context's allocations vanish with it
 *
 * Not interposed, because the driver's answer is right as it is: cuMemAddressReserve and cuMemAddressFree (the agent never
 * touches the application's reservations), cuMemGetAccess (by address), cuMemMapArrayAsync (takes only memory created for
 * tile pools, which the agent leaves alone), arrays, managed memory, stream-ordered pools and host memory.
 */
#define INTERPOSED_FUNCTIONS(FUNCTION)                                                                                \
	FUNCTION(cuGetProcAddress, cuGetProcAddress, 11030, 0,                                                        \
		 (const char *symbol, void **function, int version, uint64_t flags))                                  \
	FUNCTION(cuGetProcAddress, cuGetProcAddress_v2, 12000, 0,                                                     \
		 (const char *symbol, void **function, int version, uint64_t flags,                                   \
		  CUdriverProcAddressQueryResult *status))                                                            \
	FUNCTION(cuMemAlloc, cuMemAlloc_v2, 3020, 0, (CUdeviceptr * address, size_t bytes))                           \
	FUNCTION(cuMemAllocPitch, cuMemAllocPitch_v2, 3020, 0,                                                        \
		 (CUdeviceptr * address, size_t * pitch, size_t width, size_t height, unsigned int element_bytes))    \
	FUNCTION(cuMemFree, cuMemFree_v2, 3020, 0, (CUdeviceptr address))                                             \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync, 11020, 0, (CUdeviceptr address, CUstream stream))                    \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync_ptsz, 11020, 1, (CUdeviceptr address, CUstream stream))               \
	FUNCTION(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, 0,                                              \
		 (CUdeviceptr * base, size_t * bytes, CUdeviceptr address))                                           \
	FUNCTION(cuPointerGetAttribute, cuPointerGetAttribute, 4000, 0,                                               \
		 (void *data, CUpointer_attribute attribute, CUdeviceptr address))                                    \
	FUNCTION(cuPointerGetAttributes, cuPointerGetAttributes, 7000, 0,                                             \
		 (unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr address))             \
	FUNCTION(cuMemCreate, cuMemCreate, 10020, 0,                                                                  \
		 (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *properties,         \
		  unsigned long long flags))                                                                          \
	FUNCTION(cuMemRelease, cuMemRelease, 10020, 0, (CUmemGenericAllocationHandle handle))                         \
	FUNCTION(cuMemMap, cuMemMap, 10020, 0,                                                                        \
		 (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,              \
		  unsigned long long flags))                                                                          \
	FUNCTION(cuMemUnmap, cuMemUnmap, 10020, 0, (CUdeviceptr address, size_t bytes))                               \
	FUNCTION(cuMemSetAccess, cuMemSetAccess, 10020, 0,                                                            \
		 (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count))                    \
	FUNCTION(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, 0,                                  \
		 (CUmemGenericAllocationHandle * handle, void *address))                                              \
	FUNCTION(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020, 0,            \
		 (CUmemAllocationProp * properties, CUmemGenericAllocationHandle handle))                             \
	FUNCTION(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, 0,                                \
		 (void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags))          \
	FUNCTION(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, 0,                            \
		 (CUmemGenericAllocationHandle * handle, void *shareable, int type))                                  \
	FUNCTION(cuMemGetHandleForAddressRange, cuMemGetHandleForAddressRange, 11070, 0,                              \
		 (void *handle, CUdeviceptr address, size_t bytes, int type, unsigned long long flags))               \
	FUNCTION(cuMulticastBindMem, cuMulticastBindMem, 12010, 0,                                                    \
		 (CUmemGenericAllocationHandle multicast, size_t multicast_offset,                                    \
		  CUmemGenericAllocationHandle handle, size_t offset, size_t bytes, unsigned long long flags))        \
	FUNCTION(cuMulticastBindAddr, cuMulticastBindAddr, 12010, 0,                                                  \
		 (CUmemGenericAllocationHandle multicast, size_t multicast_offset, CUdeviceptr address, size_t bytes, \
		  unsigned long long flags))                                                                          \
	FUNCTION(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, 0, (CUipcMemHandle * handle, CUdeviceptr address))       \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle, 4010, 0,                                                     \
		 (CUdeviceptr * address, CUipcMemHandle handle, unsigned int flags))                                  \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 11000, 0,                                                 \
		 (CUdeviceptr * address, CUipcMemHandle handle, unsigned int flags))                                  \
	FUNCTION(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, 0, (CUdeviceptr address))                            \
	FUNCTION(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, 0, (CUcontext * context, CUdevice device)) \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, 0, (CUdevice device))                \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000, 0, (CUdevice device))                    \
	FUNCTION(cuCtxDestroy, cuCtxDestroy_v2, 4000, 0, (CUcontext context))                                         \
	FUNCTION(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, 4000, 0, (CUcontext peer, unsigned int flags))

/* The functions themselves, exported for callers that link the driver directly. */
#pragma GCC visibility push(default)
#define INTERPOSED_DECLARE(name, symbol, version, per_thread, parameters) CUresult symbol parameters;
INTERPOSED_FUNCTIONS(INTERPOSED_DECLARE)
#undef INTERPOSED_DECLARE
#pragma GCC visibility pop

/* The agent's function for an exported symbol of the driver, or NULL. */
void *interposed_for_symbol(const char *symbol);

#endif
