/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "driver/gpu_memory.h"
#include "pool/device/pool.h"
#include "support/clock.h"
#include "support/log.h"

static int find_devices(struct pool *pool, struct error_text *error)
{
	const struct cuda_driver *driver = &pool->driver;
	struct pool_device *device;
	const char *call = "cuDeviceGetCount";
	size_t memory = 0;
	CUresult status;
	int count = 0, i;

	status = driver->cuDeviceGetCount(&count);
	if (count > POOL_DEVICES_MAX)
		count = POOL_DEVICES_MAX;
	for (i = 0; i < count && status == CUDA_SUCCESS; i++) {
		device = &pool->devices[i];
		device->pool = pool;
		call = "cuDeviceGet";
		status = driver->cuDeviceGet(&device->device, i);
		if (status == CUDA_SUCCESS) {
			call = "cuDeviceGetUuid";
			status = driver->cuDeviceGetUuid(&device->uuid, device->device);
		}
		if (status == CUDA_SUCCESS) {
			call = "cuDeviceGetName";
			status = driver->cuDeviceGetName(device->name, sizeof(device->name), device->device);
		}
		if (status == CUDA_SUCCESS) {
			call = "cuDeviceTotalMem";
			status = driver->cuDeviceTotalMem(&memory, device->device);
			device->memory_bytes = memory;
		}
	}
	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status), "Could not list the GPUs: %s: %s", call,
			    cuda_result_name(driver, status));
	pool->device_count = count;
	return 0;
}

int pool_driver_prepare(struct pool *pool, struct error_text *error)
{
	const char *path = pool->settings.cuda_driver[0] ? pool->settings.cuda_driver : NULL;
	CUresult status;
	int result = 0;

	if (atomic_load(&pool->driver_ready))
		return 0;
	pthread_mutex_lock(&pool->driver_lock);
	if (atomic_load(&pool->driver_ready))
		goto out;
	if (!atomic_load(&pool->driver_opened)) {
		result = cuda_driver_open(&pool->driver, path, error);
		if (result)
			goto out;
		atomic_store(&pool->driver_opened, true);
	}
	status = pool->driver.cuInit(0);
	if (status != CUDA_SUCCESS) {
		result =
			fail(error, cuda_result_to_errno(status), "The CUDA driver does not start: cuInit: %s%s",
			     cuda_result_name(&pool->driver, status),
			     status == CUDA_ERROR_NO_DEVICE ? ": this machine has no GPU that the driver can use" : "");
		goto out;
	}
	result = find_devices(pool, error);
	if (result == 0) {
		if (pool->driver.simulated)
			log_info("SIMULATED GPU: %d device(s), driver %d", pool->device_count, pool->driver.version);
		atomic_store(&pool->driver_ready, true);
	}
out:
	pthread_mutex_unlock(&pool->driver_lock);
	return result;
}

static int make_engine(struct pool *pool, struct copy_engine **engine, struct error_text *error)
{
	size_t ring_bytes = pool->settings.ring_bytes;
	int result;

	if (ring_bytes == 0)
		ring_bytes = (size_t)pool->settings.streams * 8 * 1024 * 1024;
	result = copy_engine_create(engine, pool->settings.streams, ring_bytes, error);
	if (result == 0)
		copy_engine_yield_to(*engine, &pool->driver_restores);
	return result;
}

void pool_spare_engine_begin(struct pool *pool)
{
	struct copy_engine *engine = NULL;
	struct error_text error;
	bool needed;

	pthread_mutex_lock(&pool->lock);
	needed = !pool->spare_engine && !pool_is_warm(pool);
	pthread_mutex_unlock(&pool->lock);
	if (!needed || make_engine(pool, &engine, &error))
		return; /* whoever needs an engine will meet the same failure and report it */
	pthread_mutex_lock(&pool->lock);
	if (!pool->spare_engine) {
		pool->spare_engine = engine;
		engine = NULL;
	}
	pthread_mutex_unlock(&pool->lock);
	copy_engine_destroy(engine);
}

static int warm(struct pool_device *device, struct error_text *error)
{
	struct pool *pool = device->pool;
	const struct cuda_driver *driver = &pool->driver;
	struct copy_engine *engine;
	CUresult status;
	int result = 0;

	pthread_mutex_lock(&pool->lock);
	engine = pool->spare_engine;
	pool->spare_engine = NULL;
	pthread_mutex_unlock(&pool->lock);
	if (!engine)
		result = make_engine(pool, &engine, error);
	if (result)
		return result;
	if (!device->retained) {
		status = driver->cuDevicePrimaryCtxRetain(&device->context, device->device);
		if (status != CUDA_SUCCESS) {
			result = fail(error, cuda_result_to_errno(status),
				      "Could not make a CUDA context on GPU %d (%s): cuDevicePrimaryCtxRetain: %s",
				      device->device, device->name, cuda_result_name(driver, status));
			goto out;
		}
		device->retained = true;
	}
	result = copy_engine_attach(engine, driver, device->context, error);
	if (result == 0) {
		device->engine = engine;
		engine = NULL;
	}
out:
	copy_engine_destroy(engine);
	return result;
}

