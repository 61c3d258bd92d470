/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_ALLOCATION_TABLE_H
#define REKINDLE_AGENT_MEMORY_ALLOCATION_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"
#include "protocol/peer_protocol.h"
#include "support/error_text.h"

/*
 * What the agent knows of the process's device memory: pieces of physical memory, where they are mapped, and the
 * allocations of cuMemAlloc that are made of them. Plain arrays in address space of their own: nothing here calls malloc,
 * because the agent's thread works while another thread may be stopped inside it.
 *
 * Who may touch it. One mutex, held for a few instructions and NEVER across a driver call: the process can be stopped in
 * any of those. The application's threads take it with table_lock. The agent's thread claims the whole table for the
 * length of a request with table_claim; until table_unclaim every table_lock waits, so the agent may call the driver in
 * between. (Usually all those threads are stopped then anyway, but the one who stopped them can die.)
 *
 * A thread that is about to call the driver on something in the table puts a flight on record, under the mutex, and takes
 * it off when it has written down what the call did. A thread can be stopped anywhere in between - before the call, at
 * the driver's gate, in the call, after it. Memory with a flight on record is therefore left to the driver by EXPORT.
 * What a thread is only just making is not in the table yet, which comes to the same.
 */

#define TABLE_MEMORIES_MAX 1048576u
#define TABLE_MAPPINGS_MAX 1048576u
#define TABLE_PLAIN_MAX 1048576u

/* A piece of physical memory. */
struct physical_memory {
	uint64_t allocation_id;		   /* 0: the entry is free */
	CUmemGenericAllocationHandle real; /* the driver's handle at present */
	size_t bytes;			   /* 0 where foreign */
	CUmemAllocationProp properties;	   /* as the application asked for it */
	CUcontext context;		   /* current when it was made; may be NULL */
	uint32_t references;		   /* the application's on the virtual handle; 1 for a piece of cuMemAlloc */
	uint32_t mappings;
	CUdeviceptr lowest; /* no mapping of it is below this address */
	bool exportable;    /* made with a POSIX descriptor handle type */
	bool shared;	    /* seen by others in a way that cannot be followed; stays with the driver */
	bool exported;	    /* handed out by a descriptor, which is kept, or by a handle for one */
	bool foreign;	    /* another process's, see below */
	bool unfollowed;    /* likewise, and nobody can find out whose */
	bool host;	    /* the host's, see below */
	bool imported;	    /* cannot be exported, nor restored by the driver: foreign, or from a restore */
	bool leaving;	    /* its last release is under way */
	bool sent;	    /* by the last EXPORT */
	bool released;	    /* by RELEASE, until MAP: real is not valid */
	uint32_t kept;	    /* the descriptor by which it is shared, see kept_descriptors.h; 0: none */
	int restored;	    /* the one by which a restore has brought it, see restored_descriptors.h; 0: none */
};

/*
 * Foreign memory is what the application itself imported or opened. Its contents are the owner's to save; here it is
 * unmapped for the dump, and mapped again from what is kept of the owner's. That of an owner without an agent, a multicast
 * object, or what did not come by a descriptor nobody can save: all that matters then is whether there is any.
 *
 * Memory of the host (cuMemCreate with the location of a NUMA node) is offloaded as that of a device is, whatever its size: the
 * driver's own checkpoint cannot bring back what is mapped of it.
 */

struct mapping {
	CUdeviceptr address;
	size_t bytes;
	size_t offset;
	uint32_t memory;	   /* index */
	bool mapped;		   /* with its access; false between RELEASE and MAP */
	bool lacks_access;	   /* MAP has mapped it so far, and nobody can use it */
	uint64_t read_devices;	   /* bit set of devices that may only read */
	uint64_t write_devices;	   /* bit set of devices that may read and write */
	CUmemAccessDesc processor; /* what a location of the host was given; flags 0: none was */
};

/*
 * An allocation of cuMemAlloc, mapped piece by piece from address on; or one of another process that cuIpcOpenMemHandle
 * opened, which is foreign memory and otherwise alike.
 */
struct plain_allocation {
	CUdeviceptr address;
	size_t bytes;	 /* as the application asked */
	size_t reserved; /* of address space, all of it mapped */
	CUcontext context;
	CUdevice device;
	bool leaving;	/* cuMemFree or the last cuIpcCloseMemHandle is under way */
	uint32_t opens; /* how often cuIpcOpenMemHandle opened it; 0 where cuMemAlloc gave it */
	struct ipc_origin origin;
};

