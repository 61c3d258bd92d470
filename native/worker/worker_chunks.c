/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "worker/worker_memory.h"

/* Contents are made and hashed on the host, in parts that fit a small pinned buffer of each thread. */
#define PART_BYTES ((size_t)4 << 20)

struct chunk_run {
	struct worker_memory *memory;
	enum chunk_work work;
	bool first_chunk_only;
	uint64_t *hashes;
	pthread_mutex_t mutex; /* guards the position and the error */
	size_t piece, offset;
	int result;
	struct error_text error;
};

struct chunk_thread {
	struct chunk_run *run;
	unsigned int number;
	pthread_t thread;
};

static bool is_on_host(const struct piece *piece)
{
	return piece->kind == PIECE_PINNED || piece->kind == PIECE_HOST;
}

static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15ull;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
	return value ^ (value >> 31);
}

/* Independent of order and thread: piece, generation and offset say what a word is. */
static void make_contents(const struct worker_memory *memory, const struct piece *piece, uint64_t generation,
			  size_t offset, void *buffer, size_t bytes)
{
	uint64_t key = mix(memory->options.seed ^ mix(piece->number * 1000003u + generation));
	uint64_t chunk = mix(key + offset / WORKER_CHUNK_BYTES);
	uint64_t *words = buffer;

	if (!generation && chunk % 100 < memory->options.zero_percent) {
		memset(buffer, 0, bytes);
		return;
	}
	for (size_t i = 0; i < bytes / sizeof(*words); i++) {
		uint64_t word = key + (offset + i * sizeof(*words)) * 0x9e3779b97f4a7c15ull;

		word = (word ^ (word >> 29)) * 0xbf58476d1ce4e5b9ull;
		words[i] = word ^ (word >> 32);
	}
}

static CUresult move_part(const struct chunk_run *run, unsigned int thread, const struct piece *piece, size_t offset,
			  size_t bytes)
{
	const struct cuda_driver *driver = run->memory->driver;
	CUstream stream = run->memory->streams[thread][piece->gpu];
	void *staging = run->memory->staging[thread];
	CUresult result;

	if (run->work == CHUNK_FILL)
		result = driver->cuMemcpyHtoDAsync(piece->address + offset, staging, bytes, stream);
	else
		result = driver->cuMemcpyDtoHAsync(staging, piece->address + offset, bytes, stream);
	return result == CUDA_SUCCESS ? driver->cuStreamSynchronize(stream) : result;
}

static CUresult run_chunk(struct chunk_run *run, unsigned int thread, const struct piece *piece, size_t offset,
			  size_t bytes, XXH3_state_t *hash)
{
	uint64_t generation = run->memory->generation;

	XXH3_64bits_reset(hash);
	for (size_t done = 0; done < bytes;) {
		size_t part = bytes - done < PART_BYTES ? bytes - done : PART_BYTES;
		void *buffer = is_on_host(piece) ? (void *)(uintptr_t)(piece->address + offset + done)
						 : run->memory->staging[thread];
		CUresult result = CUDA_SUCCESS;

		if (run->work == CHUNK_FILL)
			make_contents(run->memory, piece, generation, offset + done, buffer, part);
		if (!is_on_host(piece))
			result = move_part(run, thread, piece, offset + done, part);
		if (result != CUDA_SUCCESS)
			return result;
		if (run->work == CHUNK_HASH)
			XXH3_64bits_update(hash, buffer, part);
		done += part;
	}
	if (run->work == CHUNK_HASH)
		run->hashes[piece->first_hash + offset / WORKER_CHUNK_BYTES] = XXH3_64bits_digest(hash);
	return CUDA_SUCCESS;
}

/* Takes the next chunk; false when there is none, or when another thread failed. */
static bool next_chunk(struct chunk_run *run, const struct piece **piece, size_t *offset, size_t *bytes)
{
	bool found = false;

	pthread_mutex_lock(&run->mutex);
	while (!run->result && !found && run->piece < run->memory->count) {
		const struct piece *candidate = &run->memory->pieces[run->piece];
		bool skip = run->work == CHUNK_FILL && candidate->kind == PIECE_ALIAS;

		if (!skip && run->offset < candidate->bytes && !(run->first_chunk_only && run->offset)) {
			*piece = candidate;
			*offset = run->offset;
			*bytes = candidate->bytes - run->offset < WORKER_CHUNK_BYTES ? candidate->bytes - run->offset
										     : WORKER_CHUNK_BYTES;
			run->offset += *bytes;
			found = true;
		} else {
			run->piece++;
			run->offset = 0;
		}
	}
	pthread_mutex_unlock(&run->mutex);
	return found;
}

static void *chunk_thread(void *argument)
{
	struct chunk_thread *self = argument;
	struct chunk_run *run = self->run;
	const struct cuda_driver *driver = run->memory->driver;
	XXH3_state_t *hash = XXH3_createState();
	const struct piece *piece;
	size_t offset, bytes;
	CUresult result = CUDA_SUCCESS;
	int current = -1;

	while (result == CUDA_SUCCESS && next_chunk(run, &piece, &offset, &bytes)) {
		if (driver && current != (int)piece->gpu)
			result = driver->cuCtxSetCurrent(run->memory->gpus.contexts[piece->gpu]);
		current = (int)piece->gpu;
		if (result == CUDA_SUCCESS)
			result = run_chunk(run, self->number, piece, offset, bytes, hash);
	}
	if (result != CUDA_SUCCESS) {
		pthread_mutex_lock(&run->mutex);
		run->result = fail(&run->error, -EIO, "Copying contents failed: %s", cuda_result_name(driver, result));
		pthread_mutex_unlock(&run->mutex);
	}
	XXH3_freeState(hash);
	return NULL;
}

int worker_chunks_run(struct worker_memory *memory, enum chunk_work work, size_t first, bool first_chunk_only,
		      uint64_t *hashes, struct error_text *error)
{
	struct chunk_run run = {.memory = memory,
				.work = work,
				.first_chunk_only = first_chunk_only,
				.hashes = hashes,
				.mutex = PTHREAD_MUTEX_INITIALIZER,
				.piece = first};
	struct chunk_thread threads[WORKER_THREADS_MAX];
	unsigned int started = 0;

	for (; started < memory->threads; started++) {
		threads[started].run = &run;
		threads[started].number = started;
		if (pthread_create(&threads[started].thread, NULL, chunk_thread, &threads[started]))
			break;
	}
	for (unsigned int i = 0; i < started; i++)
		pthread_join(threads[i].thread, NULL);
	if (!started)
		return fail(error, -EAGAIN, "No thread could be started");
	if (run.result && error)
		*error = run.error;
	return run.result;
}
