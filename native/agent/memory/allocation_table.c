/* SPDX-License-Identifier: MIT */
#include "agent/memory/allocation_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/base/fork_handler.h"
#include "agent/memory/kept_descriptors.h"
#include "agent/memory/restored_descriptors.h"

#define CLAIM_ATTEMPTS 200 /* of a millisecond each */

/*
 * A virtual handle: tag, then the low 24 bits of the allocation's id, then its index. No address of user space and no
 * small number looks like that.
 */
#define HANDLE_TAG 0x724bull
#define HANDLE_TAG_SHIFT 48
#define HANDLE_ID_SHIFT 24
#define HANDLE_INDEX_MASK 0xffffffull
static_assert(TABLE_MEMORIES_MAX <= HANDLE_INDEX_MASK, "every index fits a handle");

struct allocation_table table;

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool claimed;
static atomic_bool open_failed;

static void wait_a_millisecond(void)
{
	struct timespec millisecond = {.tv_nsec = 1000000};

	nanosleep(&millisecond, NULL);
}

/* Address space only; pages come with the first write. */
static void *map_array(size_t count, size_t size)
{
	void *array =
		mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return array == MAP_FAILED ? NULL : array;
}

static void unmap_arrays(struct allocation_table *arrays)
{
	if (arrays->memories)
		munmap(arrays->memories, TABLE_MEMORIES_MAX * sizeof(*arrays->memories));
	if (arrays->mappings)
		munmap(arrays->mappings, TABLE_MAPPINGS_MAX * sizeof(*arrays->mappings));
	if (arrays->plain)
		munmap(arrays->plain, TABLE_PLAIN_MAX * sizeof(*arrays->plain));
}

/* All three, else memories stays NULL. */
static void map_arrays(struct allocation_table *arrays)
{
	arrays->mappings = map_array(TABLE_MAPPINGS_MAX, sizeof(*arrays->mappings));
	arrays->plain = map_array(TABLE_PLAIN_MAX, sizeof(*arrays->plain));
	if (arrays->mappings && arrays->plain)
		arrays->memories = map_array(TABLE_MEMORIES_MAX, sizeof(*arrays->memories));
}

bool table_open(void)
{
	struct allocation_table fresh = {0};
	bool opened;

	if (atomic_load(&open_failed))
		return false;
	table_lock();
	opened = table.memories != NULL;
	table_unlock();
	if (!opened) {
		/* Without the mutex: a program may hook mmap. */
		map_arrays(&fresh);
		table_lock();
		opened = table.memories != NULL;
		if (!opened && fresh.memories) {
			table.memories = fresh.memories;
			table.mappings = fresh.mappings;
			table.plain = fresh.plain;
		}
		table_unlock();
		if (opened || !fresh.memories)
			unmap_arrays(&fresh);
		opened = opened || fresh.memories;
		if (!opened)
			atomic_store(&open_failed, true);
	}
	if (opened)
		fork_handler_add(FORK_TABLE, table_after_fork);
	return opened;
}

void table_lock(void)
{
	pthread_mutex_lock(&table_mutex);
	while (atomic_load(&claimed)) {
		pthread_mutex_unlock(&table_mutex);
		wait_a_millisecond();
		pthread_mutex_lock(&table_mutex);
	}
}

void table_unlock(void)
{
	pthread_mutex_unlock(&table_mutex);
}

int table_claim(struct error_text *error)
{
	int attempt;

	for (attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
		if (!pthread_mutex_trylock(&table_mutex)) {
			atomic_store(&claimed, true);
			pthread_mutex_unlock(&table_mutex);
			return 0;
		}
		wait_a_millisecond();
	}
	return fail(error, -EBUSY,
		    "a thread of the process was stopped while it held the agent's table of allocations; try again");
}

void table_unclaim(void)
{
	/* Without the mutex: a thread that waits in table_lock may have been stopped with it. */
	atomic_store(&claimed, false);
}

void table_after_fork(void)
{
	/* The arrays are the parent's size and may be large; what the child would keep of them is of no use to it. */
	if (table.memories)
		unmap_arrays(&table);
	memset(&table, 0, sizeof(table));
	kept_drop_all();
	restored_drop_all();
	pthread_mutex_init(&table_mutex, NULL);
	atomic_store(&claimed, false);
}

