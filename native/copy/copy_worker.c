/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t on the stack */
#include <xxhash.h>

#include "copy/copy_internal.h"
#include "support/clock.h"

#ifndef CU_EVENT_BLOCKING_SYNC
#define CU_EVENT_BLOCKING_SYNC 1
#endif

static const char *name_of(const struct copy_job *job, const struct copy_chunk *chunk)
{
	return job->files[chunk->file].name;
}

static int driver_failure(struct copy_job *job, const struct copy_chunk *chunk, const char *call, CUresult status)
{
	return copy_job_fail(job, cuda_result_to_errno(status), "%s failed with %s at allocation %llu, chunk %u of %s",
			     call, cuda_result_name(job->engine->driver, status),
			     (unsigned long long)chunk->allocation_id, chunk->number, name_of(job, chunk));
}

/* On the way in: what ended in the slot is in the device's memory, and was compared before. */
static void note_loaded(struct copy_worker *worker, struct copy_job *job, unsigned int slot)
{
	const struct copy_chunk *chunk = worker->ends[slot];

	worker->ends[slot] = NULL;
	if (chunk)
		atomic_store_explicit(&job->loaded[chunk - job->request.chunks], true, memory_order_release);
}

/* Waits until the device has finished with a slot. */
static int slot_wait(struct copy_worker *worker, struct copy_job *job, const struct copy_chunk *chunk,
		     unsigned int slot)
{
	CUresult status;

	if (!worker->busy[slot])
		return 0;
	worker->busy[slot] = false;
	status = job->engine->driver->cuEventSynchronize(worker->events[slot]);
	if (status != CUDA_SUCCESS)
		return driver_failure(job, chunk, "cuEventSynchronize", status);
	note_loaded(worker, job, slot);
	return 0;
}

static int slot_mark(struct copy_worker *worker, struct copy_job *job, const struct copy_chunk *chunk,
		     unsigned int slot)
{
	CUresult status = job->engine->driver->cuEventRecord(worker->events[slot], worker->stream);

	if (status != CUDA_SUCCESS)
		return driver_failure(job, chunk, "cuEventRecord", status);
	worker->busy[slot] = true;
	return 0;
}

