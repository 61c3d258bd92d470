/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/* The process' use of the driver, and the devices. */

pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;

static pthread_mutex_t initialise_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool initialised;
static bool forked; /* a child of a process that used the driver */
static int devices = 1;
static size_t memory_bytes = (size_t)64 << 30;

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
	for (size_t i = 0; i < memories_end; i++) {
		if (memories[i].used && memories[i].descriptor >= 0)
			close(memories[i].descriptor);
	}
	memories_end = mappings_end = 0;
	contexts_forget();
	host_memory_forget();
	streams_forget();
	restore_thread_forget();
	pthread_mutex_init(&table_mutex, NULL);
	pthread_mutex_init(&work_mutex, NULL);
}

static size_t size_setting(const char *name, size_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	size_t bytes;

	if (!text || !*text)
		return otherwise;
	bytes = strtoull(text, &end, 10);
	switch (*end) {
	case 'G':
		return bytes << 30;
	case 'M':
		return bytes << 20;
	case 'K':
		return bytes << 10;
	default:
		return bytes;
	}
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
	devices = (int)size_setting("REKINDLE_SIMCUDA_DEVICES", 1);
	memory_bytes = size_setting("REKINDLE_SIMCUDA_MEMORY", (size_t)64 << 30);
	if (devices < 1 || devices > DEVICES_MAX) {
		result = CUDA_ERROR_NO_DEVICE;
		goto out;
	}
	if (restore_thread_start()) {
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

int device_count(void)
{
	return devices;
}

size_t device_memory_bytes(void)
{
	return memory_bytes;
}

bool device_is_valid(CUdevice device)
{
	return device >= 0 && device < devices;
}

CUresult simulated_cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = SIMCUDA_DRIVER_VERSION;
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetCount(int *count)
{
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = devices;
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGet(CUdevice *device, int ordinal)
{
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetName(char *name, int length, CUdevice device)
{
	if (!name || length <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(name, (size_t)length, "SIMULATED GPU");
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	char text[24];

	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(text, sizeof(text), "SIMULATED-GPU-%02u", (unsigned int)device % 100);
	memcpy(uuid->bytes, text, sizeof(uuid->bytes));
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
	return simulated_cuDeviceGetUuid_v2(uuid, device);
}

CUresult simulated_cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	*bytes = memory_bytes;
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	switch (attribute) {
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
		*value = 1;
		break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		*value = 9;
		break;
	default:
		*value = 0;
		break;
	}
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
	if (!id || length <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(id, (size_t)length, "0000:%02X:00.0", (unsigned int)device + 1);
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
	if (!can)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device) || !device_is_valid(peer))
		return CUDA_ERROR_INVALID_DEVICE;
	*can = device != peer;
	return CUDA_SUCCESS;
}
