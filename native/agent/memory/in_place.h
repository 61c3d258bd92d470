/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_IN_PLACE_H
#define REKINDLE_AGENT_MEMORY_IN_PLACE_H

#include "agent/memory/allocation_table.h"

/* Maps memory wherever it belongs and is not, with the access it had. */
CUresult map_everywhere(const struct physical_memory *memory, CUmemGenericAllocationHandle real);
/* Maps it only: it is not in its place before its mappings have their access. */
CUresult map_without_access(const struct physical_memory *memory, CUmemGenericAllocationHandle real);
/* The access that it had, to a mapping that lacks it; where it fails the mapping still does. */
CUresult give_access(struct mapping *mapping);
/* Unmaps it everywhere; the mappings stay on record. */
CUresult unmap_everywhere(const struct physical_memory *memory);

#endif