/* A driver call under way, on the stack of its thread. */
struct flight {
	CUdeviceptr address; /* on mappings of the range, where bytes is not 0 */
	size_t bytes;
	uint32_t memory; /* on this memory, where it is not TABLE_NONE */
	struct flight *next;
};

#define TABLE_NONE UINT32_MAX

struct allocation_table {
	struct physical_memory *memories;
	struct mapping *mappings;	/* by address */
	struct plain_allocation *plain; /* by address */
	size_t memories_end;		/* one past the highest entry ever used */
	size_t mapping_count, plain_count;
	uint32_t free_hint; /* no free entry of memories below it */
	uint64_t next_id;
	struct flight *flights;
	atomic_uint imported_count; /* entries with imported set; may be read without the mutex */
	atomic_uint host_count;	    /* entries with host set; likewise */
	/*
	 * What the driver cannot bring back and the agent cannot take out: entries with unfollowed set, memory of the host that
	 * is in no entry, and imports and makings of such that are under way; likewise.
	 */
	atomic_uint foreign_count;
};
extern struct allocation_table table;

/* ---- application's threads ---- */

/* Makes the arrays, once. False where there is no address space: then nothing is tracked. */
bool table_open(void);
void table_lock(void);
void table_unlock(void);

/* ---- the agent's thread ---- */

/* -EBUSY where the mutex could not be had within 200 ms, because a stopped thread holds it. */
int table_claim(struct error_text *error);
void table_unclaim(void);

/* In a forked child, which has no CUDA: an empty table, not open. */
void table_after_fork(void);

/* ---- the rest: with the mutex, or the claim ---- */

void flight_begin(struct flight *flight);
void flight_end(struct flight *flight);
/* Is one on record that concerns the memory or one of its mappings? */
bool memory_has_flight(uint32_t memory);

/* New memory with a fresh id, nothing else set. NULL where the table is full. */
struct physical_memory *memory_add(void);
void memory_remove(struct physical_memory *memory);
uint32_t memory_index(const struct physical_memory *memory);

/* The value that the application has for a piece of memory, instead of the driver's handle. */
CUmemGenericAllocationHandle virtual_handle(const struct physical_memory *memory);
bool handle_is_virtual(CUmemGenericAllocationHandle handle);
/* NULL where there is no such memory (any more). */
struct physical_memory *memory_of_handle(CUmemGenericAllocationHandle handle);

/* Another process's memory, by the descriptor that is kept of it; 0: none is, and it cannot be followed. */
void memory_set_foreign(struct physical_memory *memory, uint32_t kept);

/* It is the host's, on the NUMA node that its properties name. */
void memory_set_host(struct physical_memory *memory);
/* The device that the memory is on; of the host's, one that has access to it where it is mapped, or 0. */
CUdevice memory_device(const struct physical_memory *memory);

/* Is there any that the driver's own checkpoint could not bring back? May be called without the mutex. */
bool table_needs_agent(void);

/* Sets or clears memory->imported. */
void memory_set_imported(struct physical_memory *memory, bool imported);

/* Neither handle, mapping nor call is left: it can be given back to the driver. */
bool memory_is_unused(const struct physical_memory *memory);

/* Index of the first mapping that ends after address; mapping_count where there is none. */
size_t mapping_find(CUdeviceptr address);
/* The mapping that contains address, or NULL. */
struct mapping *mapping_containing(CUdeviceptr address);
/*
 * The mappings of one piece of memory, in order: for (walk = mapping_walk(memory); (mapping = mapping_next(&walk));)
 * The table must not change meanwhile.
 */
struct mapping_walk {
	uint32_t memory;
	uint32_t left;
	size_t index;
};
struct mapping_walk mapping_walk(const struct physical_memory *memory);
struct mapping *mapping_next(struct mapping_walk *walk);
/* Did RELEASE take the memory of a mapping in the range, and MAP has not brought it back? */
bool mapping_range_is_released(CUdeviceptr address, size_t bytes);
/* False where the table is full. */
bool mapping_add(const struct mapping *mapping);
void mapping_remove(size_t index);

/* The allocation with address inside its reservation, or NULL. */
struct plain_allocation *plain_containing(CUdeviceptr address);
/* What the context has opened of that origin and not closed, or NULL. */
struct plain_allocation *plain_opened(const struct ipc_origin *origin, CUcontext context);
bool plain_overlaps(CUdeviceptr address, size_t bytes);
bool plain_add(const struct plain_allocation *allocation);
void plain_remove(struct plain_allocation *allocation);

#endif
