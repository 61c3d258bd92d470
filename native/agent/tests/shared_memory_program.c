/* SPDX-License-Identifier: MIT */
/*
 * A tree of processes for the integration tests: shared_memory_program FOLDER COUNT. Rank N holds device memory of its own
 * and does what the file FOLDER/N/go says, with an answer in FOLDER/N/answer. AREA is a name that the first command with it
 * makes:
 *   make AREA VALUE, allocate AREA VALUE   memory of cuMemCreate, or cuMemAlloc, filled with a byte
 *   host AREA VALUE                        likewise, of cuMemCreate on the host's last NUMA node
 *   export AREA                            answers PROCESS DESCRIPTOR, which stays open until "close DESCRIPTOR"
 *   import AREA PROCESS DESCRIPTOR         another process's, mapped
 *   share AREA, open AREA HANDLE           the same by legacy handles
 *   read AREA, write AREA VALUE            the byte that all of it has, or "mixed"; of the host's the device and the
 *                                          processor read both, and write one half each
 *   drop AREA                              gives it up
 *   lose AGENT                             closes the agent's sockets
 *   check                                  whether the rank's own memory, that nobody else has, is what it was
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/tests/driver.h"
#include "agent/tests/stand_in_pool.h"

#define BYTES (4 * MIB)
#define OWN_BYTES (6 * MIB)
#define AREAS 16

struct area {
	char name[32];
	CUdeviceptr address;
	CUmemGenericAllocationHandle handle; /* 0: none */
	bool opened;
	bool on_host;
};

static struct area areas[AREAS];
static CUdeviceptr own;
static int rank;

static struct area *find(const char *name)
{
	int index;

	for (index = 0; index < AREAS && strcmp(areas[index].name, name) != 0; index++)
		;
	if (index < AREAS)
		return &areas[index];
	for (index = 0; index < AREAS && areas[index].name[0]; index++)
		;
	if (index == AREAS)
		abort();
	snprintf(areas[index].name, sizeof(areas[index].name), "%s", name);
	return &areas[index];
}

static void tell(char *answer, CUresult result)
{
	if (result == CUDA_SUCCESS)
		strcpy(answer, "good");
	else
		sprintf(answer, "error %d", result);
}

static bool processor_reads(CUdeviceptr address, size_t bytes, int value)
{
	const unsigned char *contents = (const unsigned char *)(uintptr_t)address;
	size_t index = 0;

	while (index < bytes && contents[index] == value)
		index++;
	return index == bytes;
}

static void read_byte_of(CUdeviceptr address, size_t bytes, char *answer)
{
	unsigned char *contents = malloc(bytes);
	CUresult result = contents ? cuMemcpyDtoH_v2(contents, address, bytes) : CUDA_ERROR_OUT_OF_MEMORY;
	size_t index = 0;

	if (result != CUDA_SUCCESS) {
		tell(answer, result);
	} else {
		while (index < bytes && contents[index] == contents[0])
			index++;
		if (index == bytes)
			sprintf(answer, "%d", contents[0]);
		else
			strcpy(answer, "mixed");
	}
	free(contents);
}

/* Of the host's, for the processor as well. */
static CUresult map(struct area *area)
{
	CUmemAccessDesc access[2] = {driver_access(), driver_access()};
	CUmemAllocationProp properties;
	CUresult result = cuMemGetAllocationPropertiesFromHandle(&properties, area->handle);

	access[1].location = properties.location;
	area->on_host = properties.location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
	if (result == CUDA_SUCCESS)
		result = cuMemAddressReserve(&area->address, BYTES, 0, 0, 0);
	if (result == CUDA_SUCCESS)
		result = cuMemMap(area->address, BYTES, 0, area->handle, 0);
	return result == CUDA_SUCCESS ? cuMemSetAccess(area->address, BYTES, access, area->on_host ? 2 : 1) : result;
}

static CUresult write_byte(const struct area *area, int value)
{
	size_t bytes = area->on_host ? BYTES / 2 : BYTES;

	if (area->on_host)
		memset((void *)(uintptr_t)(area->address + bytes), value, bytes);
	return cuMemsetD8_v2(area->address, (unsigned char)value, bytes);
}

static CUresult make(struct area *area, CUmemLocation location, int value)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	CUresult result;

	properties.location = location;
	result = cuMemCreate(&area->handle, BYTES, &properties, 0);
	if (result == CUDA_SUCCESS)
		result = map(area);
	return result == CUDA_SUCCESS ? write_byte(area, value) : result;
}

static CUmemLocation last_node(void)
{
	const char *nodes = getenv("REKINDLE_SIMCUDA_NODES");

	return (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST_NUMA, nodes ? atoi(nodes) - 1 : 0};
}

static CUresult import(struct area *area, int process, int number)
{
	int of = (int)syscall(SYS_pidfd_open, process, 0);
	int descriptor = (int)syscall(SYS_pidfd_getfd, of, number, 0);
	CUresult result = cuMemImportFromShareableHandle(&area->handle, (void *)(intptr_t)descriptor,
							 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);

	close(descriptor);
	close(of);
	return result == CUDA_SUCCESS ? map(area) : result;
}

