/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_TESTS_DRIVER_H
#define REKINDLE_AGENT_TESTS_DRIVER_H

#include <stdint.h>
#include <sys/types.h>

#include "simcuda/functions.h"

/*
 * What the tests call, linked directly: the simulated driver's functions under their exported names. With the agent
 * preloaded those that it interposes are the agent's.
 */
#define DECLARE_DRIVER_FUNCTION(name, symbol, version, kind, arguments) CUresult symbol PARAMETERS_##symbol;
SIMCUDA_FUNCTIONS(DECLARE_DRIVER_FUNCTION)
#undef DECLARE_DRIVER_FUNCTION

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define assert_success(call) assert_int_equal(call, CUDA_SUCCESS)

/* cuInit and a current context on device 0. */
CUcontext driver_start(void);
/* Properties of ordinary memory on device 0. */
CUmemAllocationProp driver_properties(int handle_types);
/* Read and write access to device 0. */
CUmemAccessDesc driver_access(void);
/* Is the function at the address the agent's? */
int is_of_agent(const void *function);
/* Was this program started with the agent preloaded? */
int agent_is_loaded(void);

/* Before the driver is used, and at the end. 0, or -1. */
int injection_start(void);
int injection_end(void);
/* Rules of the simulated driver's injection from now on, in this process and its children; "" for none. */
void inject(const char *rules);

/* Until a call is there that "NAME=held" holds; once for each time that it is injected. */
void wait_until_held(void);

/* Of the current context's device. */
size_t free_device_bytes(void);
/* Of the simulated driver: how many address ranges are reserved. */
size_t rekindle_simcuda_reservations(void);
/* How many descriptors the process has open. */
unsigned int count_descriptors(pid_t process);

#endif
