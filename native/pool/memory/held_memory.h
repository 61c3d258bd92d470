/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_MEMORY_HELD_MEMORY_H
#define REKINDLE_POOL_MEMORY_HELD_MEMORY_H

#include "pool/device/pool.h"

/*
 * One piece of physical memory in the pool's hands: of a device, or of the host, which the device can copy as its own. An
 * all-zero structure with descriptor -1 holds nothing.
 */
struct held_memory {
	uint64_t allocation_id, bytes;
	uint64_t address; /* in the application */
	struct pool_device *device;
	bool on_host;  /* the host's, */
	uint32_t node; /* on this NUMA node, or as near to that as the machine has one */
	int descriptor; /* the application's own export, or one for all who share it; -1: memory made here, exported when needed */
	bool has_handle, reserved, mapped;
	bool is_exported; /* exported is a fresh export, made ahead for whoever asks for one next */
	int exported;
	CUmemGenericAllocationHandle handle;
	CUdeviceptr here; /* where it is mapped in this process */
};

/*
 * Addresses for many pieces, one after the other: a reservation for each takes longer. All zero: there are none, and each piece
 * has one.
 */
struct held_range {
	const struct pool *pool;
	CUdeviceptr address;
	uint64_t bytes, used;
};

/* Some device must be in use on this thread. */
int held_range_reserve(struct held_range *range, const struct pool *pool, uint64_t bytes, struct error_text *error);
/* Nothing is mapped there any more. */
void held_range_free(struct held_range *range);

/* Imports the memory behind descriptor. The device must be warm and in use on this thread, as for all of these. */
int held_memory_import(struct held_memory *memory, struct error_text *error);
/* Makes fresh memory of memory->bytes on memory->device that can be exported. */
int held_memory_create(struct held_memory *memory, struct error_text *error);
/* Maps it here, to be copied from or to; at the next addresses of the range where that has any left. */
int held_memory_map(struct held_memory *memory, struct held_range *range, struct error_text *error);
void held_memory_unmap(struct held_memory *memory);
/* Exports it for the next held_memory_export, which then takes no time. */
int held_memory_export_ahead(struct held_memory *memory, struct error_text *error);
/* A descriptor for the application: duplicate or fresh export, the caller's to close. Negative errno on failure. */
int held_memory_export(struct held_memory *memory, struct error_text *error);
/* What it is exported by from now on is one open file, with a mark, see protocol/share_mark.h: processes share it. */
int held_memory_share(struct held_memory *memory, struct error_text *error);
/* Lets go of everything, the descriptor too. */
void held_memory_release(struct held_memory *memory);

#endif
