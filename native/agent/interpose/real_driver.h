/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_INTERPOSE_REAL_DRIVER_H
#define REKINDLE_AGENT_INTERPOSE_REAL_DRIVER_H

#include <stdbool.h>

#include "agent/interpose/interposed.h"
#include "driver/cuda_abi.h"

/* What the agent calls of the driver beyond what it interposes, by exported symbol. */
#define CALLED_FUNCTIONS(FUNCTION)           \
	FUNCTION(cuDeviceGetCount)           \
	FUNCTION(cuDeviceGetAttribute)       \
	FUNCTION(cuDeviceGetUuid_v2)         \
	FUNCTION(cuDeviceCanAccessPeer)      \
	FUNCTION(cuDevicePrimaryCtxGetState) \
	FUNCTION(cuCtxGetCurrent)            \
	FUNCTION(cuCtxSetCurrent)            \
	FUNCTION(cuCtxGetDevice)             \
	FUNCTION(cuCtxSynchronize)           \
	FUNCTION(cuStreamCreate)             \
	FUNCTION(cuStreamSynchronize)        \
	FUNCTION(cuStreamDestroy_v2)         \
	FUNCTION(cuMemcpyDtoDAsync_v2)       \
	FUNCTION(cuMemAddressReserve)        \
	FUNCTION(cuMemAddressFree)           \
	FUNCTION(cuMemGetAllocationGranularity)

/*
 * The driver's own functions, or those of a library that interposes it and comes after the agent. One that the driver lacks is there all the same and returns CUDA_ERROR_NOT_FOUND, as all
 * of them do while no driver is loaded.
 */
struct real_driver {
#define REAL_DRIVER_MEMBER(symbol) CUresult(*symbol) PARAMETERS_##symbol;
#define REAL_DRIVER_INTERPOSED(name, symbol, version, per_thread) REAL_DRIVER_MEMBER(symbol)
	INTERPOSED_FUNCTIONS(REAL_DRIVER_INTERPOSED)
	CALLED_FUNCTIONS(REAL_DRIVER_MEMBER)
#undef REAL_DRIVER_INTERPOSED
#undef REAL_DRIVER_MEMBER
	bool loaded;
	bool has_virtual_memory;
};

/* Never NULL. Finds a driver that the process has loaded by now; loads none. Takes no lock but the loader's. */
const struct real_driver *real_driver(void);

/* What the agent calls as the driver's for a symbol that it interposes, NULL where there is none. */
void *real_driver_symbol(const char *symbol);

/*
 * A library that has functions of the driver's names, comes after the agent and is passed over by it: it takes part in
 * calls of programs that are linked with the driver, and has no dlsym by which the agent would find its functions. Its
 * file; NULL where there is none, or no driver.
 */
const char *real_driver_passes_over(void);

/*
 * libc's dlsym, and the one that comes after the agent's: libc's as well, or that of a library which interposes the driver
 * in its turn, through which the agent calls the driver then. Valid once the agent's own dlsym was called, or after
 * real_dlsym_find.
 */
typedef void *dlsym_function(void *handle, const char *symbol);
extern dlsym_function *real_dlsym, *next_dlsym;
void real_dlsym_find(void);

#endif
