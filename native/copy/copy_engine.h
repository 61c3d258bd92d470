/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_COPY_COPY_ENGINE_H
#define REKINDLE_COPY_COPY_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "driver/cuda_driver.h"
#include "hash/chunk_hash.h"
#include "support/error_text.h"

/*
 * Moves data between files and the memory of one device. An engine has N workers; each has a thread, a stream and a
 * slice of the pinned staging ring, cut into small blocks. A worker takes the next chunk of the oldest job, and within
 * it reads a block, hashes it and hands it to the device while it reads the next, so that reading, hashing and copying
 * overlap and a few megabytes of pinned memory are enough (pinning costs about 0.2 s per GiB). Jobs in the background come
 * after all others, and where there are jobs to the device and from it each way has half of the workers.
 */
struct copy_engine;

/*
 * Makes the workers and touches the ring's memory; needs no driver yet, so that it can go on while the context is made.
 * ring_bytes is shared by all workers.
 */
int copy_engine_create(struct copy_engine **engine, unsigned int workers, size_t ring_bytes, struct error_text *error);

/* Pins the ring and makes the streams. The engine runs jobs from then on. context must outlive the engine. */
int copy_engine_attach(struct copy_engine *engine, const struct cuda_driver *driver, CUcontext context,
		       struct error_text *error);

/* Ends the workers and unpins the ring. Every job must have been finished. NULL is allowed. */
void copy_engine_destroy(struct copy_engine *engine);

/* What is copied at once: a run of bytes with one checksum. */
struct copy_chunk {
	CUdeviceptr device_address;
	uint64_t bytes; /* on the way in 0: there is nothing to do for it */
	uint32_t file;	/* index into the request's files */
	uint64_t file_offset;
	uint64_t checksum;	/* XXH3-64 of the contents: expected on the way in, set on the way out */
	uint64_t allocation_id; /* for messages */
	uint32_t number;	/* of the chunk in its allocation, for messages */
	bool zero;		/* all zero and not stored: given on the way in, set on the way out */
	struct chunk_hash hash; /* set on the way out, where the request wants it */
};

struct copy_file {
	int descriptor;	  /* stays the caller's, open until the job has ended */
	const char *name; /* for messages; copied */
};

enum copy_direction { COPY_FILE_TO_DEVICE, COPY_DEVICE_TO_FILE };

struct copy_request {
	enum copy_direction direction;
	const struct copy_file *files; /* copied */
	unsigned int file_count;
	struct copy_chunk *chunks; /* stay the caller's, alive until the job has ended */
	size_t chunk_count;
	unsigned int worker_limit; /* most workers on this job at once, 0: all */
	bool verify;		   /* COPY_FILE_TO_DEVICE: compare checksums */
	/*
	 * COPY_DEVICE_TO_FILE: compute chunk->hash too, of the bytes that have gone into the file: of the very block of the
	 * ring that is written, after the device is through with it. Whatever writes to the device's memory meanwhile, the
	 * file has bytes of that hash. For chunks of whole units of CHUNK_HASH_UNIT.
	 */
	bool hash;
	bool overwrite; /* COPY_DEVICE_TO_FILE: the file may have something else there, so blocks of zeros are written */
	/*
	 * The device's memory of the chunks comes one after another: none may be copied before copy_job_grow has said so.
	 * Until then only device_address may be changed, or, on the way out, all of a chunk.
	 */
	bool grows;
	bool background; /* all other jobs go first, from the next chunk on: until copy_job_hurry */
};

struct copy_job;

/* Queues a job behind those under way. On success copy_job_finish must be called. */
int copy_job_start(struct copy_engine *engine, const struct copy_request *request, struct copy_job **job,
		   struct error_text *error);

/*
 * Of a job that grows, more of the request's chunks may be copied from now on: the first `ready` of them. With all set those
 * are all that there will be, be it fewer than the request has, and the job ends with them; a job that grows does not end
 * before unless it fails or is cancelled. Any thread, one at a time.
 */
void copy_job_grow(struct copy_job *job, size_t ready, bool all);
/* Somebody waits for it now: it is in the background no longer. Any thread. */
void copy_job_hurry(struct copy_job *job);
/* Makes a job end soon, with -ECANCELED unless it has ended or failed already. Any thread. */
void copy_job_cancel(struct copy_job *job);

/* Waits until the job has ended, timeout_ms at most (-1: no limit). Returns true when it has. */
bool copy_job_wait(struct copy_job *job, int timeout_ms);

/*
 * How it went; call after copy_job_wait said true. 0, or a negative errno code with the sentence of the first failure:
 * -EBADMSG for a checksum that does not match, -ENODATA for a file that is too short.
 */
int copy_job_result(const struct copy_job *job, struct error_text *error);

/*
 * COPY_FILE_TO_DEVICE: are the contents of that chunk in the device's memory, all of them and as they should be? Told a little
 * late: when a worker needs its memory again, or has nothing more to do. Any thread.
 */
bool copy_job_has_loaded(const struct copy_job *job, size_t chunk);

/* Bytes done so far. Any thread. */
uint64_t copy_job_bytes_done(const struct copy_job *job);

/* CLOCK_MONOTONIC of the first and last work on the job, 0 while not known. */
void copy_job_times(const struct copy_job *job, uint64_t *began, uint64_t *ended);

/* Waits for the end of the job and frees it. NULL is allowed. */
void copy_job_finish(struct copy_job *job);

/*
 * While *count is above 0 only half of the workers take new chunks on their way to the device, and none in the background, so
 * that whoever else needs the link gets through. count outlives the engine. Call it before the first job.
 */
void copy_engine_yield_to(struct copy_engine *engine, const _Atomic int *count);

unsigned int copy_engine_workers(const struct copy_engine *engine);
size_t copy_engine_ring_bytes(const struct copy_engine *engine);
/* Bytes moved since the engine was made. Any thread. */
void copy_engine_totals(const struct copy_engine *engine, uint64_t *to_device, uint64_t *from_device);

#endif
