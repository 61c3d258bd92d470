/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/* The process' use of the driver, and the devices. */

static pthread_mutex_t initialise_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool initialised;
static bool forked; /* a child of a process that used the driver */

static void before_fork(void)
{
	pthread_mutex_lock(&table_mutex);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&table_mutex);
}

/* The child has no driver, as with a real one; what it inherited must not keep device memory alive. */
static void after_fork_in_child(void)
{
	atomic_store(&initialised, false);
	forked = true;
	for (size_t i = 0; i < memories_end; i++)
		if (memories[i].used)
			memory_close_descriptor(&memories[i]);
	memories_end = mappings_end = 0;
	contexts_forget();
	host_memory_forget();
	streams_forget();
	restore_thread_forget();
	pthread_mutex_init(&table_mutex, NULL);
	pthread_mutex_init(&work_mutex, NULL);
}

CUresult simulated_cuInit(unsigned int flags)
{
	CUresult result = CUDA_SUCCESS;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&initialise_mutex);
	if (forked) {
		result = CUDA_ERROR_NOT_INITIALIZED;
		goto out;
	}
	if (atomic_load(&initialised))
		goto out;
	if (!devices_find()) {
		result = CUDA_ERROR_NO_DEVICE;
		goto out;
	}
	if (device_file_open() || restore_thread_start()) {
		result = CUDA_ERROR_OPERATING_SYSTEM;
		goto out;
	}
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
	atomic_store(&initialised, true);
out:
	pthread_mutex_unlock(&initialise_mutex);
	return result;
}

bool process_is_initialised(void)
{
	return atomic_load(&initialised);
}

CUresult simulated_cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = SIMCUDA_DRIVER_VERSION;
	return CUDA_SUCCESS;
}
