/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_COPY_COPY_INTERNAL_H
#define REKINDLE_COPY_COPY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "copy/copy_engine.h"

/*
 * What is read, hashed and handed to the device at once. Smaller blocks cost more in driver calls than they gain in the
 * cache: an H200 took 28, 39, 45, 50 and 52 GB/s from the page cache with blocks of 256 KiB to 4 MiB and 16 workers,
 * checksums verified, of the 55 GB/s that its link can do; larger ones gained nothing. Disks want few big reads as
 * well.
 */
#define COPY_BLOCK_BYTES (4u * 1024u * 1024u)
/* What of it is read and hashed at once, where that is from the page cache. */
#define COPY_HASH_BYTES (256u * 1024u)
#define COPY_SLOTS_MAX 64
/* A worker wipes what it has used when it has had nothing to do for so long: never between the jobs of a run. */
#define COPY_WIPE_MS 200

struct copy_job_file {
	char name[256];
	int descriptor;
	int direct; /* the file opened with O_DIRECT because its pages are not cached, or -1 */
};

struct copy_job {
	struct copy_engine *engine;
	struct copy_request request; /* without the files */
	struct copy_job_file *files; /* owned */
	atomic_size_t next_chunk;    /* never above ready */
	atomic_size_t ready;	     /* chunks that may be copied */
	atomic_bool *loaded;	     /* owned: of each chunk, see copy_job_has_loaded; on the way out NULL */
	atomic_bool stop;	     /* failed or cancelled: workers leave */
	_Atomic uint64_t bytes_done;
	_Atomic uint64_t began;

	/* Under the engine's lock. */
	struct copy_job *next;
	unsigned int active;  /* workers on it, also those that have left another one for it, */
	unsigned int leaving; /* and those of them that have left it */
	bool background;
	bool grows; /* more may become ready */
	bool ended;
	uint64_t ended_at;
	int result;
	struct error_text error;
};

struct copy_worker {
	struct copy_engine *engine;
	pthread_t thread;
	char *memory; /* the worker's slice of the ring */
	CUstream stream;
	CUevent events[COPY_SLOTS_MAX];
	unsigned int slot;	   /* next to use */
	bool busy[COPY_SLOTS_MAX]; /* the device may still read from or write to the slot */
	/* On the way in: the chunk whose last block is in the slot, on its way to the device; NULL: none. */
	const struct copy_chunk *ends[COPY_SLOTS_MAX];
	size_t block_bytes; /* size of a slot in the present job */
	unsigned int slots;
	size_t used_bytes; /* of memory, since it was last wiped; others read it under the lock, between jobs */
	bool ready;
	struct copy_job *next_job; /* that it leaves its own for, or NULL; set under the engine's lock */
};

struct copy_engine {
	const struct cuda_driver *driver;
	CUcontext context;
	char *ring;
	size_t ring_bytes, slice_bytes;
	bool registered;
	struct copy_worker *workers;
	unsigned int worker_count, started;
	const _Atomic int *yield_to; /* NULL, or: see copy_engine_yield_to */
	_Atomic uint64_t to_device, from_device;
	atomic_uint job_count;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* anything below */
	struct copy_job *jobs, **jobs_end;
	unsigned int touched;  /* workers that touched their slice */
	unsigned int prepared; /* workers that made, or failed to make, stream and events */
	bool attached, stop;
	int result; /* of the preparation */
	struct error_text error;
};

void *copy_worker_main(void *worker);

/* Records the first failure of a job and makes its workers leave. Returns code. */
int copy_job_fail(struct copy_job *job, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Is there nothing to do for it, at the moment? */
bool copy_job_is_exhausted(struct copy_job *job);
/* Is another job to go first from now on? Then the worker takes no more chunks of this one. */
bool copy_job_gives_way(struct copy_worker *worker, struct copy_job *job);

/* The rest with the engine's lock held. */
struct copy_job *copy_job_take(struct copy_worker *worker);
void copy_job_leave(struct copy_worker *worker, struct copy_job *job);

#endif
