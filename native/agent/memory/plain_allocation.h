/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_PLAIN_ALLOCATION_H
#define REKINDLE_AGENT_MEMORY_PLAIN_ALLOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/memory/allocation_table.h"
#include "driver/cuda_abi.h"

/*
 * Memory of cuMemAlloc comes in pieces of at most this much physical memory, so that replacing one of them for an export
 * needs no more free memory than that.
 */
#define PIECE_BYTES ((size_t)1 << 30)

#define PIECES_MAX 1024

/* An allocation in the making. */
struct pieces {
	CUdeviceptr address;
	size_t bytes; /* reserved */
	size_t created, mapped;
	CUmemGenericAllocationHandle handles[PIECES_MAX];
	uint32_t kept[PIECES_MAX]; /* of another process's memory, see kept_descriptors.h */
};

/* How many pieces that many bytes are. */
size_t pieces_of(size_t bytes);
/* The size of one of them. */
size_t piece_bytes(size_t bytes, size_t index);
/* Gives everything back to the driver. */
void pieces_undo(const struct pieces *pieces);

/* Puts the allocation into the table; false where that is full. properties: NULL where foreign. Table locked. */
bool plain_record(struct pieces *pieces, const CUmemAllocationProp *properties,
		  const struct plain_allocation *allocation);

/* False where the driver is to allocate, also where that would fail: its error is the right one. */
bool plain_allocate(CUdeviceptr *address, size_t bytes);

/*
 * cuMemFree, or cuIpcCloseMemHandle where opened is set. *ours: false where the address is not the agent's, and nothing
 * was done.
 */
CUresult plain_free(CUdeviceptr address, bool opened, bool *ours);

/* The context is gone, and the allocations that were made in it with it. */
void plain_free_of_context(CUcontext context);

#endif