static void *warm_main(void *argument)
{
	struct pool_device *device = argument;
	struct pool *pool = device->pool;
	uint64_t began = monotonic_nanoseconds();
	struct error_text error = {""};
	int result = warm(device, &error);

	if (result == 0)
		log_info("%sGPU %d (%s) is warm: context and %zu MiB of pinned ring in %.3f s",
			 pool->driver.simulated ? "SIMULATED " : "", device->device, device->name,
			 copy_engine_ring_bytes(device->engine) >> 20, (double)(monotonic_nanoseconds() - began) / 1e9);
	pthread_mutex_lock(&pool->lock);
	device->result = result;
	device->error = error;
	atomic_store(&device->state, result ? DEVICE_FAILED : DEVICE_WARM);
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

void pool_device_warm_begin(struct pool_device *device)
{
	struct pool *pool = device->pool;
	int state;

	pthread_mutex_lock(&pool->lock);
	state = atomic_load(&device->state);
	if (state == DEVICE_COLD || state == DEVICE_FAILED) {
		if (device->thread_started)
			pthread_join(device->thread, NULL); /* it has failed, and ended */
		atomic_store(&device->state, DEVICE_WARMING);
		device->thread_started = pthread_create(&device->thread, NULL, warm_main, device) == 0;
		if (!device->thread_started) {
			device->result = fail(&device->error, -EAGAIN, "Could not start a thread to warm GPU %d",
					      device->device);
			atomic_store(&device->state, DEVICE_FAILED);
		}
	}
	pthread_mutex_unlock(&pool->lock);
}

int pool_device_warm(struct pool_device *device, struct error_text *error)
{
	struct pool *pool = device->pool;
	int result = 0;

	if (atomic_load(&device->state) == DEVICE_WARM)
		return 0;
	pool_device_warm_begin(device);
	pthread_mutex_lock(&pool->lock);
	while (atomic_load(&device->state) == DEVICE_WARMING)
		pthread_cond_wait(&pool->changed, &pool->lock);
	if (atomic_load(&device->state) != DEVICE_WARM) {
		result = device->result;
		if (error)
			*error = device->error;
	}
	pthread_mutex_unlock(&pool->lock);
	return result;
}

int pool_device_use(struct pool_device *device, struct error_text *error)
{
	const struct cuda_driver *driver = &device->pool->driver;
	CUresult status = driver->cuCtxSetCurrent(device->context);

	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status),
			    "The context on GPU %d is unusable: cuCtxSetCurrent: %s", device->device,
			    cuda_result_name(driver, status));
	return 0;
}

int pool_device_free_bytes(struct pool_device *device, bool may_warm, uint64_t *bytes, struct error_text *error)
{
	const struct cuda_driver *driver = &device->pool->driver;
	size_t free_bytes = 0, total;
	CUresult status;
	int result;

	if (atomic_load(&device->state) != DEVICE_WARM) {
		if (gpu_memory_free(driver, &device->uuid, bytes))
			return 0;
		if (!may_warm)
			return fail(error, -EAGAIN, "How much of GPU %d is free is not known before it is warm",
				    device->device);
	}
	result = pool_device_warm(device, error);
	if (result == 0)
		result = pool_device_use(device, error);
	if (result)
		return result;
	status = driver->cuMemGetInfo(&free_bytes, &total);
	*bytes = free_bytes;
	return status == CUDA_SUCCESS
		       ? 0
		       : fail(error, cuda_result_to_errno(status), "cuMemGetInfo of GPU %d (%s) failed: %s",
			      device->device, device->name, cuda_result_name(driver, status));
}

static void lose(struct pool_device *device, CUresult status)
{
	struct pool *pool = device->pool;

	pthread_mutex_lock(&pool->lock);
	if (atomic_load(&device->state) == DEVICE_WARM) {
		device->result = fail(&device->error, -EIO,
				      "GPU %d (%s) is lost to this pool process since %s: a new process can use it "
				      "again, so start the pool anew where it does not end by itself",
				      device->device, device->name, cuda_result_name(&pool->driver, status));
		log_error("%s", device->error.text);
		atomic_store(&device->state, DEVICE_LOST);
		atomic_store(&pool->device_lost, true);
	}
	pthread_mutex_unlock(&pool->lock);
}

void pool_look_for_lost_devices(struct pool *pool)
{
	struct error_text error;
	CUresult status;
	int i;

	for (i = 0; atomic_load(&pool->driver_ready) && i < pool->device_count; i++) {
		if (atomic_load(&pool->devices[i].state) != DEVICE_WARM || pool_device_use(&pool->devices[i], &error))
			continue;
		/* Of all calls the one that does the least. */
		status = pool->driver.cuStreamQuery(NULL);
		if (status != CUDA_SUCCESS && status != CUDA_ERROR_NOT_READY)
			lose(&pool->devices[i], status);
	}
}

bool pool_is_warm(struct pool *pool)
{
	int i;

	for (i = 0; atomic_load(&pool->driver_ready) && i < pool->device_count; i++)
		if (atomic_load(&pool->devices[i].state) == DEVICE_WARM)
			return true;
	return false;
}

struct pool_device *pool_device_find(struct pool *pool, const uint8_t uuid[16])
{
	int i;

	for (i = 0; i < pool->device_count; i++)
		if (memcmp(pool->devices[i].uuid.bytes, uuid, 16) == 0)
			return &pool->devices[i];
	return NULL;
}
