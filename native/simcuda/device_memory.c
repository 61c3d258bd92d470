/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/* Physical memory (memfds) and where it is mapped. The address on the device is the address in the process. */

pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
struct memory memories[MEMORIES_MAX];
struct mapping mappings[MAPPINGS_MAX];
size_t memories_end, mappings_end;

static CUmemGenericAllocationHandle last_handle = 0x51000000;

static size_t round_up(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* The device's number in the machine, or the node's, travels in the name, so that who imports a descriptor knows it. */
#define DESCRIPTOR_NAME "simcuda-memory-of-device-"
#define HOST_DESCRIPTOR_NAME "simcuda-memory-of-node-"

int memory_open_descriptor(struct memory *memory)
{
	char name[64];
	int descriptor;

	if (memory->host)
		snprintf(name, sizeof(name), HOST_DESCRIPTOR_NAME "%d", memory->node);
	else
		snprintf(name, sizeof(name), DESCRIPTOR_NAME "%d", device_physical(memory->device));
	descriptor = memfd_create(name, MFD_CLOEXEC);
	if (descriptor < 0)
		return -errno;
	if (ftruncate(descriptor, (off_t)memory->bytes)) {
		close(descriptor);
		return -ENOMEM;
	}
	memory->descriptor = descriptor;
	memory->inode = inode_of_descriptor(descriptor);
	return 0;
}

void memory_close_descriptor(struct memory *memory)
{
	if (memory->descriptor >= 0 && inode_of_descriptor(memory->descriptor) == memory->inode)
		close(memory->descriptor);
	memory->descriptor = -1;
}

uint64_t inode_of_descriptor(int descriptor)
{
	struct stat status;

	return fstat(descriptor, &status) ? 0 : status.st_ino;
}

bool place_of_descriptor(int descriptor, struct place *place, size_t *bytes)
{
	char link[64], target[128];
	struct stat status;
	ssize_t length;
	int number;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	length = readlink(link, target, sizeof(target) - 1);
	if (length < 0 || fstat(descriptor, &status))
		return false;
	target[length] = '\0';
	*bytes = (size_t)status.st_size;
	place->host = sscanf(target, "/memfd:" HOST_DESCRIPTOR_NAME "%d", &place->number) == 1;
	return place->host || (sscanf(target, "/memfd:" DESCRIPTOR_NAME "%d", &number) == 1 &&
			       device_of_physical(number, &place->number));
}

static struct memory *memory_add(void)
{
	for (size_t i = 0; i < MEMORIES_MAX; i++) {
		if (memories[i].used)
			continue;
		memset(&memories[i], 0, sizeof(memories[i]));
		memories[i].used = true;
		memories[i].descriptor = -1;
		if (i >= memories_end)
			memories_end = i + 1;
		return &memories[i];
	}
	return NULL;
}

size_t memory_bytes_in_use(CUdevice device)
{
	size_t bytes = 0;

	for (size_t i = 0; i < memories_end; i++) {
		if (memories[i].used && !memories[i].imported && memories[i].device == device)
			bytes += memories[i].bytes;
	}
	return bytes;
}

/* Is it another import of the same memory as an entry before it, or the import of what this process made? */
static bool is_counted(size_t index)
{
	for (size_t i = 0; i < memories_end; i++)
		if (memories[i].used && i != index && memories[i].inode == memories[index].inode &&
		    (!memories[i].imported || i < index))
			return true;
	return false;
}

size_t memory_bytes_alive(CUdevice device)
{
	size_t bytes = memory_bytes_in_use(device);

	for (size_t i = 0; i < memories_end; i++)
		if (memories[i].used && memories[i].imported && memories[i].device == device && !is_counted(i))
			bytes += memories[i].bytes;
	return bytes;
}

static void set_place(struct memory *memory, struct place place)
{
	memory->host = place.host;
	memory->device = place.host ? -1 : place.number;
	memory->node = place.host ? place.number : -1;
}

static bool has_room(CUdevice device, size_t bytes)
{
	return bytes <= device_memory_bytes(device) &&
	       memory_bytes_alive(device) + bytes <= device_memory_bytes(device);
}

CUresult memory_create(struct place place, size_t bytes, struct memory **created)
{
	struct memory *memory;

	if (!place.host && !has_room(place.number, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory = memory_add();
	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	set_place(memory, place);
	memory->bytes = round_up(bytes, 4096);
	memory->references = 1;
	memory->handle = ++last_handle;
	if (memory_open_descriptor(memory)) {
		memory->used = false;
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*created = memory;
	return CUDA_SUCCESS;
}

CUresult memory_adopt(int descriptor, struct place place, size_t bytes, struct memory **created)
{
	struct memory *memory = memory_add();

	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	set_place(memory, place);
	memory->bytes = bytes;
	memory->imported = true;
	memory->references = 1;
	memory->handle = ++last_handle;
	memory->descriptor = descriptor;
	memory->inode = inode_of_descriptor(descriptor);
	*created = memory;
	return CUDA_SUCCESS;
}

void memory_drop_if_unused(struct memory *memory)
{
	if (memory->references || memory->mappings)
		return;
	memory_close_descriptor(memory);
	if (memory->saved)
		munmap(memory->saved, memory->bytes);
	memory->used = false;
}

struct memory *memory_by_handle(CUmemGenericAllocationHandle handle)
{
	for (size_t i = 0; i < memories_end; i++) {
		if (memories[i].used && !memories[i].plain && memories[i].handle == handle && memories[i].references)
			return &memories[i];
	}
	return NULL;
}

struct mapping *mapping_add(void)
{
	for (size_t i = 0; i < MAPPINGS_MAX; i++) {
		if (mappings[i].used)
			continue;
		memset(&mappings[i], 0, sizeof(mappings[i]));
		mappings[i].used = true;
		if (i >= mappings_end)
			mappings_end = i + 1;
		return &mappings[i];
	}
	return NULL;
}

struct mapping *mapping_at(CUdeviceptr address)
{
	for (size_t i = 0; i < mappings_end; i++) {
		if (mappings[i].used && address >= mappings[i].address &&
		    address < mappings[i].address + mappings[i].bytes)
			return &mappings[i];
	}
	return NULL;
}

int mapping_access(const struct mapping *mapping, CUdevice device)
{
	uint32_t bit = (uint32_t)1 << device;

	if (mapping->writers & bit)
		return CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	return mapping->readers & bit ? CU_MEM_ACCESS_FLAGS_PROT_READ : CU_MEM_ACCESS_FLAGS_PROT_NONE;
}

bool device_range_is_mapped(const void *start, size_t bytes)
{
	CUdeviceptr address = (CUdeviceptr)(uintptr_t)start, end = address + bytes;
	struct mapping *mapping = NULL;

	pthread_mutex_lock(&table_mutex);
	do {
		mapping = mapping_at(address);
		if (mapping)
			address = mapping->address + mapping->bytes;
	} while (mapping && address < end);
	pthread_mutex_unlock(&table_mutex);
	return mapping != NULL;
}

void *reserve_addresses(size_t bytes, size_t alignment, CUdeviceptr hint)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uintptr_t start, end, aligned;
	void *area;

	if (hint && hint % alignment == 0) {
		area = mmap((void *)(uintptr_t)hint, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (area == (void *)(uintptr_t)hint)
			return area;
		if (area != MAP_FAILED)
			munmap(area, bytes);
	}
	area = mmap(NULL, bytes + alignment, PROT_NONE, flags, -1, 0);
	if (area == MAP_FAILED)
		return NULL;
	start = (uintptr_t)area;
	end = start + bytes + alignment;
	aligned = round_up(start, alignment);
	if (aligned > start)
		munmap(area, aligned - start);
	if (end > aligned + bytes)
		munmap((void *)(aligned + bytes), end - aligned - bytes);
	return (void *)aligned;
}

int mapping_place(const struct mapping *mapping)
{
	void *address = (void *)(uintptr_t)mapping->address;
	int protection = PROT_NONE;

	/* The processor stands for every device; check_device_range tells them apart. */
	if (mapping->readers || mapping->processor)
		protection = PROT_READ;
	if (mapping->writers || mapping->processor == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		protection = PROT_READ | PROT_WRITE;
	if (mmap(address, mapping->mapped_bytes, protection, MAP_SHARED | MAP_FIXED, mapping->memory->descriptor, 0) ==
	    MAP_FAILED)
		return -errno;
	madvise(address, mapping->mapped_bytes, MADV_DONTFORK);
	return 0;
}

void mapping_remove(struct mapping *mapping, bool keep_address)
{
	void *address = (void *)(uintptr_t)mapping->address;

	if (keep_address)
		mmap(address, mapping->mapped_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		     -1, 0);
	else
		munmap(address, mapping->mapped_bytes);
	mapping->memory->mappings--;
	mapping->used = false;
	memory_drop_if_unused(mapping->memory);
}

void memory_free_of_context(CUcontext context)
{
	for (size_t i = 0; i < mappings_end; i++) {
		if (!mappings[i].used || mappings[i].context != context || mappings[i].kind == MAPPING_VIRTUAL)
			continue;
		mappings[i].memory->references = 0;
		mapping_remove(&mappings[i], false);
	}
}
