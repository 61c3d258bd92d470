/* SPDX-License-Identifier: MIT */
/*
 * What applications rely on, run without the agent, with it, and with it switched off: the same must hold each time.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/tests/driver.h"

static CUcontext context;

static int start(void **state)
{
	(void)state;
	if (injection_start())
		return -1;
	context = driver_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	return injection_end();
}

static void assert_contents_can_be_changed(CUdeviceptr address, size_t bytes)
{
	unsigned char written[4096], read[4096];
	size_t index;

	for (index = 0; index < sizeof(written); index++)
		written[index] = (unsigned char)(index * 7 + address);
	assert_success(cuMemcpyHtoD_v2(address, written, sizeof(written)));
	assert_success(cuMemcpyHtoD_v2(address + bytes - sizeof(written), written, sizeof(written)));
	memset(read, 0, sizeof(read));
	assert_success(cuMemcpyDtoH_v2(read, address + bytes - sizeof(read), sizeof(read)));
	assert_memory_equal(read, written, sizeof(read));
	memset(read, 0, sizeof(read));
	assert_success(cuMemcpyDtoH_v2(read, address, sizeof(read)));
	assert_memory_equal(read, written, sizeof(read));
}

static void check_allocation(size_t bytes)
{
	CUdeviceptr address = 0, base = 0;
	CUmemGenericAllocationHandle handle;
	size_t size = 0, ranges = rekindle_simcuda_reservations(), free_before = free_device_bytes();

	assert_success(cuMemAlloc_v2(&address, bytes));
	assert_contents_can_be_changed(address, bytes);
	assert_success(cuMemGetAddressRange_v2(&base, &size, address + bytes / 2));
	assert_int_equal(base, address);
	assert_int_equal(size, bytes);
	size = 0;
	assert_success(cuMemGetAddressRange_v2(NULL, &size, address + bytes - 1));
	assert_int_equal(size, bytes);
	assert_int_not_equal(cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)address), CUDA_SUCCESS);
	assert_int_not_equal(cuMemUnmap(address, 2 * MIB), CUDA_SUCCESS);
	assert_int_not_equal(cuMemFree_v2(address + 4096), CUDA_SUCCESS);
	assert_contents_can_be_changed(address, bytes);
	assert_success(cuMemFree_v2(address));
	assert_int_not_equal(cuMemFree_v2(address), CUDA_SUCCESS);
	assert_int_not_equal(cuMemGetAddressRange_v2(&base, &size, address), CUDA_SUCCESS);
	assert_int_equal(rekindle_simcuda_reservations(), ranges);
	assert_int_equal(free_device_bytes(), free_before);
}

static void allocations_of_every_size(void **state)
{
	(void)state;
	check_allocation(8192);
	check_allocation(2 * MIB - 1);
	check_allocation(2 * MIB);
	check_allocation(3 * MIB + 12345);
	check_allocation(GIB);
	check_allocation(2 * GIB + 5 * MIB);
}

static void pointer_attributes(void **state)
{
	CUpointer_attribute names[] = {CU_POINTER_ATTRIBUTE_CONTEXT, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
				       CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE,
				       CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
	CUcontext its_context = NULL;
	unsigned int type = 0;
	CUdeviceptr address, start_address = 0;
	size_t bytes = 0;
	unsigned long long handle_types = 77;
	int device = -1;
	void *data[] = {&its_context, &type, &start_address, &bytes, &device};

	(void)state;
	assert_success(cuMemAlloc_v2(&address, 5 * MIB + 100));
	assert_success(cuPointerGetAttributes(5, names, data, address + 3 * MIB));
	assert_ptr_equal(its_context, context);
	assert_int_equal(type, 2);
	assert_int_equal(start_address, address);
	assert_int_equal(bytes, 5 * MIB + 100);
	assert_int_equal(device, 0);
	bytes = 0;
	assert_success(cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address));
	assert_int_equal(bytes, 5 * MIB + 100);
	type = 0;
	assert_success(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
	assert_int_equal(type, 2);
	assert_success(cuPointerGetAttribute(&handle_types, CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES, address));
	assert_int_equal(handle_types, 0);
	assert_success(cuMemFree_v2(address));
}

static void pitched_allocations(void **state)
{
	CUdeviceptr address;
	size_t pitch = 0;

	(void)state;
	assert_success(cuMemAllocPitch_v2(&address, &pitch, 3001, 2000, 4));
	assert_true(pitch >= 3001);
	assert_int_equal(pitch % 32, 0);
	assert_contents_can_be_changed(address, pitch * 2000);
	assert_success(cuMemFree_v2(address));
	assert_int_not_equal(cuMemAllocPitch_v2(&address, &pitch, 0, 2000, 4), CUDA_SUCCESS);
}

static void too_much_memory_is_refused_and_the_rest_stays_usable(void **state)
{
	CUdeviceptr address;

	(void)state;
	assert_int_equal(cuMemAlloc_v2(&address, 500 * GIB), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemAlloc_v2(&address, 65 * GIB), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemAlloc_v2(NULL, 2 * MIB), CUDA_ERROR_INVALID_VALUE);
	assert_int_not_equal(cuMemAlloc_v2(&address, 0), CUDA_SUCCESS);
	assert_success(cuMemAlloc_v2(&address, 40 * GIB));
	assert_success(cuMemFree_v2(address));
}

static void free_waits_for_submitted_work(void **state)
{
	unsigned char *host;
	CUdeviceptr address;
	CUstream stream, of_other;
	CUcontext other;
	void *pinned;

	(void)state;
	assert_success(cuMemAlloc_v2(&address, 256 * MIB));
	assert_success(cuMemHostAlloc(&pinned, 256 * MIB, 0));
	host = pinned;
	assert_success(cuStreamCreate(&stream, 1));
	assert_success(cuMemsetD8Async(address, 0x5a, 256 * MIB, stream));
	assert_success(cuMemcpyDtoHAsync_v2(pinned, address, 256 * MIB, stream));
	assert_success(cuMemFree_v2(address));
	assert_int_equal(host[0], 0x5a);
	assert_int_equal(host[256 * MIB - 1], 0x5a);
	/* However long that takes. */
	assert_success(cuMemAlloc_v2(&address, 256 * MIB));
	inject("cuMemcpyDtoHAsync=300ms");
	assert_success(cuMemsetD8Async(address, 0x5b, 256 * MIB, stream));
	assert_success(cuMemcpyDtoHAsync_v2(pinned, address, 256 * MIB, stream));
	assert_success(cuMemFree_v2(address));
	assert_success(cuStreamQuery(stream));
	inject("");
	assert_int_equal(host[256 * MIB - 1], 0x5b);
	assert_success(cuCtxSynchronize());
	/* In a context that is not current when it is freed. */
	assert_success(cuCtxCreate_v2(&other, 0, 0));
	assert_success(cuMemAlloc_v2(&address, 4 * MIB));
	assert_success(cuStreamCreate(&of_other, 1));
	inject("cuMemsetD8Async=300ms");
	assert_success(cuMemsetD8Async(address, 0x5c, 4 * MIB, of_other));
	inject("");
	assert_success(cuCtxSetCurrent(context));
	assert_success(cuMemFree_v2(address));
	assert_success(cuStreamQuery(of_other));
	assert_success(cuCtxSynchronize());
	assert_success(cuCtxDestroy_v2(other));
	assert_success(cuStreamDestroy_v2(stream));
	assert_success(cuMemFreeHost(pinned));
}

