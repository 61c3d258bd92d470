/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <stdlib.h>
#include <unistd.h>

static void plain_allocation_is_written_read_and_freed(void **state)
{
	OTHER_FUNCTION(cuMemGetAddressRange_v2, (CUdeviceptr *, size_t *, CUdeviceptr));
	CUdeviceptr address, base;
	size_t bytes;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 5 * MIB));
	assert_int_equal(address % (2 * MIB), 0);
	write_word(address + 5 * MIB - 4, 0x12345678);
	assert_int_equal(read_word(address + 5 * MIB - 4), 0x12345678);
	assert_success(cuMemGetAddressRange_v2(&base, &bytes, address + 100));
	assert_int_equal(base, address);
	assert_int_equal(bytes, 5 * MIB);
	assert_int_equal(driver.cuMemFree(address + 2 * MIB), CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemFree(address));
	assert_int_equal(driver.cuMemFree(address), CUDA_ERROR_INVALID_VALUE);
	assert_int_not_equal(cuMemGetAddressRange_v2(&base, &bytes, address), CUDA_SUCCESS);
}

static void memory_ends(void **state)
{
	CUdeviceptr first, second;
	size_t before, after, total;

	(void)state;
	assert_success(driver.cuMemGetInfo(&before, &total));
	assert_int_equal(total, 1024 * MIB);
	assert_success(driver.cuMemAlloc(&first, 800 * MIB));
	assert_success(driver.cuMemGetInfo(&after, &total));
	assert_int_equal(before - after, 800 * MIB);
	assert_int_equal(driver.cuMemAlloc(&second, 300 * MIB), CUDA_ERROR_OUT_OF_MEMORY);
	assert_success(driver.cuMemFree(first));
	assert_success(driver.cuMemAlloc(&second, 300 * MIB));
	assert_success(driver.cuMemFree(second));
}

