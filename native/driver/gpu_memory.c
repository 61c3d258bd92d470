/* SPDX-License-Identifier: MIT */
#include "driver/gpu_memory.h"

#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libnvidia-ml.so.1"

/* The part of NVML that is used here; 0 is success everywhere. */
struct nvml_memory {
	unsigned long long total, free, used;
};
static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t is 24 bytes");

struct nvml_process {
	unsigned int pid;
	unsigned long long bytes; /* NOT_AVAILABLE where it is not told */
	unsigned int gpu_instance, compute_instance;
};
static_assert(sizeof(struct nvml_process) == 24, "nvmlProcessInfo_t is 24 bytes");
#define NOT_AVAILABLE (~0ull)
#define PROCESSES_MAX 256

struct nvml {
	int (*init)(void);
	int (*handle_by_uuid)(const char *uuid, void **device);
	int (*memory_info)(void *device, struct nvml_memory *memory);
	int (*processes)(void *device, unsigned int *count, struct nvml_process *processes); /* NULL: an older one */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct nvml nvml;
static bool tried, usable;

static bool find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol != NULL;
}

/* Once, and it stays for the life of the process. The simulated driver brings its own. */
static bool start(const struct cuda_driver *driver)
{
	void *library = driver->simulated ? driver->library : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (library)
		find(library, "nvmlDeviceGetComputeRunningProcesses_v3", &nvml.processes);
	return library && find(library, "nvmlInit_v2", &nvml.init) &&
	       find(library, "nvmlDeviceGetHandleByUUID", &nvml.handle_by_uuid) &&
	       find(library, "nvmlDeviceGetMemoryInfo", &nvml.memory_info) && !nvml.init();
}

/* As NVML has it: GPU- and 8-4-4-4-12 digits. */
static void write_uuid(const CUuuid *uuid, char text[48])
{
	int length = snprintf(text, 48, "GPU-");

	for (unsigned int byte = 0; byte < sizeof(uuid->bytes); byte++)
		length += snprintf(text + length, (size_t)(48 - length), "%s%02x",
				   byte == 4 || byte == 6 || byte == 8 || byte == 10 ? "-" : "", uuid->bytes[byte]);
}

/* Under the mutex: the device's handle, or NULL. */
static void *find_device(const struct cuda_driver *driver, const CUuuid *uuid)
{
	void *device = NULL;
	char text[48];

	if (!tried)
		usable = start(driver);
	tried = true;
	write_uuid(uuid, text);
	return usable && !nvml.handle_by_uuid(text, &device) ? device : NULL;
}

bool gpu_memory_free(const struct cuda_driver *driver, const CUuuid *uuid, uint64_t *bytes)
{
	struct nvml_memory memory;
	void *device;
	bool known;

	pthread_mutex_lock(&mutex);
	device = find_device(driver, uuid);
	known = device && !nvml.memory_info(device, &memory);
	if (known)
		*bytes = memory.free;
	pthread_mutex_unlock(&mutex);
	return known;
}

bool gpu_memory_of_process(const struct cuda_driver *driver, const CUuuid *uuid, pid_t pid, uint64_t *bytes)
{
	static struct nvml_process processes[PROCESSES_MAX];
	unsigned int count = PROCESSES_MAX;
	bool is_here = false, known = false;
	void *device;

	pthread_mutex_lock(&mutex);
	device = find_device(driver, uuid);
	if (!device || !nvml.processes || nvml.processes(device, &count, processes))
		count = 0;
	for (unsigned int i = 0; i < count; i++) {
		is_here |= processes[i].pid == (unsigned int)getpid();
		if (processes[i].pid != (unsigned int)pid || processes[i].bytes == NOT_AVAILABLE)
			continue;
		*bytes = processes[i].bytes;
		known = true;
	}
	pthread_mutex_unlock(&mutex);
	return known && is_here;
}
