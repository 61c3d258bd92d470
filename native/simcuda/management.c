/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/*
 * What stands in for libnvidia-ml.so.1: how much of a device others leave. Like that one it needs no context; what this
 * process holds itself does not count here. REKINDLE_SIMCUDA_PROCESS=PID:SIZE says what that process holds on the first of
 * the machine's devices.
 */

#define EXPORT __attribute__((visibility("default")))
#define NOT_FOUND 6

struct memory_info {
	unsigned long long total, free, used;
};

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct memory_info *memory);

struct process_info {
	unsigned int pid;
	unsigned long long bytes;
	unsigned int gpu_instance, compute_instance;
};

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, struct process_info *processes);

int nvmlInit_v2(void)
{
	return process_is_initialised() ? 0 : NOT_FOUND;
}

/* The last two bytes of a UUID are the digits of the device's number. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
	unsigned int tens, ones;
	CUdevice found;

	if (sscanf(uuid, "GPU-53494d55-4c41-5445-442d-4750552d%2x%2x", &tens, &ones) != 2 || tens < '0' || ones < '0' ||
	    !device_of_physical((int)((tens - '0') * 10 + ones - '0'), &found))
		return NOT_FOUND;
	*device = (void *)(uintptr_t)(found + 1);
	return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory_info *memory)
{
	CUdevice number = (CUdevice)(uintptr_t)device - 1;
	size_t total = 0;

	if (!device_is_valid(number) || simulated_cuDeviceTotalMem_v2(&total, number) != CUDA_SUCCESS)
		return NOT_FOUND;
	*memory = (struct memory_info){total, device_memory_bytes(number), total - device_memory_bytes(number)};
	return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, struct process_info *processes)
{
	const char *other = getenv("REKINDLE_SIMCUDA_PROCESS");
	unsigned long long mebibytes;
	unsigned int pid;

	if (*count < 2)
		return NOT_FOUND;
	*count = 0;
	processes[(*count)++] = (struct process_info){.pid = (unsigned int)getpid()};
	if (other && device_physical((CUdevice)(uintptr_t)device - 1) == 0 &&
	    sscanf(other, "%u:%lluM", &pid, &mebibytes) == 2)
		processes[(*count)++] = (struct process_info){.pid = pid, .bytes = mebibytes << 20};
	return 0;
}
