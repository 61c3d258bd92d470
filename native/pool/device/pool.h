/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_POOL_H
#define REKINDLE_POOL_DEVICE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "copy/copy_engine.h"
#include "driver/cuda_driver.h"
#include "protocol/pool_protocol.h"
#include "settings/settings.h"
#include "support/error_text.h"

/* What the parts of the pool share: the driver, the devices and their warm contexts, the counters. */

#define POOL_DEVICES_MAX 64

struct pool;
struct prefetch;

/* DEVICE_LOST: an error broke its context for good, in this process. */
enum pool_device_state { DEVICE_COLD, DEVICE_WARMING, DEVICE_WARM, DEVICE_FAILED, DEVICE_LOST };

/* A device of this machine. What names it is set once, before the driver counts as ready. */
struct pool_device {
	struct pool *pool;
	CUdevice device; /* its ordinal */
	CUuuid uuid;
	char name[96];
	uint64_t memory_bytes;
	_Atomic int state; /* enum pool_device_state; context and engine are valid once it is DEVICE_WARM */
	CUcontext context;
	bool retained;
	struct copy_engine *engine;
	_Atomic uint64_t bytes_held; /* of its memory, by the pool */

	/* Under the pool's lock. */
	pthread_t thread; /* that warms it */
	bool thread_started;
	int result; /* of the last try */
	struct error_text error;
};

struct pool {
	struct settings settings;
	bool private_run; /* serves one run only */
	uint64_t started;

	pthread_mutex_t driver_lock; /* held while the driver is opened */
	atomic_bool driver_opened;   /* driver is valid */
	atomic_bool driver_ready;    /* cuInit is done and devices are known */
	struct cuda_driver driver;
	struct pool_device devices[POOL_DEVICES_MAX];
	int device_count;

	pthread_mutex_t lock;
	pthread_cond_t changed;		  /* state of a device */
	struct copy_engine *spare_engine; /* made ahead, while cuInit runs */
	struct prefetch *kept;		  /* filled ahead for clients, until a restore adopts it */
	struct prefetch *moving;	  /* of what was kept, on its way to pinned memory, and not in that list */
	struct prefetch *prefetches;	  /* all of them, also those of runs; the last one is the first */
	uint64_t last_prefetch;		  /* its number */

	atomic_bool device_lost;     /* some device is DEVICE_LOST: the pool takes no more runs, and ends */
	_Atomic int driver_restores; /* under way: copies yield to them */
	_Atomic uint64_t restores, checkpoints, images_resident, images_pinned, images_read, measured_to_device;
	/* Held while what is kept changes from one kind of memory to another, or makes room: see prefetch_tiers.c. */
	pthread_mutex_t tiers_lock;
	_Atomic unsigned int room_waits; /* who wait for the room that it leaves */
	_Atomic uint64_t pinned_bytes;	 /* of images in pinned memory */
	_Atomic uint64_t moved_to_pinned, given_up, expired, expired_bytes;
	_Atomic uint32_t runs;
	_Atomic uint32_t leases;
};

int pool_create(struct pool **pool, const struct settings *settings, struct error_text *error);
/* No run may be under way, and nothing may be kept (prefetch_drop_all). */
void pool_destroy(struct pool *pool);
void pool_fill_status(struct pool *pool, struct pool_status *status);
/* Memory of the machine beside that of its devices. */
uint64_t pool_host_bytes(void);
/* False: there is no GPU with this ordinal, or the driver was not started yet. */
bool pool_fill_gpu(struct pool *pool, uint64_t ordinal, struct pool_gpu *gpu);

/* ---- device_warmup.c ---- */

/* Opens the driver, cuInit, finds the devices; the first call does it. */
int pool_driver_prepare(struct pool *pool, struct error_text *error);
/* Begins to make the staging ring for the device that will be warmed first. Quick. */
void pool_spare_engine_begin(struct pool *pool);
/* Begins to warm a device in the background. The driver must be ready. */
void pool_device_warm_begin(struct pool_device *device);
/* Warms a device and waits until it is; a failure is tried again at the next call. */
int pool_device_warm(struct pool_device *device, struct error_text *error);
/*
 * How much of the device's memory is free now. Of a cold one the management library tells; where that is not there the
 * device is warmed, or where that is not wanted, the result is -EAGAIN.
 */
int pool_device_free_bytes(struct pool_device *device, bool may_warm, uint64_t *bytes, struct error_text *error);
/* Makes the device's context current on this thread. The device must be warm. */
int pool_device_use(struct pool_device *device, struct error_text *error);
/*
 * Looks, after something failed, whether it was an error after which every call in a context fails until the process
 * ends (CUDA calls such errors sticky). Then the device is lost.
 */
void pool_look_for_lost_devices(struct pool *pool);
/* Is any device warm? */
bool pool_is_warm(struct pool *pool);
/* The device with this UUID, or NULL. The driver must be ready. */
struct pool_device *pool_device_find(struct pool *pool, const uint8_t uuid[16]);

#endif
