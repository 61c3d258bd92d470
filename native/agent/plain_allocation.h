/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_PLAIN_ALLOCATION_H
#define REKINDLE_AGENT_PLAIN_ALLOCATION_H

#include "driver/cuda_abi.h"

/*
 * Memory of cuMemAlloc comes in pieces of at most this much physical memory, so that replacing one of them for an export
 * needs no more free memory than that.
 */
#define PIECE_BYTES ((size_t)1 << 30)

/* The context is gone, and the allocations that were made in it with it. */
void plain_free_of_context(CUcontext context);

#endif