static CUresult open_handle(struct area *area, const char *text)
{
	CUipcMemHandle handle;
	unsigned int byte;
	size_t index;

	for (index = 0; index < sizeof(handle) && sscanf(text + 2 * index, "%2x", &byte) == 1; index++)
		handle.reserved[index] = (char)byte;
	area->opened = true;
	return cuIpcOpenMemHandle_v2(&area->address, handle, 1);
}

static void share(const struct area *area, char *answer)
{
	CUipcMemHandle handle;
	CUresult result = cuIpcGetMemHandle(&handle, area->address);
	size_t index;

	if (result != CUDA_SUCCESS)
		tell(answer, result);
	for (index = 0; result == CUDA_SUCCESS && index < sizeof(handle); index++)
		sprintf(answer + 2 * index, "%02x", (unsigned char)handle.reserved[index]);
}

static CUresult drop(struct area *area)
{
	CUresult result;

	if (area->handle) {
		result = cuMemUnmap(area->address, BYTES);
		if (result == CUDA_SUCCESS)
			result = cuMemRelease(area->handle);
		if (result == CUDA_SUCCESS)
			result = cuMemAddressFree(area->address, BYTES);
	} else {
		result = area->opened ? cuIpcCloseMemHandle(area->address) : cuMemFree_v2(area->address);
	}
	memset(area, 0, sizeof(*area));
	return result;
}

static void obey(const char *command, char *answer)
{
	char verb[16] = "", name[32] = "", text[160] = "";
	int first = 0, second = 0, descriptor;
	struct area *area;
	CUresult result;

	sscanf(command, "%15s %31s %159s", verb, name, text);
	sscanf(command, "%*s %*s %d %d", &first, &second);
	if (!strcmp(verb, "check")) {
		read_byte_of(own, OWN_BYTES, answer);
		strcpy(answer, atoi(answer) == rank + 1 ? "good" : "bad");
		return;
	}
	if (!strcmp(verb, "close")) {
		strcpy(answer, close(atoi(name)) ? "bad" : "good");
		return;
	}
	if (!strcmp(verb, "lose")) {
		const struct agent_page *page = agent_wait_for_page();

		strcpy(answer, close(page->agent_descriptor) || close(page->control_descriptor) ? "bad" : "good");
		return;
	}
	area = find(name);
	if (!strcmp(verb, "make")) {
		tell(answer, make(area, driver_access().location, first));
	} else if (!strcmp(verb, "host")) {
		tell(answer, make(area, last_node(), first));
	} else if (!strcmp(verb, "allocate")) {
		result = cuMemAlloc_v2(&area->address, BYTES);
		tell(answer,
		     result == CUDA_SUCCESS ? cuMemsetD8_v2(area->address, (unsigned char)first, BYTES) : result);
	} else if (!strcmp(verb, "export")) {
		result = cuMemExportToShareableHandle(&descriptor, area->handle,
						      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
		tell(answer, result);
		if (result == CUDA_SUCCESS)
			sprintf(answer, "%d %d", getpid(), descriptor);
	} else if (!strcmp(verb, "import")) {
		tell(answer, import(area, first, second));
	} else if (!strcmp(verb, "share")) {
		share(area, answer);
	} else if (!strcmp(verb, "open")) {
		tell(answer, open_handle(area, text));
	} else if (!strcmp(verb, "read")) {
		read_byte_of(area->address, BYTES, answer);
		if (area->on_host && !processor_reads(area->address, BYTES, atoi(answer)))
			strcpy(answer, "the processor reads something else");
	} else if (!strcmp(verb, "write")) {
		tell(answer, write_byte(area, first));
	} else if (!strcmp(verb, "drop")) {
		tell(answer, drop(area));
	} else {
		strcpy(answer, "unknown");
	}
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen("new", "w");

	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
	rename("new", name);
}

static void work(void)
{
	driver_start();
	if (cuMemAlloc_v2(&own, OWN_BYTES) != CUDA_SUCCESS ||
	    cuMemsetD8_v2(own, (unsigned char)(rank + 1), OWN_BYTES) != CUDA_SUCCESS)
		abort();
	put("ready", "");
	for (;;) {
		char command[256] = "", answer[256] = "";
		FILE *file = fopen("go", "r");

		if (!file) {
			nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
			continue;
		}
		if (!fgets(command, sizeof(command), file))
			command[0] = '\0';
		fclose(file);
		unlink("go");
		obey(command, answer);
		put("answer", answer);
	}
}

int main(int count, char **arguments)
{
	int ranks = count == 3 ? atoi(arguments[2]) : 0, child;
	char folder[16];

	if (ranks < 1 || chdir(arguments[1]))
		return 2;
	/* Before CUDA, which a forked child cannot use. */
	for (child = 1; child < ranks; child++)
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			rank = child;
			break;
		}
	sprintf(folder, "%d", rank);
	if (mkdir(folder, 0700) || chdir(folder))
		return 2;
	work();
}