static void copies_out_of_range_are_refused(void **state)
{
	CUdeviceptr address;

	(void)state;
	assert_success(driver.cuMemAlloc(&address, 4096));
	assert_int_equal(driver.cuMemcpyHtoD(address + 4094, "word", 4), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(driver.cuMemsetD8(address, 0, 8192), CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemFree(address));
	assert_int_equal(driver.cuMemcpyHtoD(address, "word", 4), CUDA_ERROR_INVALID_VALUE);
}

static CUresult create_at(int type, int id, CUmemGenericAllocationHandle *handle)
{
	CUmemAllocationProp properties = exportable;

	properties.location = (CUmemLocation){type, id};
	return driver.cuMemCreate(handle, 4 * MIB, &properties, 0);
}

static CUresult give_at(int type, int id, CUdeviceptr address)
{
	CUmemAccessDesc access = {{type, id}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	return driver.cuMemSetAccess(address, 4 * MIB, &access, 1);
}

/* As measured on a driver 580. */
static void memory_of_the_host_is_of_a_node(void **state)
{
	OTHER_FUNCTION(cuMemGetAllocationPropertiesFromHandle, (CUmemAllocationProp *, CUmemGenericAllocationHandle));
	size_t before, after, total;
	CUmemGenericAllocationHandle handle, imported;
	CUmemAllocationProp properties;
	CUdeviceptr address;
	int descriptor;

	(void)state;
	assert_success(driver.cuMemGetInfo(&before, &total));
	assert_int_equal(create_at(CU_MEM_LOCATION_TYPE_HOST, 0, &handle), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(create_at(CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT, 0, &handle), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(create_at(CU_MEM_LOCATION_TYPE_HOST_NUMA, 1, &handle), CUDA_ERROR_INVALID_VALUE);
	assert_success(create_at(CU_MEM_LOCATION_TYPE_HOST_NUMA, 0, &handle));
	assert_success(driver.cuMemGetInfo(&after, &total));
	assert_int_equal(before, after);
	assert_success(driver.cuMemAddressReserve(&address, 4 * MIB, 0, 0, 0));
	assert_success(driver.cuMemMap(address, 4 * MIB, 0, handle, 0));
	assert_int_equal(driver.cuMemsetD8(address, 1, 1), CUDA_ERROR_INVALID_VALUE); /* no access yet */
	assert_success(give_at(CU_MEM_LOCATION_TYPE_DEVICE, 0, address));
	assert_int_equal(give_at(CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT, 0, address), CUDA_ERROR_INVALID_VALUE);
	assert_success(give_at(CU_MEM_LOCATION_TYPE_HOST_NUMA, 77, address)); /* any */
	*(volatile uint32_t *)(uintptr_t)address = 0x77777777;
	assert_int_equal(read_word(address), 0x77777777);
	assert_success(
		driver.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_success(driver.cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
							     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(descriptor);
	assert_success(cuMemGetAllocationPropertiesFromHandle(&properties, imported));
	assert_int_equal(properties.location.type, CU_MEM_LOCATION_TYPE_HOST_NUMA);
	assert_int_equal(properties.location.id, 0);
	assert_success(driver.cuMemRelease(imported));
	assert_success(driver.cuMemUnmap(address, 4 * MIB));
	assert_success(driver.cuMemRelease(handle));
	/* Not measured: a device's is for devices. */
	assert_success(driver.cuMemCreate(&handle, 4 * MIB, &exportable, 0));
	assert_success(driver.cuMemMap(address, 4 * MIB, 0, handle, 0));
	assert_int_equal(give_at(CU_MEM_LOCATION_TYPE_HOST_NUMA, 0, address), CUDA_ERROR_NOT_SUPPORTED);
	assert_success(driver.cuMemUnmap(address, 4 * MIB));
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemAddressFree(address, 4 * MIB));
}

static void one_handle_is_mapped_twice(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr range;

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 8 * MIB, &not_exportable, 0));
	assert_success(driver.cuMemAddressReserve(&range, 32 * MIB, 0, 0, 0));
	map_read_write(range, 8 * MIB, handle);
	map_read_write(range + 8 * MIB, 8 * MIB, handle);
	assert_int_equal(driver.cuMemMap(range + 16 * MIB, 2 * MIB, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(driver.cuMemMap(range + 16 * MIB, 6 * MIB, 2 * MIB, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
	write_word(range, 77);
	assert_int_equal(read_word(range + 8 * MIB), 77);
	assert_int_equal(driver.cuMemMap(range, 8 * MIB, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(driver.cuMemUnmap(range, 4 * MIB), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(driver.cuMemFree(range), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(driver.cuMemAddressFree(range, 32 * MIB), CUDA_ERROR_INVALID_VALUE);
	/* The memory lives on in its mappings. */
	assert_success(driver.cuMemRelease(handle));
	assert_int_equal(driver.cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemUnmap(range, 8 * MIB));
	assert_int_equal(read_word(range + 8 * MIB), 77);
	assert_success(driver.cuMemUnmap(range + 8 * MIB, 8 * MIB));
	assert_success(driver.cuMemAddressFree(range, 32 * MIB));
}

static void a_mapping_without_access_cannot_be_used(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr range;

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &not_exportable, 0));
	assert_success(driver.cuMemAddressReserve(&range, 2 * MIB, 0, 0, 0));
	assert_success(driver.cuMemMap(range, 2 * MIB, 0, handle, 0));
	assert_int_equal(driver.cuMemcpyHtoD(range, "word", 4), CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemSetAccess(range, 2 * MIB, &read_write, 1));
	assert_success(driver.cuMemcpyHtoD(range, "word", 4));
	assert_success(driver.cuMemUnmap(range, 2 * MIB));
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemAddressFree(range, 2 * MIB));
}

static void retaining_gives_the_same_handle(void **state)
{
	OTHER_FUNCTION(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *, void *));
	OTHER_FUNCTION(cuMemGetAllocationPropertiesFromHandle, (CUmemAllocationProp *, CUmemGenericAllocationHandle));
	CUmemGenericAllocationHandle handle, retained;
	CUmemAllocationProp properties;
	CUdeviceptr range;

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0));
	assert_success(driver.cuMemAddressReserve(&range, 2 * MIB, 0, 0, 0));
	map_read_write(range, 2 * MIB, handle);
	assert_success(driver.cuMemRelease(handle));
	assert_success(cuMemRetainAllocationHandle(&retained, (void *)(uintptr_t)(range + 4096)));
	assert_int_equal(retained, handle);
	assert_success(cuMemGetAllocationPropertiesFromHandle(&properties, retained));
	assert_int_equal(properties.requestedHandleTypes, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	assert_success(driver.cuMemRelease(retained));
	assert_success(driver.cuMemUnmap(range, 2 * MIB));
	assert_success(driver.cuMemAddressFree(range, 2 * MIB));
}

static void exported_memory_is_imported_as_another_handle(void **state)
{
	CUmemGenericAllocationHandle handle, imported;
	CUdeviceptr range;
	int descriptor, second;

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0));
	assert_success(
		driver.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	assert_success(driver.cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)descriptor,
							     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	assert_int_not_equal(imported, handle);
	assert_int_equal(
		driver.cuMemExportToShareableHandle(&second, imported, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
		CUDA_ERROR_INVALID_VALUE);
	close(descriptor);
	assert_success(driver.cuMemAddressReserve(&range, 4 * MIB, 0, 0, 0));
	map_read_write(range, 2 * MIB, handle);
	map_read_write(range + 2 * MIB, 2 * MIB, imported);
	write_word(range, 4711);
	assert_int_equal(read_word(range + 2 * MIB), 4711);
	assert_success(driver.cuMemUnmap(range, 4 * MIB));
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemRelease(imported));
	assert_success(driver.cuMemAddressFree(range, 4 * MIB));
}

static void what_cannot_be_exported_is_refused(void **state)
{
	CUmemGenericAllocationHandle handle;
	int descriptor, ends[2];

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &not_exportable, 0));
	assert_int_equal(
		driver.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
		CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemRelease(handle));
	assert_int_equal(pipe(ends), 0);
	assert_int_not_equal(driver.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)ends[0],
								   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
			     CUDA_SUCCESS);
	close(ends[0]);
	close(ends[1]);
}

static void legacy_handles_are_for_plain_memory(void **state)
{
	OTHER_FUNCTION(cuIpcGetMemHandle, (CUipcMemHandle *, CUdeviceptr));
	CUmemGenericAllocationHandle handle;
	CUipcMemHandle opened;
	CUdeviceptr range, plain;

	(void)state;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0));
	assert_success(driver.cuMemAddressReserve(&range, 2 * MIB, 0, 0, 0));
	map_read_write(range, 2 * MIB, handle);
	assert_int_equal(cuIpcGetMemHandle(&opened, range), CUDA_ERROR_INVALID_VALUE);
	assert_success(driver.cuMemAlloc(&plain, 4096));
	assert_success(cuIpcGetMemHandle(&opened, plain));
	assert_success(driver.cuMemFree(plain));
	assert_success(driver.cuMemUnmap(range, 2 * MIB));
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemAddressFree(range, 2 * MIB));
}

