/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_TESTS_DRIVER_H
#define REKINDLE_AGENT_TESTS_DRIVER_H

#include <stdint.h>

#include "simcuda/functions.h"

/*
 * What the tests call, linked directly: the simulated driver's functions under their exported names. With the agent
 * preloaded those that it interposes are the agent's.
 */
#define DECLARE_DRIVER_FUNCTION(name, symbol, version, kind, parameters, arguments) CUresult symbol parameters;
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

#endif