static void count_done(struct copy_job *job, uint64_t bytes)
{
	_Atomic uint64_t *total =
		job->request.direction == COPY_FILE_TO_DEVICE ? &job->engine->to_device : &job->engine->from_device;

	atomic_fetch_add_explicit(&job->bytes_done, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(total, bytes, memory_order_relaxed);
}

static int read_block(struct copy_job *job, const struct copy_chunk *chunk, char *buffer, size_t bytes, uint64_t offset)
{
	const struct copy_job_file *from = &job->files[chunk->file];
	int file = from->direct >= 0 ? from->direct : from->descriptor;
	size_t done = 0;
	ssize_t count;

	while (done < bytes) {
		count = pread(file, buffer + done, bytes - done, (off_t)(offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno == EINVAL && file != from->descriptor) {
			file = from->descriptor; /* this file system cannot read around the page cache after all */
			continue;
		}
		if (count < 0)
			return copy_job_fail(job, -errno, "Reading allocation %llu, chunk %u of %s failed: %s",
					     (unsigned long long)chunk->allocation_id, chunk->number,
					     name_of(job, chunk), errno_text(errno));
		if (count == 0)
			return copy_job_fail(job, -ENODATA,
					     "%s is truncated: it ends at byte %llu, in allocation %llu, chunk %u",
					     name_of(job, chunk), (unsigned long long)(offset + done),
					     (unsigned long long)chunk->allocation_id, chunk->number);
		done += (size_t)count;
	}
	return 0;
}

/* Reads and hashes a block. From the page cache it comes piece by piece, each hashed while it is in the core's cache. */
static int load_block(struct copy_job *job, const struct copy_chunk *chunk, char *buffer, size_t bytes, uint64_t offset,
		      XXH3_state_t *checksum)
{
	size_t piece_bytes = job->files[chunk->file].direct < 0 && job->request.verify ? COPY_HASH_BYTES : bytes;
	size_t at, piece;

	for (at = 0; at < bytes; at += piece) {
		piece = bytes - at < piece_bytes ? bytes - at : piece_bytes;
		if (read_block(job, chunk, buffer + at, piece, offset + at))
			return -EIO;
		if (job->request.verify)
			XXH3_64bits_update(checksum, buffer + at, piece);
	}
	return 0;
}

static int load_chunk(struct copy_worker *worker, struct copy_job *job, const struct copy_chunk *chunk)
{
	const struct cuda_driver *driver = job->engine->driver;
	unsigned int last_slot = worker->slot;
	XXH3_state_t checksum;
	CUresult status;
	uint64_t at;
	size_t bytes;
	char *buffer;

	if (chunk->bytes == 0)
		return 0;
	if (chunk->zero) {
		status = driver->cuMemsetD8Async(chunk->device_address, 0, chunk->bytes, worker->stream);
		if (status != CUDA_SUCCESS)
			return driver_failure(job, chunk, "cuMemsetD8Async", status);
		count_done(job, chunk->bytes);
		return 0;
	}
	XXH3_64bits_reset(&checksum);
	for (at = 0; at < chunk->bytes; at += bytes) {
		if (atomic_load_explicit(&job->stop, memory_order_relaxed))
			return -ECANCELED;
		bytes = chunk->bytes - at < worker->block_bytes ? (size_t)(chunk->bytes - at) : worker->block_bytes;
		buffer = worker->memory + worker->slot * worker->block_bytes;
		if (slot_wait(worker, job, chunk, worker->slot) ||
		    load_block(job, chunk, buffer, bytes, chunk->file_offset + at, &checksum))
			return -EIO;
		status = driver->cuMemcpyHtoDAsync(chunk->device_address + at, buffer, bytes, worker->stream);
		if (status != CUDA_SUCCESS)
			return driver_failure(job, chunk, "cuMemcpyHtoDAsync", status);
		if (slot_mark(worker, job, chunk, worker->slot))
			return -EIO;
		last_slot = worker->slot;
		worker->slot = (worker->slot + 1) % worker->slots;
		count_done(job, bytes);
	}
	if (job->request.verify && XXH3_64bits_digest(&checksum) != chunk->checksum)
		return copy_job_fail(
			job, -EBADMSG,
			"%s is damaged: the checksum of allocation %llu, chunk %u does not match; restore from "
			"another copy of the image",
			name_of(job, chunk), (unsigned long long)chunk->allocation_id, chunk->number);
	worker->ends[last_slot] = chunk;
	return 0;
}

/* Is it to take no chunk now, for somebody else who needs the link to the device? */
static bool rests(const struct copy_worker *worker, struct copy_job *job)
{
	struct copy_engine *engine = worker->engine;
	bool background;

	if (!engine->yield_to || atomic_load(engine->yield_to) <= 0 || job->request.worker_limit ||
	    job->request.direction != COPY_FILE_TO_DEVICE || copy_job_is_exhausted(job))
		return false;
	pthread_mutex_lock(&engine->lock);
	background = job->background;
	pthread_mutex_unlock(&engine->lock);
	return background || (unsigned int)(worker - engine->workers) >= (engine->worker_count + 1) / 2;
}

/*
 * The second half of the workers rests while somebody else needs the link more. On an H200 the driver restored a
 * process of 16 GiB in about 0.36 s while all 16 copied and in about 0.27 s while 8 did (separate runs of two or three
 * restores).
 */
static struct copy_chunk *take_chunk(struct copy_worker *worker, struct copy_job *job)
{
	const struct timespec pause = {.tv_nsec = 500000};
	size_t index;

	while (rests(worker, job) && !copy_job_gives_way(worker, job))
		nanosleep(&pause, NULL);
	if (copy_job_gives_way(worker, job) || atomic_load(&job->stop))
		return NULL;
	index = atomic_load(&job->next_chunk);
	while (index < atomic_load(&job->ready))
		if (atomic_compare_exchange_weak(&job->next_chunk, &index, index + 1))
			return &job->request.chunks[index];
	return NULL;
}

static bool all_zero(const char *data, size_t bytes)
{
	return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

static int write_block(struct copy_job *job, const struct copy_chunk *chunk, const char *buffer, size_t bytes,
		       uint64_t offset)
{
	size_t done = 0;
	ssize_t count;

	while (done < bytes) {
		count = pwrite(job->files[chunk->file].descriptor, buffer + done, bytes - done, (off_t)(offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && (errno == ENOSPC || errno == EDQUOT))
			return copy_job_fail(
				job, -errno,
				"The disk is full: no room to write %s; free space or choose another folder",
				name_of(job, chunk));
		if (count < 0)
			return copy_job_fail(job, -errno, "Writing allocation %llu, chunk %u of %s failed: %s",
					     (unsigned long long)chunk->allocation_id, chunk->number,
					     name_of(job, chunk), errno_text(errno));
		done += (size_t)count;
	}
	return 0;
}

/* A block on its way from the device, and what becomes of it. */
struct pending_block {
	struct copy_chunk *chunk;
	uint64_t at;
	size_t bytes;
};

struct store_state {
	struct pending_block pending[COPY_SLOTS_MAX]; /* indexed by slot */
	unsigned int count;
	struct copy_chunk *chunk; /* being asked of the device */
	uint64_t at;
	XXH3_state_t checksum; /* of the chunk being written */
	bool zero;
};

/* Asks the device for the next block; false where there is none. */
static bool store_ask(struct copy_worker *worker, struct copy_job *job, struct store_state *store, int *result)
{
	struct pending_block *block;
	unsigned int slot;
	CUresult status;

	if (!store->chunk || store->at == store->chunk->bytes) {
		store->chunk = take_chunk(worker, job);
		store->at = 0;
		if (!store->chunk)
			return false;
	}
	slot = (worker->slot + store->count) % worker->slots;
	block = &store->pending[slot];
	block->chunk = store->chunk;
	block->at = store->at;
	block->bytes = store->chunk->bytes - store->at < worker->block_bytes ? (size_t)(store->chunk->bytes - store->at)
									     : worker->block_bytes;
	status = job->engine->driver->cuMemcpyDtoHAsync(worker->memory + slot * worker->block_bytes,
							store->chunk->device_address + store->at, block->bytes,
							worker->stream);
	if (status != CUDA_SUCCESS) {
		*result = driver_failure(job, store->chunk, "cuMemcpyDtoHAsync", status);
		return false;
	}
	*result = slot_mark(worker, job, store->chunk, slot);
	store->at += block->bytes;
	store->count++;
	return *result == 0;
}

/* Takes the oldest block that was asked for: checksum, file. Blocks of zeros stay holes of the file. */
static int store_take(struct copy_worker *worker, struct copy_job *job, struct store_state *store)
{
	struct pending_block *block = &store->pending[worker->slot];
	char *buffer = worker->memory + worker->slot * worker->block_bytes;
	bool is_zero;

	if (slot_wait(worker, job, block->chunk, worker->slot))
		return -EIO;
	if (block->at == 0) {
		block->chunk->hash = (struct chunk_hash){0, 0};
		XXH3_64bits_reset(&store->checksum);
		store->zero = true;
	}
	XXH3_64bits_update(&store->checksum, buffer, block->bytes);
	if (job->request.hash)
		chunk_hash_add(&block->chunk->hash, buffer, block->bytes, block->at);
	is_zero = all_zero(buffer, block->bytes);
	store->zero &= is_zero;
	if (!is_zero || job->request.overwrite) {
		if (write_block(job, block->chunk, buffer, block->bytes, block->chunk->file_offset + block->at))
			return -EIO;
	}
	if (block->at + block->bytes == block->chunk->bytes) {
		block->chunk->zero = store->zero;
		block->chunk->checksum = store->zero ? 0 : XXH3_64bits_digest(&store->checksum);
		/* Let the disk begin now, so that the fsync at the end finds little to do. Only a hint. */
		if (!store->zero)
			sync_file_range(job->files[block->chunk->file].descriptor, (off_t)block->chunk->file_offset,
					(off_t)block->chunk->bytes, SYNC_FILE_RANGE_WRITE);
	}
	count_done(job, block->bytes);
	worker->slot = (worker->slot + 1) % worker->slots;
	store->count--;
	return 0;
}

static void store_chunks(struct copy_worker *worker, struct copy_job *job)
{
	struct store_state store = {.count = 0};
	int result = 0;

	do {
		while (store.count < worker->slots && store_ask(worker, job, &store, &result))
			;
	} while (result == 0 && store.count > 0 && !atomic_load(&job->stop) && store_take(worker, job, &store) == 0);
}

static void run_job(struct copy_worker *worker, struct copy_job *job)
{
	struct copy_engine *engine = job->engine;
	struct copy_chunk *chunk;
	unsigned int slot;
	uint64_t unset = 0;
	CUresult status;

	atomic_compare_exchange_strong(&job->began, &unset, monotonic_nanoseconds());
	worker->block_bytes = engine->slice_bytes / 2 / 4096 * 4096;
	if (worker->block_bytes > COPY_BLOCK_BYTES)
		worker->block_bytes = COPY_BLOCK_BYTES;
	worker->slots = (unsigned int)(engine->slice_bytes / worker->block_bytes);
	if (worker->slots > COPY_SLOTS_MAX)
		worker->slots = COPY_SLOTS_MAX;
	worker->slot = 0;
	if (worker->used_bytes < worker->slots * worker->block_bytes)
		worker->used_bytes = worker->slots * worker->block_bytes;
	memset(worker->busy, 0, sizeof(worker->busy));
	memset(worker->ends, 0, sizeof(worker->ends));

	if (job->request.direction == COPY_DEVICE_TO_FILE) {
		store_chunks(worker, job);
	} else {
		while ((chunk = take_chunk(worker, job)) && load_chunk(worker, job, chunk) == 0)
			;
	}
	/* Always: nothing may touch ring or device memory once the job has ended, failed or not. */
	status = engine->driver->cuStreamSynchronize(worker->stream);
	if (status != CUDA_SUCCESS)
		copy_job_fail(job, cuda_result_to_errno(status), "Copying %s failed: cuStreamSynchronize: %s",
			      job->files[0].name, cuda_result_name(engine->driver, status));
	for (slot = 0; slot < worker->slots && status == CUDA_SUCCESS; slot++)
		note_loaded(worker, job, slot);
}

/* Stream and events of a worker, on its own thread. */
static void prepare(struct copy_worker *worker)
{
	struct copy_engine *engine = worker->engine;
	const struct cuda_driver *driver = engine->driver;
	const char *call = "cuCtxSetCurrent";
	CUresult status;
	unsigned int i;

	status = driver->cuCtxSetCurrent(engine->context);
	if (status == CUDA_SUCCESS) {
		call = "cuStreamCreate";
		status = driver->cuStreamCreate(&worker->stream, CU_STREAM_NON_BLOCKING);
	}
	for (i = 0; i < COPY_SLOTS_MAX && status == CUDA_SUCCESS && i < engine->slice_bytes / 65536; i++) {
		call = "cuEventCreate";
		status = driver->cuEventCreate(&worker->events[i], CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
	}
	pthread_mutex_lock(&engine->lock);
	worker->ready = status == CUDA_SUCCESS;
	if (!worker->ready && engine->result == 0)
		engine->result =
			fail(&engine->error, cuda_result_to_errno(status), "Could not prepare a copy worker: %s: %s",
			     call, cuda_result_name(driver, status));
	engine->prepared++;
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
}

static void release(struct copy_worker *worker)
{
	const struct cuda_driver *driver = worker->engine->driver;
	unsigned int i;

	for (i = 0; i < COPY_SLOTS_MAX; i++)
		if (worker->events[i])
			driver->cuEventDestroy(worker->events[i]);
	if (worker->stream)
		driver->cuStreamDestroy(worker->stream);
}

/* Waits for a job, or wipes what the last ones left when none comes. The engine's lock is held, but not meanwhile. */
static void be_idle(struct copy_worker *worker)
{
	struct copy_engine *engine = worker->engine;
	uint64_t end = monotonic_nanoseconds() + COPY_WIPE_MS * UINT64_C(1000000);
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};

	if (worker->used_bytes == 0) {
		pthread_cond_wait(&engine->changed, &engine->lock);
		return;
	}
	if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) != ETIMEDOUT)
		return;
	pthread_mutex_unlock(&engine->lock);
	explicit_bzero(worker->memory, worker->used_bytes);
	pthread_mutex_lock(&engine->lock);
	worker->used_bytes = 0;
}

void *copy_worker_main(void *argument)
{
	struct copy_worker *worker = argument;
	struct copy_engine *engine = worker->engine;
	struct copy_job *job;
	bool attached;

	memset(worker->memory, 0, engine->slice_bytes);
	pthread_mutex_lock(&engine->lock);
	engine->touched++;
	pthread_cond_broadcast(&engine->changed);
	while (!engine->attached && !engine->stop)
		pthread_cond_wait(&engine->changed, &engine->lock);
	attached = engine->attached;
	pthread_mutex_unlock(&engine->lock);
	if (!attached)
		return NULL;
	prepare(worker);

	pthread_mutex_lock(&engine->lock);
	while (!engine->stop) {
		job = worker->ready ? copy_job_take(worker) : NULL;
		if (!job) {
			be_idle(worker);
			continue;
		}
		pthread_mutex_unlock(&engine->lock);
		run_job(worker, job);
		pthread_mutex_lock(&engine->lock);
		copy_job_leave(worker, job);
	}
	pthread_mutex_unlock(&engine->lock);
	release(worker);
	return NULL;
}