static void names_without_suffix_have_the_old_interface(void **state)
{
	OTHER_FUNCTION(cuMemAlloc, (CUdeviceptr *, size_t));
	CUdeviceptr address;

	(void)state;
	assert_int_equal(cuMemAlloc(&address, 4096), CUDA_ERROR_NOT_SUPPORTED);
}

static void functions_are_looked_up_by_version(void **state)
{
	OTHER_FUNCTION(cuGetProcAddress_v2, (const char *, void **, int, uint64_t, CUdriverProcAddressQueryResult *));
	CUdriverProcAddressQueryResult status;
	void *function;

	(void)state;
	assert_success(cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SUCCESS);
	assert_ptr_equal(function, dlsym(driver.library, "cuMemAlloc_v2"));
	assert_success(cuGetProcAddress_v2("cuCtxCreate", &function, 12000, 0, &status));
	assert_ptr_equal(function, dlsym(driver.library, "cuCtxCreate_v3"));
	assert_success(cuGetProcAddress_v2("cuNothing", &function, 12000, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	assert_null(function);
	assert_success(cuGetProcAddress_v2("cuCheckpointProcessLock", &function, 12000, 0, &status));
	assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	assert_null(function);
}

static void calls_need_a_context(void **state)
{
	CUcontext context;
	CUdeviceptr address;

	(void)state;
	assert_success(driver.cuCtxGetCurrent(&context));
	assert_success(driver.cuCtxSetCurrent(NULL));
	assert_int_equal(driver.cuMemAlloc(&address, 4096), CUDA_ERROR_INVALID_CONTEXT);
	assert_success(driver.cuCtxSetCurrent(context));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_allocation_is_written_read_and_freed),
		cmocka_unit_test(memory_ends),
		cmocka_unit_test(copies_out_of_range_are_refused),
		cmocka_unit_test(memory_of_the_host_is_of_a_node),
		cmocka_unit_test(one_handle_is_mapped_twice),
		cmocka_unit_test(a_mapping_without_access_cannot_be_used),
		cmocka_unit_test(retaining_gives_the_same_handle),
		cmocka_unit_test(exported_memory_is_imported_as_another_handle),
		cmocka_unit_test(what_cannot_be_exported_is_refused),
		cmocka_unit_test(legacy_handles_are_for_plain_memory),
		cmocka_unit_test(names_without_suffix_have_the_old_interface),
		cmocka_unit_test(functions_are_looked_up_by_version),
		cmocka_unit_test(calls_need_a_context),
	};

	setenv("REKINDLE_SIMCUDA_MEMORY", "1G", 1);
	return cmocka_run_group_tests(tests, open_driver_with_context, close_context);
}
