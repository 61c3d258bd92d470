/* SPDX-License-Identifier: MIT */
#include "agent/memory/device_access.h"

#include <stdatomic.h>

#include "agent/base/agent_settings.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/allocation_table.h"

static _Atomic uint64_t used_devices;

CUresult access_set(CUdeviceptr address, size_t bytes, uint64_t read_devices, uint64_t write_devices)
{
	CUmemAccessDesc access[DEVICES_TRACKED];
	size_t count = 0;
	int device;

	for (device = 0; device < DEVICES_TRACKED; device++) {
		uint64_t bit = (uint64_t)1 << device;

		if (!((read_devices | write_devices) & bit))
			continue;
		access[count].location.type = CU_MEM_LOCATION_TYPE_DEVICE;
		access[count].location.id = device;
		access[count].flags =
			write_devices & bit ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
		count++;
	}
	return count ? real_driver()->cuMemSetAccess(address, bytes, access, count) : CUDA_SUCCESS;
}

bool access_is_possible(CUdevice device)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;
	const struct real_driver *driver = real_driver();
	CUdevice other;
	int count;

	if (driver->cuDeviceGetCount(&count) != CUDA_SUCCESS || device >= DEVICES_TRACKED || count > DEVICES_TRACKED)
		return false;
	for (other = 0; other < count; other++) {
		int can = 0;

		if (other == device)
			continue;
		if (driver->cuDeviceCanAccessPeer(&can, other, device) == CUDA_SUCCESS && can)
			continue;
		if (!atomic_flag_test_and_set(&complained))
			agent_complain(
				"GPU %d cannot access the memory of GPU %d, so allocations stay with the driver and "
				"checkpoints are slower; show the program one GPU (CUDA_VISIBLE_DEVICES)",
				other, device);
		return false;
	}
	return true;
}

void access_add_device(CUdevice device)
{
	if (device >= 0 && device < DEVICES_TRACKED)
		atomic_fetch_or(&used_devices, (uint64_t)1 << device);
}

/*
 * What may lack access: allocations since the last time that nothing did. Only where a device has joined, or too many are
 * new, is it all of them, as each allocation comes here. Table locked.
 */
#define NEW_MAX 64
static struct {
	CUdeviceptr addresses[NEW_MAX];
	size_t count;
	bool overflow;
	uint64_t devices; /* to which all others give access */
} fresh;

void access_note_new(CUdeviceptr address)
{
	if (fresh.count < NEW_MAX)
		fresh.addresses[fresh.count++] = address;
	else
		fresh.overflow = true;
}

/* The devices that lack access to the allocation. Table locked. */
static uint64_t missing_devices(const struct plain_allocation *allocation, uint64_t devices)
{
	const struct mapping *mapping = mapping_containing(allocation->address);

	/* What another process owns is for the device that opened it. */
	if (allocation->leaving || allocation->opens || !mapping)
		return 0;
	return devices & ~mapping->write_devices;
}

/* An allocation that lacks access, and the devices; NULL where none does. Table locked. */
static const struct plain_allocation *find_missing(uint64_t *missing)
{
	uint64_t devices = atomic_load(&used_devices);
	const struct plain_allocation *allocation;
	size_t index;

	if (fresh.overflow || devices & ~fresh.devices) {
		for (index = 0; index < table.plain_count; index++)
			if ((*missing = missing_devices(&table.plain[index], devices)))
				return &table.plain[index];
		fresh.count = 0;
		fresh.overflow = false;
		fresh.devices = devices;
		return NULL;
	}
	for (; fresh.count; fresh.count--) {
		allocation = plain_containing(fresh.addresses[fresh.count - 1]);
		if (allocation && (*missing = missing_devices(allocation, devices)))
			return allocation;
	}
	return NULL;
}

CUresult access_complete(void)
{
	uint64_t devices = atomic_load(&used_devices);
	CUresult result = CUDA_SUCCESS;

	if (!(devices & (devices - 1)))
		return CUDA_SUCCESS; /* one device at most */
	for (;;) {
		struct flight flight = {.memory = TABLE_NONE};
		const struct plain_allocation *allocation;
		uint64_t missing = 0;
		size_t index;

		table_lock();
		allocation = find_missing(&missing);
		if (allocation) {
			flight.address = allocation->address;
			flight.bytes = allocation->reserved;
		}
		if (missing && mapping_range_is_released(flight.address, flight.bytes)) {
			missing = 0;
			result = CUDA_ERROR_ILLEGAL_STATE;
		}
		if (missing)
			flight_begin(&flight);
		table_unlock();
		if (!missing)
			return result;
		result = access_set(flight.address, flight.bytes, 0, missing);
		table_lock();
		for (index = mapping_find(flight.address);
		     result == CUDA_SUCCESS && index < table.mapping_count &&
		     table.mappings[index].address < flight.address + flight.bytes;
		     index++)
			table.mappings[index].write_devices |= missing;
		flight_end(&flight);
		table_unlock();
		if (result != CUDA_SUCCESS)
			return result;
	}
}