/* ---- flights ---- */

void flight_begin(struct flight *flight)
{
	flight->next = table.flights;
	table.flights = flight;
}

void flight_end(struct flight *flight)
{
	struct flight **link = &table.flights;

	while (*link && *link != flight)
		link = &(*link)->next;
	if (*link)
		*link = flight->next;
}

bool memory_has_flight(uint32_t memory)
{
	const struct flight *flight;
	size_t index;

	for (flight = table.flights; flight; flight = flight->next) {
		if (flight->memory == memory)
			return true;
		if (!flight->bytes)
			continue;
		for (index = mapping_find(flight->address); index < table.mapping_count; index++) {
			if (table.mappings[index].address >= flight->address + flight->bytes)
				break;
			if (table.mappings[index].memory == memory)
				return true;
		}
	}
	return false;
}

/* ---- physical memory ---- */

struct physical_memory *memory_add(void)
{
	uint32_t index = table.free_hint;
	struct physical_memory *memory;

	while (index < table.memories_end && table.memories[index].allocation_id)
		index++;
	if (index == TABLE_MEMORIES_MAX)
		return NULL;
	if (index == table.memories_end)
		table.memories_end++;
	table.free_hint = index + 1;
	memory = &table.memories[index];
	memset(memory, 0, sizeof(*memory));
	memory->allocation_id = ++table.next_id;
	return memory;
}

void memory_remove(struct physical_memory *memory)
{
	uint32_t index = memory_index(memory);

	memory_set_imported(memory, false);
	if (memory->unfollowed)
		atomic_fetch_sub(&table.foreign_count, 1);
	if (memory->host)
		atomic_fetch_sub(&table.host_count, 1);
	kept_drop(memory->kept);
	memory->kept = 0;
	memory->allocation_id = 0;
	if (index < table.free_hint)
		table.free_hint = index;
}

uint32_t memory_index(const struct physical_memory *memory)
{
	return (uint32_t)(memory - table.memories);
}

CUmemGenericAllocationHandle virtual_handle(const struct physical_memory *memory)
{
	return HANDLE_TAG << HANDLE_TAG_SHIFT | (memory->allocation_id & HANDLE_INDEX_MASK) << HANDLE_ID_SHIFT |
	       memory_index(memory);
}

bool handle_is_virtual(CUmemGenericAllocationHandle handle)
{
	return handle >> HANDLE_TAG_SHIFT == HANDLE_TAG;
}

struct physical_memory *memory_of_handle(CUmemGenericAllocationHandle handle)
{
	size_t index = handle & HANDLE_INDEX_MASK;
	struct physical_memory *memory;

	if (!handle_is_virtual(handle) || index >= table.memories_end)
		return NULL;
	memory = &table.memories[index];
	if (!memory->allocation_id || memory->leaving || virtual_handle(memory) != handle)
		return NULL;
	return memory;
}

void memory_set_foreign(struct physical_memory *memory, uint32_t kept)
{
	memory->foreign = true;
	memory->kept = kept;
	memory->unfollowed = !kept;
	kept_name(kept, memory->allocation_id);
	if (kept)
		memory_set_imported(memory, true);
	else
		atomic_fetch_add(&table.foreign_count, 1);
}

void memory_set_host(struct physical_memory *memory)
{
	memory->host = true;
	atomic_fetch_add(&table.host_count, 1);
}

CUdevice memory_device(const struct physical_memory *memory)
{
	struct mapping_walk walk = mapping_walk(memory);
	const struct mapping *mapping;
	uint64_t devices = 0;

	if (!memory->host)
		return memory->properties.location.id;
	while (!devices && (mapping = mapping_next(&walk)))
		devices = mapping->read_devices | mapping->write_devices;
	return devices ? __builtin_ctzll(devices) : 0;
}

bool table_needs_agent(void)
{
	return atomic_load(&table.imported_count) || atomic_load(&table.host_count);
}

void memory_set_imported(struct physical_memory *memory, bool imported)
{
	if (memory->imported == imported)
		return;
	memory->imported = imported;
	if (imported)
		atomic_fetch_add(&table.imported_count, 1);
	else
		atomic_fetch_sub(&table.imported_count, 1);
}