static void memory_ends_with_its_context(void **state)
{
	CUdeviceptr address;
	CUcontext other;
	size_t bytes;
	CUdeviceptr base;

	(void)state;
	assert_success(cuCtxCreate_v2(&other, 0, 0));
	assert_success(cuMemAlloc_v2(&address, 8 * MIB));
	assert_success(cuCtxDestroy_v2(other));
	assert_success(cuCtxSetCurrent(context));
	assert_int_not_equal(cuMemGetAddressRange_v2(&base, &bytes, address), CUDA_SUCCESS);
	assert_int_not_equal(cuMemFree_v2(address), CUDA_SUCCESS);
}

static void virtual_memory(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_NONE), asked;
	CUmemAccessDesc access = driver_access();
	CUmemGenericAllocationHandle handle, same;
	CUdeviceptr address;
	size_t bytes = 0;
	CUdeviceptr base = 0;
	unsigned long long flags = 0;

	(void)state;
	assert_success(cuMemAddressReserve(&address, 16 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(&handle, 4 * MIB, &properties, 0));
	assert_success(cuMemGetAllocationPropertiesFromHandle(&asked, handle));
	assert_memory_equal(&asked, &properties, sizeof(asked));
	/* Twice mapped: both show the same memory. */
	assert_success(cuMemMap(address, 4 * MIB, 0, handle, 0));
	assert_success(cuMemMap(address + 8 * MIB, 4 * MIB, 0, handle, 0));
	assert_success(cuMemSetAccess(address, 4 * MIB, &access, 1));
	assert_success(cuMemSetAccess(address + 8 * MIB, 4 * MIB, &access, 1));
	assert_success(cuMemGetAccess(&flags, &access.location, address));
	assert_int_equal(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_contents_can_be_changed(address, 4 * MIB);
	assert_success(cuMemsetD8_v2(address, 9, 4 * MIB));
	assert_success(cuMemcpyDtoH_v2(&flags, address + 8 * MIB, sizeof(flags)));
	assert_int_equal(flags & 0xff, 9);
	assert_success(cuMemGetAddressRange_v2(&base, &bytes, address + MIB));
	assert_int_equal(base, address);
	assert_int_equal(bytes, 4 * MIB);
	/* The same value while the memory lives. */
	assert_success(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)(address + 8 * MIB)));
	assert_int_equal(same, handle);
	assert_success(cuMemRelease(same));
	/* Memory lives on in its mappings. */
	assert_success(cuMemRelease(handle));
	assert_success(cuMemUnmap(address + 8 * MIB, 4 * MIB));
	assert_contents_can_be_changed(address, 4 * MIB);
	assert_success(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)address));
	assert_success(cuMemRelease(same));
	assert_int_not_equal(cuMemUnmap(address, 2 * MIB), CUDA_SUCCESS);
	assert_int_not_equal(cuMemFree_v2(address), CUDA_SUCCESS);
	assert_success(cuMemUnmap(address, 4 * MIB));
	assert_int_not_equal(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)address), CUDA_SUCCESS);
	assert_int_not_equal(cuMemRelease(handle), CUDA_SUCCESS);
	assert_int_not_equal(cuMemMap(address, 4 * MIB, 0, handle, 0), CUDA_SUCCESS);
	assert_success(cuMemAddressFree(address, 16 * MIB));
}

