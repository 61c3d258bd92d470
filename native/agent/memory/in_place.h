/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_IN_PLACE_H
#define REKINDLE_AGENT_MEMORY_IN_PLACE_H

#include "agent/memory/allocation_table.h"

/* Maps memory wherever it belongs and is not, with the access it had. */
CUresult map_everywhere(const struct physical_memory *memory, CUmemGenericAllocationHandle real);
/* Unmaps it everywhere; the mappings stay on record. */
CUresult unmap_everywhere(const struct physical_memory *memory);

#endif