bool memory_is_unused(const struct physical_memory *memory)
{
	return !memory->references && !memory->mappings && !memory->leaving && !memory_has_flight(memory_index(memory));
}

/* ---- mappings ---- */

size_t mapping_find(CUdeviceptr address)
{
	size_t low = 0, high = table.mapping_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table.mappings[middle].address + table.mappings[middle].bytes <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct mapping *mapping_containing(CUdeviceptr address)
{
	size_t index = mapping_find(address);

	if (index == table.mapping_count || table.mappings[index].address > address)
		return NULL;
	return &table.mappings[index];
}

struct mapping_walk mapping_walk(const struct physical_memory *memory)
{
	return (struct mapping_walk){
		.memory = memory_index(memory),
		.left = memory->mappings,
		.index = memory->mappings ? mapping_find(memory->lowest) : 0,
	};
}

struct mapping *mapping_next(struct mapping_walk *walk)
{
	while (walk->left && walk->index < table.mapping_count) {
		struct mapping *mapping = &table.mappings[walk->index++];

		if (mapping->memory != walk->memory)
			continue;
		walk->left--;
		return mapping;
	}
	return NULL;
}

bool mapping_range_is_released(CUdeviceptr address, size_t bytes)
{
	size_t index;

	for (index = mapping_find(address); index < table.mapping_count; index++) {
		if (table.mappings[index].address >= address + bytes)
			break;
		if (!table.mappings[index].mapped)
			return true;
	}
	return false;
}

bool mapping_add(const struct mapping *mapping)
{
	size_t index = mapping_find(mapping->address);
	struct physical_memory *memory;

	if (table.mapping_count == TABLE_MAPPINGS_MAX)
		return false;
	memmove(&table.mappings[index + 1], &table.mappings[index],
		(table.mapping_count - index) * sizeof(*table.mappings));
	table.mappings[index] = *mapping;
	table.mapping_count++;
	memory = &table.memories[mapping->memory];
	if (!memory->mappings++ || mapping->address < memory->lowest)
		memory->lowest = mapping->address;
	return true;
}

void mapping_remove(size_t index)
{
	table.memories[table.mappings[index].memory].mappings--;
	table.mapping_count--;
	memmove(&table.mappings[index], &table.mappings[index + 1],
		(table.mapping_count - index) * sizeof(*table.mappings));
}

/* ---- allocations of cuMemAlloc ---- */

/* Index of the first one that ends after address. */
static size_t plain_find(CUdeviceptr address)
{
	size_t low = 0, high = table.plain_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table.plain[middle].address + table.plain[middle].reserved <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct plain_allocation *plain_containing(CUdeviceptr address)
{
	size_t index = plain_find(address);

	if (index == table.plain_count || table.plain[index].address > address)
		return NULL;
	return &table.plain[index];
}

struct plain_allocation *plain_opened(const struct ipc_origin *origin, CUcontext context)
{
	size_t index;

	for (index = 0; index < table.plain_count; index++) {
		struct plain_allocation *allocation = &table.plain[index];

		if (allocation->opens && !allocation->leaving && allocation->context == context &&
		    !memcmp(&allocation->origin, origin, sizeof(*origin)))
			return allocation;
	}
	return NULL;
}

bool plain_overlaps(CUdeviceptr address, size_t bytes)
{
	size_t index = plain_find(address);

	return index < table.plain_count &&
	       (table.plain[index].address <= address || table.plain[index].address - address < bytes);
}

bool plain_add(const struct plain_allocation *allocation)
{
	size_t index = plain_find(allocation->address);

	if (table.plain_count == TABLE_PLAIN_MAX)
		return false;
	memmove(&table.plain[index + 1], &table.plain[index], (table.plain_count - index) * sizeof(*table.plain));
	table.plain[index] = *allocation;
	table.plain_count++;
	return true;
}

void plain_remove(struct plain_allocation *allocation)
{
	size_t index = (size_t)(allocation - table.plain);

	table.plain_count--;
	memmove(&table.plain[index], &table.plain[index + 1], (table.plain_count - index) * sizeof(*table.plain));
}
