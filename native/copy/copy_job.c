/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "copy/copy_internal.h"
#include "copy/page_cache.h"
#include "support/clock.h"

/* Takes the job off the queue and tells those who wait. Engine's lock held. */
static void job_end(struct copy_job *job)
{
	struct copy_engine *engine = job->engine;
	struct copy_job **at;

	for (at = &engine->jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	if (!*at)
		engine->jobs_end = at;
	atomic_fetch_sub(&engine->job_count, 1);
	job->ended = true;
	job->ended_at = monotonic_nanoseconds();
	pthread_cond_broadcast(&engine->changed);
}

bool copy_job_is_exhausted(struct copy_job *job)
{
	return atomic_load(&job->stop) || atomic_load(&job->next_chunk) >= atomic_load(&job->ready);
}

/* Nor will there ever be. */
static bool job_over(struct copy_job *job)
{
	return copy_job_is_exhausted(job) && (!job->grows || atomic_load(&job->stop));
}

/* Workers that go on with jobs of each way. */
static void count_workers(const struct copy_engine *engine, unsigned int counts[2])
{
	const struct copy_job *job;

	counts[COPY_FILE_TO_DEVICE] = counts[COPY_DEVICE_TO_FILE] = 0;
	for (job = engine->jobs; job; job = job->next)
		counts[job->request.direction] += job->active - job->leaving;
}

/* For one more worker: the two ways do not hinder each other, so both are kept going. */
static bool goes_first(const struct copy_job *job, const struct copy_job *other, const unsigned int counts[2])
{
	if (job->background != other->background)
		return other->background;
	return counts[job->request.direction] < counts[other->request.direction];
}

/* best: what the worker has, or NULL. */
static struct copy_job *choose(const struct copy_engine *engine, struct copy_job *best, const unsigned int counts[2])
{
	struct copy_job *job;

	for (job = engine->jobs; job; job = job->next) {
		if (copy_job_is_exhausted(job))
			continue;
		if (job->request.worker_limit && job->active >= job->request.worker_limit)
			continue;
		if (!best || goes_first(job, best, counts))
			best = job;
	}
	return best;
}

bool copy_job_gives_way(struct copy_worker *worker, struct copy_job *job)
{
	struct copy_engine *engine = worker->engine;
	unsigned int counts[2];
	struct copy_job *best;

	if (atomic_load(&engine->job_count) < 2 || worker->next_job)
		return worker->next_job != NULL;
	pthread_mutex_lock(&engine->lock);
	count_workers(engine, counts);
	counts[job->request.direction]--;
	best = choose(engine, job, counts);
	if (best != job) {
		job->leaving++;
		best->active++;
		worker->next_job = best;
	}
	pthread_mutex_unlock(&engine->lock);
	return best != job;
}

struct copy_job *copy_job_take(struct copy_worker *worker)
{
	struct copy_job *job = worker->next_job;
	unsigned int counts[2];

	worker->next_job = NULL;
	if (job)
		return job;
	count_workers(worker->engine, counts);
	job = choose(worker->engine, NULL, counts);
	if (job)
		job->active++;
	return job;
}

void copy_job_leave(struct copy_worker *worker, struct copy_job *job)
{
	job->active--;
	job->leaving -= worker->next_job != NULL;
	if (job->active == 0 && job_over(job))
		job_end(job);
}

int copy_job_fail(struct copy_job *job, int code, const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&job->engine->lock);
	if (job->result == 0) {
		job->result = code;
		va_start(arguments, format);
		vsnprintf(job->error.text, sizeof(job->error.text), format, arguments);
		va_end(arguments);
	}
	atomic_store(&job->stop, true);
	pthread_mutex_unlock(&job->engine->lock);
	return code;
}

/* Reads around the page cache pay only for a cold file on a disk, and only with whole, aligned blocks. */
static int open_direct_if_cold(const struct copy_request *request, unsigned int file)
{
	uint64_t first = UINT64_MAX, last = 0;
	int descriptor = request->files[file].descriptor;
	size_t i;

	if (request->direction != COPY_FILE_TO_DEVICE || request->worker_limit == 1)
		return -1; /* one buffered reader has the kernel's readahead, which is as good */
	for (i = 0; i < request->chunk_count; i++) {
		if (request->chunks[i].zero || request->chunks[i].file != file)
			continue;
		if (request->chunks[i].file_offset % 4096 || request->chunks[i].bytes % 4096)
			return -1;
		if (request->chunks[i].file_offset < first)
			first = request->chunks[i].file_offset;
		if (request->chunks[i].file_offset + request->chunks[i].bytes > last)
			last = request->chunks[i].file_offset + request->chunks[i].bytes;
	}
	if (first >= last || !file_is_cold(descriptor, first, last - first))
		return -1;
	return file_open_direct(descriptor);
}

