/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_WORKER_WORKER_MEMORY_H
#define REKINDLE_WORKER_WORKER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_driver.h"
#include "protocol/worker_protocol.h"
#include "support/error_text.h"

#define WORKER_PIECES_MAX 4096
#define WORKER_CHUNK_BYTES ((size_t)16 << 20)
#define WORKER_THREADS_MAX 16

enum piece_kind {
	PIECE_PLAIN,   /* cuMemAlloc */
	PIECE_VIRTUAL, /* cuMemCreate, mapped in a reserved range */
	PIECE_ALIAS,   /* a second mapping of the handle of piece `original`, whole or only its beginning */
	PIECE_PINNED,  /* cuMemHostAlloc */
	PIECE_HOST,    /* ordinary memory */
};

struct piece {
	enum piece_kind kind;
	unsigned int gpu; /* index into worker_memory.gpus */
	CUdeviceptr address;
	size_t bytes;
	uint64_t number; /* names the contents, with the seed */
	CUdeviceptr reserved;
	size_t reserved_bytes;
	CUmemGenericAllocationHandle handle; /* 0: released after it was mapped */
	size_t original;		     /* ALIAS: index of the piece whose handle this maps */
	bool aliased;
	size_t first_hash;
};

struct worker_options {
	size_t mib;
	unsigned int pieces;
	unsigned int vmm_percent;
	unsigned int zero_percent;
	uint64_t seed;
	bool no_cuda;
};

struct worker_gpus {
	CUdevice devices[WORKER_GPUS_MAX];
	CUcontext contexts[WORKER_GPUS_MAX];
	unsigned int count;
};

struct worker_memory {
	const struct cuda_driver *driver; /* NULL: host memory only */
	struct worker_gpus gpus;	  /* the pieces are spread over them */
	struct worker_options options;
	struct piece pieces[WORKER_PIECES_MAX];
	size_t count;
	uint64_t next_number;
	uint64_t generation; /* of the contents */
	unsigned int threads;
	void *staging[WORKER_THREADS_MAX]; /* pinned */
	CUstream streams[WORKER_THREADS_MAX][WORKER_GPUS_MAX];
};

int worker_memory_create(struct worker_memory *memory, const struct cuda_driver *driver, const struct worker_gpus *gpus,
			 const struct worker_options *options, struct error_text *error);
int worker_memory_allocate(struct worker_memory *memory, size_t mib, struct error_text *error);
int worker_memory_free(struct worker_memory *memory, uint64_t count, struct error_text *error);
/* New contents in the first chunk of every piece. */
int worker_memory_change(struct worker_memory *memory, struct error_text *error);
/* Also checks that second mappings still show the memory that they are mappings of. */
int worker_memory_checksum(struct worker_memory *memory, uint64_t *checksum, struct error_text *error);
size_t worker_memory_device_bytes(const struct worker_memory *memory);

/* ---- the copying threads (worker_chunks.c) ---- */

enum chunk_work { CHUNK_FILL, CHUNK_HASH };

/*
 * Fills pieces [first, count) or hashes them, several threads at once. hashes: one for each chunk, from
 * piece.first_hash; first_chunk_only: leave the other chunks alone.
 */
int worker_chunks_run(struct worker_memory *memory, enum chunk_work work, size_t first, bool first_chunk_only,
		      uint64_t *hashes, struct error_text *error);

#endif
