/* SPDX-License-Identifier: MIT */
#include "copy/copy_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "copy/copy_internal.h"

#define HUGE_PAGE_BYTES (2u * 1024u * 1024u)

/* Huge pages halve the time that pinning takes, so the ring starts on a huge page and asks for them. */
static char *map_ring(size_t bytes)
{
	char *start, *aligned;
	size_t lead;

	start = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	lead = (HUGE_PAGE_BYTES - (uintptr_t)start % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
	aligned = start + lead;
	if (lead)
		munmap(start, lead);
	munmap(aligned + bytes, HUGE_PAGE_BYTES - lead);
	madvise(aligned, bytes, MADV_HUGEPAGE);
	/* A forked child would make the kernel copy pinned pages. */
	madvise(aligned, bytes, MADV_DONTFORK);
	/* What passes through here is the memory of other people's processes. */
	madvise(aligned, bytes, MADV_DONTDUMP);
	return aligned;
}

int copy_engine_create(struct copy_engine **engine_out, unsigned int workers, size_t ring_bytes,
		       struct error_text *error)
{
	struct copy_engine *engine = calloc(1, sizeof(*engine));
	pthread_condattr_t attributes;
	unsigned int i;

	if (!engine)
		return fail(error, -ENOMEM, "Out of memory");
	pthread_mutex_init(&engine->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	engine->jobs_end = &engine->jobs;
	engine->worker_count = workers;
	/* Whole pages for each worker, two blocks at least. */
	engine->slice_bytes = ring_bytes / workers / 8192 * 8192;
	if (engine->slice_bytes < 2 * 65536)
		engine->slice_bytes = 2 * 65536;
	engine->ring_bytes = engine->slice_bytes * workers;
	engine->ring_bytes = (engine->ring_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
	engine->ring = map_ring(engine->ring_bytes);
	engine->workers = calloc(workers, sizeof(*engine->workers));
	if (!engine->ring || !engine->workers) {
		copy_engine_destroy(engine);
		return fail(error, -ENOMEM, "Out of memory: no %zu MiB for the staging ring; lower REKINDLE_RING_SIZE",
			    ring_bytes >> 20);
	}
	for (i = 0; i < workers; i++) {
		engine->workers[i].engine = engine;
		engine->workers[i].memory = engine->ring + i * engine->slice_bytes;
		if (pthread_create(&engine->workers[i].thread, NULL, copy_worker_main, &engine->workers[i])) {
			copy_engine_destroy(engine);
			return fail(error, -EAGAIN, "Could not start %u copy threads; lower CRIU_CUDA_STREAMS",
				    workers);
		}
		engine->started++;
	}
	*engine_out = engine;
	return 0;
}

int copy_engine_attach(struct copy_engine *engine, const struct cuda_driver *driver, CUcontext context,
		       struct error_text *error)
{
	const char *call = "cuCtxSetCurrent";
	CUresult status;
	int result = 0;

	pthread_mutex_lock(&engine->lock);
	while (engine->touched < engine->worker_count)
		pthread_cond_wait(&engine->changed, &engine->lock);
	pthread_mutex_unlock(&engine->lock);

	engine->driver = driver;
	engine->context = context;
	status = driver->cuCtxSetCurrent(context);
	if (status == CUDA_SUCCESS) {
		call = "cuMemHostRegister";
		status = driver->cuMemHostRegister(engine->ring, engine->ring_bytes, 0);
	}
	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status),
			    "Could not pin %zu MiB of host memory for copies: %s: %s", engine->ring_bytes >> 20, call,
			    cuda_result_name(driver, status));
	engine->registered = true;

	pthread_mutex_lock(&engine->lock);
	engine->attached = true;
	pthread_cond_broadcast(&engine->changed);
	while (engine->prepared < engine->worker_count)
		pthread_cond_wait(&engine->changed, &engine->lock);
	if (engine->result) {
		result = engine->result;
		if (error)
			*error = engine->error;
	}
	pthread_mutex_unlock(&engine->lock);
	return result;
}

void copy_engine_destroy(struct copy_engine *engine)
{
	unsigned int i;

	if (!engine)
		return;
	pthread_mutex_lock(&engine->lock);
	engine->stop = true;
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
	for (i = 0; i < engine->started; i++)
		pthread_join(engine->workers[i].thread, NULL);
	if (engine->registered) {
		engine->driver->cuCtxSetCurrent(engine->context);
		engine->driver->cuMemHostUnregister(engine->ring);
	}
	if (engine->ring)
		munmap(engine->ring, engine->ring_bytes);
	free(engine->workers);
	pthread_cond_destroy(&engine->changed);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

void copy_engine_yield_to(struct copy_engine *engine, const _Atomic int *count)
{
	engine->yield_to = count;
}

unsigned int copy_engine_workers(const struct copy_engine *engine)
{
	return engine->worker_count;
}

size_t copy_engine_ring_bytes(const struct copy_engine *engine)
{
	return engine->ring_bytes;
}

void copy_engine_totals(const struct copy_engine *engine, uint64_t *to_device, uint64_t *from_device)
{
	*to_device = atomic_load_explicit(&engine->to_device, memory_order_relaxed);
	*from_device = atomic_load_explicit(&engine->from_device, memory_order_relaxed);
}
