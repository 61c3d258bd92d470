/* SPDX-License-Identifier: MIT */
#include "agent/tests/driver.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

CUcontext driver_start(void)
{
	CUcontext context = NULL;

	if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CUDA_SUCCESS ||
	    cuCtxSetCurrent(context) != CUDA_SUCCESS)
		abort();
	return context;
}

CUmemAllocationProp driver_properties(int handle_types)
{
	return (CUmemAllocationProp){
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = handle_types,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
	};
}

CUmemAccessDesc driver_access(void)
{
	return (CUmemAccessDesc){
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
}

int is_of_agent(const void *function)
{
	Dl_info info;

	return dladdr(function, &info) && strstr(info.dli_fname, "librekindle-preload");
}

int agent_is_loaded(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "librekindle-preload");
}

static char control_file[] = "/tmp/rekindle-agent-test-XXXXXX";

int injection_start(void)
{
	int descriptor = mkstemp(control_file);

	if (descriptor < 0)
		return -1;
	close(descriptor);
	return setenv("REKINDLE_SIMCUDA_CONTROL", control_file, 1);
}

int injection_end(void)
{
	return unlink(control_file);
}

void inject(const char *rules)
{
	static unsigned int generation;
	FILE *file = fopen(control_file, "w");

	if (!file)
		abort();
	/* A length of its own each time, so that no change goes unnoticed. */
	fprintf(file, "%s%*s\n", rules, (int)(++generation % 500), "");
	fclose(file);
}

void wait_until_held(void)
{
	char name[64];
	int tries;

	snprintf(name, sizeof(name), "%s.held", getenv("REKINDLE_SIMCUDA_CONTROL"));
	for (tries = 0; unlink(name); tries++) {
		if (tries == 60000) {
			fprintf(stderr, "no call is held\n");
			abort();
		}
		usleep(1000);
	}
}

size_t free_device_bytes(void)
{
	size_t bytes, total;

	if (cuMemGetInfo_v2(&bytes, &total) != CUDA_SUCCESS)
		abort();
	return bytes;
}

unsigned int count_descriptors(pid_t process)
{
	struct dirent *entry;
	unsigned int count = 0;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", process);
	folder = opendir(path);
	if (!folder)
		abort();
	while ((entry = readdir(folder)))
		count++;
	closedir(folder);
	return count;
}
