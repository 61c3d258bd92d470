/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_HANDLE_USE_H
#define REKINDLE_AGENT_MEMORY_HANDLE_USE_H

#include "agent/memory/allocation_table.h"

/*
 * A call on an application's handle. Found and not released: result is CUDA_SUCCESS, real is the driver's handle, and a
 * flight on the memory is on record until handle_use_end. Where the handle is not virtual, real is the handle itself and
 * nothing is on record.
 */
struct handle_use {
	CUresult result;
	CUmemGenericAllocationHandle real;
	struct flight flight;
};

void handle_use_begin(struct handle_use *use, CUmemGenericAllocationHandle handle);
/* The memory in use, NULL where the handle is not virtual. Table locked. */
struct physical_memory *handle_use_memory(const struct handle_use *use);
/* Takes the flight off, and gives the memory back to the driver where it was the last to hold it. */
void handle_use_end(struct handle_use *use);

/* Gives memory that is marked as leaving to the driver, and takes it out of the table. */
CUresult memory_give_back(struct physical_memory *memory);
/* The same where nothing holds it any more. id tells whether it is still the same. */
CUresult memory_give_back_if_unused(uint32_t index, uint64_t id);

#endif
