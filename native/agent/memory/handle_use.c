/* SPDX-License-Identifier: MIT */
#include "agent/memory/handle_use.h"

#include <stdbool.h>
#include <unistd.h>

#include "agent/interpose/real_driver.h"
#include "agent/memory/restored_descriptors.h"

CUresult memory_give_back(struct physical_memory *memory)
{
	CUresult result = real_driver()->cuMemRelease(memory->real);
	int descriptor;

	table_lock();
	descriptor = restored_take(memory->restored, memory->allocation_id);
	memory_remove(memory);
	table_unlock();
	/* The last that holds the memory: the driver may take its time. */
	if (descriptor >= 0)
		close(descriptor);
	return result;
}

CUresult memory_give_back_if_unused(uint32_t index, uint64_t id)
{
	struct physical_memory *memory = &table.memories[index];
	bool unused;

	table_lock();
	unused = memory->allocation_id == id && memory_is_unused(memory) && !memory->released;
	if (unused)
		memory->leaving = true;
	table_unlock();
	return unused ? memory_give_back(memory) : CUDA_SUCCESS;
}

void handle_use_begin(struct handle_use *use, CUmemGenericAllocationHandle handle)
{
	struct physical_memory *memory;

	*use = (struct handle_use){.real = handle, .flight.memory = TABLE_NONE};
	if (!handle_is_virtual(handle))
		return;
	table_lock();
	memory = memory_of_handle(handle);
	if (!memory || !memory->references) {
		use->result = CUDA_ERROR_INVALID_VALUE;
	} else if (memory->released) {
		use->result = CUDA_ERROR_ILLEGAL_STATE;
	} else {
		use->real = memory->real;
		use->flight.memory = memory_index(memory);
		flight_begin(&use->flight);
	}
	table_unlock();
}

struct physical_memory *handle_use_memory(const struct handle_use *use)
{
	return use->flight.memory == TABLE_NONE ? NULL : &table.memories[use->flight.memory];
}

void handle_use_end(struct handle_use *use)
{
	uint64_t id;

	if (use->flight.memory == TABLE_NONE)
		return;
	table_lock();
	id = table.memories[use->flight.memory].allocation_id;
	flight_end(&use->flight);
	table_unlock();
	memory_give_back_if_unused(use->flight.memory, id);
}
