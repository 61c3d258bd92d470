/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simcuda/simcuda.h"

/*
 * Which devices of the simulated machine this process sees, in which order, and what they are. The machine's devices are
 * numbered from 0; what names and UUIDs say of them is the same for every process.
 *
 *   REKINDLE_SIMCUDA_DEVICES=N       the first N of them (1)
 *   REKINDLE_SIMCUDA_VISIBLE=3,1     those instead, in that order
 *   REKINDLE_SIMCUDA_MEMORY=SIZE     of each (64G)
 *   REKINDLE_SIMCUDA_USED=SIZE,SIZE  what others hold of each of the machine's devices
 *   REKINDLE_SIMCUDA_NAMES=A,B       their names (SIMULATED GPU)
 *   REKINDLE_SIMCUDA_NODES=N         NUMA nodes of the machine, for host memory (1)
 *
 * A restore can put other devices in the place of those that a process saw.
 */

#define UUID_FORMAT "SIMULATED-GPU-%02u"

static int count_of_devices = 1;
static int count_of_nodes = 1;
static int physical[DEVICES_MAX];
static size_t memory_bytes = (size_t)64 << 30;
static size_t used[DEVICES_MAX];	     /* of the machine's */
static _Atomic CUresult errors[DEVICES_MAX]; /* of devices that are broken */

static size_t parse_size(const char *text)
{
	char *end;
	size_t bytes = strtoull(text, &end, 10);

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

/* The part of a list with commas that has that number, copied; an empty one where there is none. */
static void part_of_list(const char *variable, int number, char *part, size_t capacity)
{
	const char *text = getenv(variable);
	size_t length;

	part[0] = '\0';
	for (; text && number > 0; number--) {
		text = strchr(text, ',');
		text = text ? text + 1 : NULL;
	}
	if (!text)
		return;
	length = strcspn(text, ",");
	snprintf(part, capacity, "%.*s", (int)length, text);
}

bool devices_find(void)
{
	const char *devices = getenv("REKINDLE_SIMCUDA_DEVICES"), *memory = getenv("REKINDLE_SIMCUDA_MEMORY"),
		   *nodes = getenv("REKINDLE_SIMCUDA_NODES");
	char part[32];

	count_of_devices = devices && *devices ? atoi(devices) : 1;
	if (count_of_devices < 1 || count_of_devices > DEVICES_MAX)
		return false;
	for (int device = 0; device < DEVICES_MAX; device++) {
		physical[device] = device;
		part_of_list("REKINDLE_SIMCUDA_USED", device, part, sizeof(part));
		used[device] = parse_size(part);
	}
	count_of_nodes = nodes && *nodes ? atoi(nodes) : 1;
	memory_bytes = memory && *memory ? parse_size(memory) : (size_t)64 << 30;
	for (int device = 0; device < DEVICES_MAX; device++) {
		part_of_list("REKINDLE_SIMCUDA_VISIBLE", device, part, sizeof(part));
		if (!part[0])
			break;
		physical[device] = atoi(part) % DEVICES_MAX;
		count_of_devices = device + 1;
	}
	return true;
}

int device_count(void)
{
	return count_of_devices;
}

size_t device_memory_bytes(CUdevice device)
{
	size_t of_others = used[physical[device]];

	return of_others < memory_bytes ? memory_bytes - of_others : 0;
}

void device_break(CUdevice device, CUresult error)
{
	CUresult none = CUDA_SUCCESS;

	/* The first one stays. */
	atomic_compare_exchange_strong(&errors[device], &none, error);
}

CUresult device_error(CUdevice device)
{
	return atomic_load(&errors[device]);
}

bool device_is_valid(CUdevice device)
{
	return device >= 0 && device < count_of_devices;
}

bool node_is_valid(int node)
{
	return node >= 0 && node < count_of_nodes;
}

int device_physical(CUdevice device)
{
	return physical[device];
}

bool device_of_physical(int number, CUdevice *device)
{
	for (*device = 0; *device < count_of_devices; ++*device)
		if (physical[*device] == number)
			return true;
	return false;
}

bool physical_of_uuid(const CUuuid *uuid, int *number)
{
	CUuuid other;

	for (*number = 0; *number < DEVICES_MAX; ++*number) {
		device_make_uuid(*number, &other);
		if (!memcmp(&other, uuid, sizeof(other)))
			return true;
	}
	return false;
}

void devices_move(const int8_t numbers[DEVICES_MAX])
{
	for (CUdevice device = 0; device < count_of_devices; device++)
		physical[device] = numbers[device];
}

void device_make_uuid(int number, CUuuid *uuid)
{
	char text[24];

	snprintf(text, sizeof(text), UUID_FORMAT, (unsigned int)number % 100);
	memcpy(uuid->bytes, text, sizeof(uuid->bytes));
}

void device_name(int number, char *name, size_t capacity)
{
	part_of_list("REKINDLE_SIMCUDA_NAMES", number, name, capacity);
	if (!name[0])
		snprintf(name, capacity, "SIMULATED GPU");
}

CUresult simulated_cuDeviceGetCount(int *count)
{
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = count_of_devices;
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
	device_name(physical[device], name, (size_t)length);
	return CUDA_SUCCESS;
}

CUresult simulated_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	device_make_uuid(physical[device], uuid);
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
	snprintf(id, (size_t)length, "0000:%02X:00.0", (unsigned int)physical[device] + 1);
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
