/* SPDX-License-Identifier: MIT */
#include "pool/device/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"

int pool_create(struct pool **pool_out, const struct settings *settings, struct error_text *error)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return fail(error, -ENOMEM, "Out of memory");
	pool->settings = *settings;
	pool->started = monotonic_nanoseconds();
	pthread_mutex_init(&pool->driver_lock, NULL);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_mutex_init(&pool->tiers_lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	*pool_out = pool;
	return 0;
}

void pool_destroy(struct pool *pool)
{
	struct pool_device *device;
	int i;

	if (!pool)
		return;
	for (i = 0; i < pool->device_count; i++) {
		device = &pool->devices[i];
		if (device->thread_started)
			pthread_join(device->thread, NULL);
		copy_engine_destroy(device->engine);
		if (device->retained)
			pool->driver.cuDevicePrimaryCtxRelease(device->device);
	}
	copy_engine_destroy(pool->spare_engine);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->tiers_lock);
	pthread_mutex_destroy(&pool->lock);
	pthread_mutex_destroy(&pool->driver_lock);
	free(pool);
}

void pool_fill_status(struct pool *pool, struct pool_status *status)
{
	uint64_t to_device, from_device;
	int i;

	*status = (struct pool_status){
		.restores = atomic_load(&pool->restores),
		.checkpoints = atomic_load(&pool->checkpoints),
		.bytes_to_device = atomic_load(&pool->measured_to_device),
		.runs = atomic_load(&pool->runs),
		.pid = (int32_t)getpid(),
		.started_nanoseconds = pool->started,
		.images_resident = atomic_load(&pool->images_resident),
		.images_read = atomic_load(&pool->images_read),
		.images_pinned = atomic_load(&pool->images_pinned),
		.pinned_bytes_held = atomic_load(&pool->pinned_bytes),
		.moved_to_pinned = atomic_load(&pool->moved_to_pinned),
		.given_up = atomic_load(&pool->given_up),
		.expired = atomic_load(&pool->expired),
		.expired_bytes = atomic_load(&pool->expired_bytes),
	};
	if (!atomic_load(&pool->driver_ready))
		return;
	status->simulated = pool->driver.simulated;
	status->driver_version = pool->driver.version;
	for (i = 0; i < pool->device_count; i++) {
		status->device_bytes_held += atomic_load(&pool->devices[i].bytes_held);
		if (atomic_load(&pool->devices[i].state) != DEVICE_WARM)
			continue;
		copy_engine_totals(pool->devices[i].engine, &to_device, &from_device);
		status->bytes_to_device += to_device;
		status->bytes_from_device += from_device;
		status->ring_bytes += copy_engine_ring_bytes(pool->devices[i].engine);
		status->workers += copy_engine_workers(pool->devices[i].engine);
		status->contexts++;
	}
}

uint64_t pool_host_bytes(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool pool_fill_gpu(struct pool *pool, uint64_t ordinal, struct pool_gpu *gpu)
{
	struct pool_device *device;
	struct error_text error;

	if (!atomic_load(&pool->driver_ready) || ordinal >= (uint64_t)pool->device_count)
		return false;
	device = &pool->devices[ordinal];
	*gpu = (struct pool_gpu){
		.device = device->device,
		.warm = atomic_load(&device->state) == DEVICE_WARM,
		.bytes_held = atomic_load(&device->bytes_held),
		.memory_bytes = device->memory_bytes,
	};
	memcpy(gpu->uuid, device->uuid.bytes, sizeof(gpu->uuid));
	memcpy(gpu->name, device->name, sizeof(gpu->name));
	/* Of a GPU that is lost or has failed nothing is free for anybody. */
	gpu->free_known = !pool_device_free_bytes(device, false, &gpu->free_bytes, &error);
	if (!gpu->free_known)
		gpu->free_bytes = 0;
	return true;
}
