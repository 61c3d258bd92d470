/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_INTERPOSE_INTERPOSED_H
#define REKINDLE_AGENT_INTERPOSE_INTERPOSED_H

#include "driver/cuda_prototypes.h"

/*
 * Every driver function that the agent interposes: the name that applications ask cuGetProcAddress for, the exported
 * symbol, the first CUDA version whose ABI that symbol has, 1 where it is the variant for the per-thread default stream.
 * A later variant of a name follows the earlier one. All variants that the driver exports are here
 * (driver_variants_test compares), but for those of CUDA 2 with 32-bit addresses, which give memory below 4 GiB.
 *
 * They are called anywhere: in a library's constructor, in a thread for which another waits, in one that is stopped there
 * for good. So no lock of the agent's is held across a call of the driver, the loader (dlopen, dlsym), malloc,
 * pthread_atfork or anything else that is not the agent's own. What has to be done once is done by every thread that comes
 * while it is not, and the first to be done is kept.
 *
 * Why each is here:
 *
 * cuInit			  the agent finds the driver in it, which waits for the loader: in a later call it could wait
 *				  for a library's constructor that waits for that call
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
 * cuCtxDestroy, cuCtxDetach, cuDevicePrimaryCtxReset, cuDevicePrimaryCtxRelease  the context's allocations vanish with it
 *
 * Not interposed, because the driver's answer is right as it is: cuMemAddressReserve and cuMemAddressFree (the agent never
 * touches the application's reservations), cuMemGetAccess (by address), cuMemMapArrayAsync (takes only memory created for
 * tile pools, which the agent leaves alone), arrays, managed memory, stream-ordered pools and host memory.
 */
#define INTERPOSED_FUNCTIONS(FUNCTION)                                                                     \
	FUNCTION(cuInit, cuInit, 2000, 0)                                                                  \
	FUNCTION(cuGetProcAddress, cuGetProcAddress, 11030, 0)                                             \
	FUNCTION(cuGetProcAddress, cuGetProcAddress_v2, 12000, 0)                                          \
	FUNCTION(cuMemAlloc, cuMemAlloc_v2, 3020, 0)                                                       \
	FUNCTION(cuMemAllocPitch, cuMemAllocPitch_v2, 3020, 0)                                             \
	FUNCTION(cuMemFree, cuMemFree_v2, 3020, 0)                                                         \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync, 11020, 0)                                                 \
	FUNCTION(cuMemFreeAsync, cuMemFreeAsync_ptsz, 11020, 1)                                            \
	FUNCTION(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, 0)                                   \
	FUNCTION(cuPointerGetAttribute, cuPointerGetAttribute, 4000, 0)                                    \
	FUNCTION(cuPointerGetAttributes, cuPointerGetAttributes, 7000, 0)                                  \
	FUNCTION(cuMemCreate, cuMemCreate, 10020, 0)                                                       \
	FUNCTION(cuMemRelease, cuMemRelease, 10020, 0)                                                     \
	FUNCTION(cuMemMap, cuMemMap, 10020, 0)                                                             \
	FUNCTION(cuMemUnmap, cuMemUnmap, 10020, 0)                                                         \
	FUNCTION(cuMemSetAccess, cuMemSetAccess, 10020, 0)                                                 \
	FUNCTION(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, 0)                       \
	FUNCTION(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020, 0) \
	FUNCTION(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, 0)                     \
	FUNCTION(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, 0)                 \
	FUNCTION(cuMemGetHandleForAddressRange, cuMemGetHandleForAddressRange, 11070, 0)                   \
	FUNCTION(cuMulticastBindMem, cuMulticastBindMem, 12010, 0)                                         \
	FUNCTION(cuMulticastBindMem, cuMulticastBindMem_v2, 13010, 0)                                      \
	FUNCTION(cuMulticastBindAddr, cuMulticastBindAddr, 12010, 0)                                       \
	FUNCTION(cuMulticastBindAddr, cuMulticastBindAddr_v2, 13010, 0)                                    \
	FUNCTION(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, 0)                                            \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle, 4010, 0)                                          \
	FUNCTION(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 11000, 0)                                      \
	FUNCTION(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, 0)                                        \
	FUNCTION(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, 0)                              \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease, 7000, 0)                            \
	FUNCTION(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, 0)                        \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset, 7000, 0)                                \
	FUNCTION(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000, 0)                            \
	FUNCTION(cuCtxDestroy, cuCtxDestroy, 2000, 0)                                                      \
	FUNCTION(cuCtxDestroy, cuCtxDestroy_v2, 4000, 0)                                                   \
	FUNCTION(cuCtxDetach, cuCtxDetach, 2000, 0)                                                        \
	FUNCTION(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, 4000, 0)

/* The functions themselves, exported for callers that link the driver directly. */
#pragma GCC visibility push(default)
#define INTERPOSED_DECLARE(name, symbol, version, per_thread) CUresult symbol PARAMETERS_##symbol;
INTERPOSED_FUNCTIONS(INTERPOSED_DECLARE)
#undef INTERPOSED_DECLARE
#pragma GCC visibility pop

/* The agent's function for an exported symbol of the driver, or NULL. */
void *interposed_for_symbol(const char *symbol);

#endif