static void job_free(struct copy_job *job)
{
	unsigned int i;

	for (i = 0; job->files && i < job->request.file_count; i++)
		if (job->files[i].direct >= 0)
			close(job->files[i].direct);
	free(job->files);
	free(job->loaded);
	free(job);
}

static struct copy_job *job_create(struct copy_engine *engine, const struct copy_request *request)
{
	struct copy_job *job = calloc(1, sizeof(*job));
	unsigned int i;

	if (!job)
		return NULL;
	job->engine = engine;
	job->request = *request;
	job->request.files = NULL;
	job->grows = request->grows;
	job->background = request->background;
	atomic_store(&job->ready, request->grows ? 0 : request->chunk_count);
	job->files = calloc(request->file_count + 1, sizeof(*job->files));
	if (request->direction == COPY_FILE_TO_DEVICE)
		job->loaded = calloc(request->chunk_count + 1, sizeof(*job->loaded));
	if (!job->files || (request->direction == COPY_FILE_TO_DEVICE && !job->loaded)) {
		free(job->files);
		free(job->loaded);
		free(job);
		return NULL;
	}
	for (i = 0; i < request->file_count; i++) {
		snprintf(job->files[i].name, sizeof(job->files[i].name), "%s", request->files[i].name);
		job->files[i].descriptor = request->files[i].descriptor;
		job->files[i].direct = open_direct_if_cold(request, i);
	}
	return job;
}

int copy_job_start(struct copy_engine *engine, const struct copy_request *request, struct copy_job **job_out,
		   struct error_text *error)
{
	struct copy_job *job = job_create(engine, request);
	int result = 0;

	if (!job)
		return fail(error, -ENOMEM, "Out of memory");
	pthread_mutex_lock(&engine->lock);
	if (!engine->attached || engine->stop) {
		result = fail(error, -EINVAL, "The copy engine is not running");
	} else {
		*engine->jobs_end = job;
		engine->jobs_end = &job->next;
		atomic_fetch_add(&engine->job_count, 1);
		if (request->chunk_count == 0 && !request->grows)
			job_end(job);
		pthread_cond_broadcast(&engine->changed);
	}
	pthread_mutex_unlock(&engine->lock);
	if (result) {
		job_free(job);
		return result;
	}
	*job_out = job;
	return 0;
}

void copy_job_grow(struct copy_job *job, size_t ready, bool all)
{
	pthread_mutex_lock(&job->engine->lock);
	atomic_store(&job->ready, ready);
	job->grows = !all;
	if (!job->ended && job->active == 0 && job_over(job))
		job_end(job);
	pthread_cond_broadcast(&job->engine->changed);
	pthread_mutex_unlock(&job->engine->lock);
}

void copy_job_hurry(struct copy_job *job)
{
	pthread_mutex_lock(&job->engine->lock);
	job->background = false;
	pthread_mutex_unlock(&job->engine->lock);
}

void copy_job_cancel(struct copy_job *job)
{
	pthread_mutex_lock(&job->engine->lock);
	if (!job->ended) {
		if (job->result == 0)
			job->result = fail(&job->error, -ECANCELED, "The copy of %s was cancelled", job->files[0].name);
		atomic_store(&job->stop, true);
		if (job->active == 0)
			job_end(job);
	}
	pthread_mutex_unlock(&job->engine->lock);
}

bool copy_job_wait(struct copy_job *job, int timeout_ms)
{
	struct copy_engine *engine = job->engine;
	uint64_t end = monotonic_nanoseconds() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000u;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	bool ended;

	pthread_mutex_lock(&engine->lock);
	while (!job->ended) {
		if (timeout_ms < 0)
			pthread_cond_wait(&engine->changed, &engine->lock);
		else if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			break;
	}
	ended = job->ended;
	pthread_mutex_unlock(&engine->lock);
	return ended;
}

int copy_job_result(const struct copy_job *job, struct error_text *error)
{
	if (job->result && error)
		*error = job->error;
	return job->result;
}

bool copy_job_has_loaded(const struct copy_job *job, size_t chunk)
{
	return atomic_load_explicit(&job->loaded[chunk], memory_order_acquire);
}

uint64_t copy_job_bytes_done(const struct copy_job *job)
{
	return atomic_load_explicit(&job->bytes_done, memory_order_relaxed);
}

void copy_job_times(const struct copy_job *job, uint64_t *began, uint64_t *ended)
{
	*began = atomic_load(&job->began);
	*ended = job->ended_at;
}

void copy_job_finish(struct copy_job *job)
{
	if (!job)
		return;
	copy_job_wait(job, -1);
	job_free(job);
}