static void neighbours_are_mapped_and_unmapped_as_one_range(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_NONE);
	CUmemAccessDesc access = driver_access();
	CUmemGenericAllocationHandle handles[4];
	CUdeviceptr address;
	unsigned int index;

	(void)state;
	assert_success(cuMemAddressReserve(&address, 8 * MIB, 0, 0, 0));
	for (index = 0; index < 4; index++) {
		assert_success(cuMemCreate(&handles[index], 2 * MIB, &properties, 0));
		assert_success(cuMemMap(address + index * 2 * MIB, 2 * MIB, 0, handles[index], 0));
	}
	assert_success(cuMemSetAccess(address, 8 * MIB, &access, 1));
	assert_contents_can_be_changed(address, 8 * MIB);
	assert_success(cuMemUnmap(address, 8 * MIB));
	for (index = 0; index < 4; index++)
		assert_success(cuMemRelease(handles[index]));
	assert_success(cuMemAddressFree(address, 8 * MIB));
}

static void handles_can_be_exported_and_imported(void **state)
{
	CUmemAllocationProp properties = driver_properties(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	CUmemAccessDesc access = driver_access();
	CUmemGenericAllocationHandle handle, imported;
	CUdeviceptr address;
	int descriptor = -1;
	unsigned char seen = 0;

	(void)state;
	assert_success(cuMemAddressReserve(&address, 8 * MIB, 0, 0, 0));
	assert_success(cuMemCreate(&handle, 4 * MIB, &properties, 0));
	assert_success(cuMemMap(address, 4 * MIB, 0, handle, 0));
	assert_success(cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_success(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
						      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	assert_int_equal(close(descriptor), 0);
	assert_success(cuMemMap(address + 4 * MIB, 4 * MIB, 0, imported, 0));
	assert_success(cuMemSetAccess(address, 8 * MIB, &access, 1));
	assert_success(cuMemsetD8_v2(address, 0x21, 4 * MIB));
	assert_success(cuMemcpyDtoH_v2(&seen, address + 8 * MIB - 1, 1));
	assert_int_equal(seen, 0x21);
	assert_success(cuMemUnmap(address, 8 * MIB));
	assert_success(cuMemRelease(imported));
	assert_int_not_equal(cuMemRelease(imported), CUDA_SUCCESS);
	assert_success(cuMemRelease(handle));
	assert_success(cuMemAddressFree(address, 8 * MIB));
}

static void *allocate_and_free(void *seed)
{
	unsigned int random = (unsigned int)(uintptr_t)seed;
	CUdeviceptr held[16] = {0};
	int round;

	if (cuCtxSetCurrent(context) != CUDA_SUCCESS)
		return "cuCtxSetCurrent";
	for (round = 0; round < 300; round++) {
		unsigned int slot = (unsigned int)rand_r(&random) % 16;

		if (held[slot]) {
			if (cuMemFree_v2(held[slot]) != CUDA_SUCCESS)
				return "cuMemFree";
			held[slot] = 0;
		} else if (cuMemAlloc_v2(&held[slot], (size_t)(1 + rand_r(&random) % 6) * MIB) != CUDA_SUCCESS) {
			return "cuMemAlloc";
		}
	}
	for (round = 0; round < 16; round++)
		if (held[round] && cuMemFree_v2(held[round]) != CUDA_SUCCESS)
			return "cuMemFree at the end";
	return NULL;
}

static void many_threads_allocate(void **state)
{
	pthread_t threads[4];
	size_t free_before, free_after, total;
	uintptr_t index;

	(void)state;
	assert_success(cuMemGetInfo_v2(&free_before, &total));
	for (index = 0; index < 4; index++)
		assert_int_equal(pthread_create(&threads[index], NULL, allocate_and_free, (void *)(index + 1)), 0);
	for (index = 0; index < 4; index++) {
		void *failure;

		pthread_join(threads[index], &failure);
		if (failure)
			fail_msg("%s failed", (const char *)failure);
	}
	assert_success(cuMemGetInfo_v2(&free_after, &total));
	assert_int_equal(free_before, free_after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocations_of_every_size),
		cmocka_unit_test(pointer_attributes),
		cmocka_unit_test(pitched_allocations),
		cmocka_unit_test(too_much_memory_is_refused_and_the_rest_stays_usable),
		cmocka_unit_test(free_waits_for_submitted_work),
		cmocka_unit_test(memory_ends_with_its_context),
		cmocka_unit_test(virtual_memory),
		cmocka_unit_test(neighbours_are_mapped_and_unmapped_as_one_range),
		cmocka_unit_test(handles_can_be_exported_and_imported),
		cmocka_unit_test(many_threads_allocate),
	};

	return cmocka_run_group_tests(tests, start, end);
}
