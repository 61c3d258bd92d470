/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_TESTS_OFFLOAD_MEMORY_H
#define REKINDLE_AGENT_TESTS_OFFLOAD_MEMORY_H

#include "agent/tests/stand_in_pool.h"
#include "agent/tests/driver.h"

/* What the tests of the agent's requests share: memory with contents that tell where they belong, and its way out and in. */

extern struct saved_memory saved, other;
extern struct agent_message reply;

/* Set-up and tear-down: CUDA and injection. */
int offload_start(void **state);
/* Likewise; and the agent's thread, which begins with the first memory that it looks after: not every case has such. */
int offload_start_with_agent(void **state);
int offload_end(void **state);

void fill(CUdeviceptr address, size_t bytes, unsigned int seed);
void check(CUdeviceptr address, size_t bytes, unsigned int seed);

struct virtual_memory {
	CUdeviceptr address;
	CUmemGenericAllocationHandle handle;
};

/* 4 MiB, mapped at address and, to be read only, at address + 8 MiB. */
struct virtual_memory make_virtual_memory(int handle_types);
void drop_virtual_memory(const struct virtual_memory *memory);
/* CU_MEM_ACCESS_FLAGS_PROT_ of device 0. */
unsigned long long access_at(CUdeviceptr address);

void assert_mapped(void);
void assert_nothing_to_offload(void);
/* Out and in again; what is exported afterwards is imported memory. */
void cycle(size_t expected);

#define RESTORED_MAX 256
/* The descriptors that the agent keeps of memory that came back. */
size_t find_restored_descriptors(int numbers[RESTORED_MAX]);
size_t count_restored_descriptors(void);
/* As a program does that closes what it did not open: an export has to put fresh memory in the place of what came back. */
void close_restored_descriptors(void);

#endif
