/* SPDX-License-Identifier: MIT */
#include "agent/tests/offload_memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/share_mark.h"

#include <cmocka.h>

struct saved_memory saved, other;
struct agent_message reply;

int offload_start(void **state)
{
	(void)state;
	if (injection_start())
		return -1;
	driver_start();
	return 0;
}

int offload_start_with_agent(void **state)
{
	struct virtual_memory memory;

	if (offload_start(state))
		return -1;
	memory = make_virtual_memory(CU_MEM_HANDLE_TYPE_NONE);
	agent_wait_for_page();
	drop_virtual_memory(&memory);
	return 0;
}

int offload_end(void **state)
{
	(void)state;
	return injection_end();
}

static unsigned char expected_byte(CUdeviceptr address, size_t offset, unsigned int seed)
{
	return (unsigned char)((address >> 21) * 31 + offset * 7 + (offset >> 12) + seed);
}

void fill(CUdeviceptr address, size_t bytes, unsigned int seed)
{
	unsigned char *contents = malloc(bytes);
	size_t index;

	for (index = 0; index < bytes; index++)
		contents[index] = expected_byte(address, index, seed);
	assert_success(cuMemcpyHtoD_v2(address, contents, bytes));
	free(contents);
}

void check(CUdeviceptr address, size_t bytes, unsigned int seed)
{
	unsigned char *contents = calloc(1, bytes);
	size_t index;

	assert_success(cuMemcpyDtoH_v2(contents, address, bytes));
	for (index = 0; index < bytes; index++)
		if (contents[index] != expected_byte(address, index, seed))
			fail_msg("byte %zu of 0x%llx differs", index, address);
	free(contents);
}

struct virtual_memory make_virtual_memory(int handle_types)
{
	CUmemAllocationProp properties = driver_properties(handle_types);
	CUmemAccessDesc access = driver_access();
	struct virtual_memory memory;

	assert_success(cuMemAddressReserve(&memory.address, 16 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(&memory.handle, 4 * MIB, &properties, 0));
	assert_success(cuMemMap(memory.address, 4 * MIB, 0, memory.handle, 0));
	assert_success(cuMemMap(memory.address + 8 * MIB, 4 * MIB, 0, memory.handle, 0));
	assert_success(cuMemSetAccess(memory.address, 4 * MIB, &access, 1));
	access.flags = 1; /* read only */
	assert_success(cuMemSetAccess(memory.address + 8 * MIB, 4 * MIB, &access, 1));
	fill(memory.address, 4 * MIB, 5);
	return memory;
}

void drop_virtual_memory(const struct virtual_memory *memory)
{
	assert_success(cuMemUnmap(memory->address, 4 * MIB));
	assert_success(cuMemUnmap(memory->address + 8 * MIB, 4 * MIB));
	assert_success(cuMemRelease(memory->handle));
	assert_success(cuMemAddressFree(memory->address, 16 * MIB));
}

unsigned long long access_at(CUdeviceptr address)
{
	CUmemAccessDesc access = driver_access();
	unsigned long long flags = 99;

	assert_success(cuMemGetAccess(&flags, &access.location, address));
	return flags;
}

void assert_mapped(void)
{
	assert_int_equal(agent_find_page()->state, AGENT_STATE_MAPPED);
}

void assert_nothing_to_offload(void)
{
	assert_int_equal(agent_export(&other, &reply), 0);
	assert_int_equal(other.count, 0);
}

void cycle(size_t expected)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, expected);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	assert_mapped();
	agent_forget(&saved);
}

#define NUMBERS 16384

/* What came with a request the agent closes after its reply: it waits for the next one where it has closed everything. */
static void wait_for_agent(void)
{
	struct agent_message wrong = {.type = 77};

	if (agent_find_page()) /* not in a child */
		agent_send_raw(&wrong, sizeof(wrong), &reply);
}

size_t find_restored_descriptors(int numbers[RESTORED_MAX])
{
	struct rlimit limit;
	size_t count = 0;
	int number;

	wait_for_agent();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* Below are the simulated driver's own, which are the same open files. */
	for (number = (int)(limit.rlim_cur / 4 * 3 < 1024 ? limit.rlim_cur / 4 * 3 : 1024); number < NUMBERS; number++)
		if (fcntl(number, F_GETSIG) == RESTORED_MARK && count < RESTORED_MAX)
			numbers[count++] = number;
	return count;
}

size_t count_restored_descriptors(void)
{
	int numbers[RESTORED_MAX];

	return find_restored_descriptors(numbers);
}

void close_restored_descriptors(void)
{
	int numbers[RESTORED_MAX];
	size_t count = find_restored_descriptors(numbers);

	while (count)
		close(numbers[--count]);
}
