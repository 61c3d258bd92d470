/* SPDX-License-Identifier: MIT */
/* Several devices: access of each, and one that is broken for good. */
#include "simcuda/simcuda_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEVICES 4

/* The last two are broken by tests. */
enum { FIRST, SECOND, BROKEN, FAULTY };

static CUcontext contexts[DEVICES];
static char control_path[] = "/tmp/rekindle-simcuda-control-XXXXXX";

static int start(void **state)
{
	(void)state;
	setenv("REKINDLE_SIMCUDA_DEVICES", "4", 1);
	setenv("REKINDLE_SIMCUDA_FAIL", "cuMemsetD16=700!@1,cuMemsetD32=999@1", 1);
	setenv("REKINDLE_SIMCUDA_DELAY", "cuMemsetD8Async=200ms@1", 1);
	control_begin(control_path);
	open_driver();
	if (driver.cuInit(0) != CUDA_SUCCESS)
		return -1;
	for (int device = 0; device < DEVICES; device++)
		if (driver.cuDevicePrimaryCtxRetain(&contexts[device], device) != CUDA_SUCCESS)
			return -1;
	return 0;
}

static int end(void **state)
{
	(void)state;
	return unlink(control_path);
}

static void work_on(int device)
{
	assert_success(driver.cuCtxSetCurrent(contexts[device]));
}

static void set_access(CUdeviceptr address, int device, int flags)
{
	CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, device}, flags};

	assert_success(driver.cuMemSetAccess(address, 2 * MIB, &access, 1));
}

static unsigned long long access_of(CUdeviceptr address, int device)
{
	OTHER_FUNCTION(cuMemGetAccess, (unsigned long long *, const CUmemLocation *, CUdeviceptr));
	CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
	unsigned long long flags = 99;

	assert_success(cuMemGetAccess(&flags, &location, address));
	return flags;
}

static CUdeviceptr map_memory(CUmemGenericAllocationHandle *handle)
{
	CUdeviceptr address;

	assert_success(driver.cuMemAddressReserve(&address, 2 * MIB, 0, 0, 0));
	assert_success(driver.cuMemCreate(handle, 2 * MIB, &exportable, 0));
	assert_success(driver.cuMemMap(address, 2 * MIB, 0, *handle, 0));
	return address;
}

static void drop_memory(CUdeviceptr address, CUmemGenericAllocationHandle handle)
{
	assert_success(driver.cuMemUnmap(address, 2 * MIB));
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemAddressFree(address, 2 * MIB));
}

static void each_device_has_its_own_access(void **state)
{
	OTHER_FUNCTION(cuMemsetD8_v2, (CUdeviceptr, unsigned char, size_t));
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = map_memory(&handle), other;
	uint32_t word = 0;

	(void)state;
	work_on(FIRST);
	set_access(address, FIRST, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(access_of(address, FIRST), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(access_of(address, SECOND), CU_MEM_ACCESS_FLAGS_PROT_NONE);
	assert_success(cuMemsetD8_v2(address, 7, MIB));

	work_on(SECOND);
	assert_success(driver.cuMemAlloc(&other, MIB));
	assert_int_equal(cuMemsetD8_v2(address, 8, MIB), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(driver.cuMemcpyDtoH(&word, address, sizeof(word)), CUDA_ERROR_INVALID_VALUE);
	set_access(address, SECOND, CU_MEM_ACCESS_FLAGS_PROT_READ);
	assert_int_equal(read_word(address), 0x07070707);
	assert_int_equal(cuMemsetD8_v2(address, 8, MIB), CUDA_ERROR_INVALID_VALUE);
	set_access(address, SECOND, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_success(cuMemsetD8_v2(address, 8, MIB));
	/* Memory of cuMemAlloc needs none. */
	work_on(FIRST);
	assert_int_equal(read_word(address), 0x08080808);
	write_word(other, 9);
	set_access(address, FIRST, CU_MEM_ACCESS_FLAGS_PROT_NONE);
	assert_int_equal(driver.cuMemcpyDtoH(&word, address, sizeof(word)), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(access_of(address, SECOND), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_success(driver.cuMemFree(other));
	drop_memory(address, handle);
}

static void a_stream_works_on_its_own_device(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = map_memory(&handle);
	CUstream stream;
	uint32_t word = 5;

	(void)state;
	work_on(SECOND);
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	work_on(FIRST);
	set_access(address, FIRST, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(driver.cuMemcpyHtoDAsync(address, &word, sizeof(word), stream), CUDA_ERROR_INVALID_VALUE);
	set_access(address, SECOND, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_success(driver.cuMemcpyHtoDAsync(address, &word, sizeof(word), stream));
	assert_success(driver.cuStreamSynchronize(stream));
	assert_int_equal(read_word(address), 5);
	assert_success(driver.cuStreamDestroy(stream));
	drop_memory(address, handle);
}

static void peer_access_is_enabled_once(void **state)
{
	OTHER_FUNCTION(cuCtxEnablePeerAccess, (CUcontext, unsigned int));
	OTHER_FUNCTION(cuCtxDisablePeerAccess, (CUcontext));

	(void)state;
	work_on(FIRST);
	assert_int_equal(cuCtxDisablePeerAccess(contexts[SECOND]), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
	assert_success(cuCtxEnablePeerAccess(contexts[SECOND], 0));
	assert_int_equal(cuCtxEnablePeerAccess(contexts[SECOND], 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
	assert_int_equal(cuCtxEnablePeerAccess(contexts[FIRST], 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
	assert_int_equal(cuCtxEnablePeerAccess(contexts[SECOND], 1), CUDA_ERROR_INVALID_VALUE);
	assert_success(cuCtxDisablePeerAccess(contexts[SECOND]));
}

static size_t free_bytes(void)
{
	OTHER_FUNCTION(cuMemGetInfo_v2, (size_t *, size_t *));
	size_t bytes, total;

	assert_success(cuMemGetInfo_v2(&bytes, &total));
	return bytes;
}

static void memory_is_counted_where_it_lies_and_once(void **state)
{
	CUmemGenericAllocationHandle handle, imported[2];
	size_t before, other;
	CUdeviceptr address;
	int descriptor;

	(void)state;
	work_on(SECOND);
	other = free_bytes();
	work_on(FIRST);
	before = free_bytes();
	address = map_memory(&handle);
	assert_int_equal(free_bytes(), before - 2 * MIB);
	assert_success(
		driver.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	for (int index = 0; index < 2; index++)
		assert_success(driver.cuMemImportFromShareableHandle(&imported[index], (void *)(intptr_t)descriptor,
								     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	assert_int_equal(free_bytes(), before - 2 * MIB);
	/* What is imported lives on. */
	drop_memory(address, handle);
	assert_int_equal(free_bytes(), before - 2 * MIB);
	assert_success(driver.cuMemRelease(imported[0]));
	assert_int_equal(free_bytes(), before - 2 * MIB);
	assert_success(driver.cuMemRelease(imported[1]));
	assert_int_equal(free_bytes(), before);
	work_on(SECOND);
	assert_int_equal(free_bytes(), other);
	close(descriptor);
}

/* ---- other devices in a restore ---- */

static CUuuid uuid_of(int device)
{
	CUuuid uuid;

	assert_success(driver.cuDeviceGetUuid(&uuid, device));
	return uuid;
}

static void pair(CUcheckpointGpuPair *pair, int old, int new)
{
	*pair = (CUcheckpointGpuPair){uuid_of(old), uuid_of(new)};
}

static CUresult restore_on(CUcheckpointGpuPair *pairs, unsigned int count)
{
	CUcheckpointRestoreArgs arguments = {.gpuPairs = pairs, .gpuPairsCount = count};

	return driver.cuCheckpointProcessRestore(getpid(), &arguments);
}

static void assert_lies_on(CUmemGenericAllocationHandle handle, const char *name)
{
	char path[64], link[128] = "";
	int descriptor;

	assert_success(
		driver.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	assert_non_null(strstr(link, name));
	close(descriptor);
}

/* As measured: an ordinal stays what the program knows, and is another device. */
static void a_restore_puts_other_devices_in_their_place(void **state)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = map_memory(&handle);
	CUcheckpointGpuPair pairs[DEVICES];
	CUuuid uuids[DEVICES], now;

	(void)state;
	work_on(FIRST);
	set_access(address, FIRST, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	write_word(address, 0x1234);
	for (int device = 0; device < DEVICES; device++)
		uuids[device] = uuid_of(device);
	pair(&pairs[0], 0, 1);
	pair(&pairs[1], 1, 0);
	pair(&pairs[2], 2, 2);
	pair(&pairs[3], 3, 3);
	assert_success(driver.cuCheckpointProcessLock(getpid(), NULL));
	assert_success(driver.cuCheckpointProcessCheckpoint(getpid(), NULL));
	/* Not every GPU; one twice; one that is not there. */
	assert_int_equal(restore_on(pairs, 1), CUDA_ERROR_INVALID_VALUE);
	pairs[3].newUuid = uuids[2];
	assert_int_equal(restore_on(pairs, DEVICES), CUDA_ERROR_INVALID_VALUE);
	memset(&pairs[3].newUuid, 7, sizeof(CUuuid));
	assert_int_equal(restore_on(pairs, DEVICES), CUDA_ERROR_INVALID_VALUE);
	pairs[3].newUuid = uuids[3];
	assert_success(restore_on(pairs, DEVICES));
	assert_success(driver.cuCheckpointProcessUnlock(getpid(), NULL));

	assert_int_equal(read_word(address), 0x1234);
	assert_int_equal(access_of(address, FIRST), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	now = uuid_of(FIRST);
	assert_memory_equal(&now, &uuids[1], sizeof(now));
	now = uuid_of(SECOND);
	assert_memory_equal(&now, &uuids[0], sizeof(now));
	assert_lies_on(handle, "device-1");
	drop_memory(address, handle);
	address = map_memory(&handle);
	assert_lies_on(handle, "device-1");
	drop_memory(address, handle);
}

/* ---- broken devices ---- */

static void assert_broken(int device, CUresult error, CUdeviceptr address)
{
	OTHER_FUNCTION(cuCtxCreate_v2, (CUcontext *, unsigned int, CUdevice));
	CUmemGenericAllocationHandle handle;
	CUcontext context;
	CUstream stream;
	uint32_t word;

	work_on(device);
	assert_int_equal(driver.cuMemcpyDtoH(&word, address, sizeof(word)), error);
	assert_int_equal(driver.cuCtxSynchronize(), error);
	assert_int_equal(driver.cuMemAlloc(&address, MIB), error);
	assert_int_equal(driver.cuMemFree(address), error);
	assert_int_equal(driver.cuMemCreate(&handle, 2 * MIB, &exportable, 0), error);
	assert_int_equal(driver.cuStreamCreate(&stream, 0), error);
	/* Nor does another context help. */
	assert_int_equal(cuCtxCreate_v2(&context, 0, device), error);
	/* What is no work of the device goes on, and so do the other devices. */
	assert_success(driver.cuDeviceGetCount(&(int){0}));
	work_on(FIRST);
	assert_success(driver.cuMemAlloc(&address, MIB));
	assert_success(driver.cuMemFree(address));
}

static void an_error_can_be_for_good(void **state)
{
	OTHER_FUNCTION(cuMemsetD16_v2, (CUdeviceptr, unsigned short, size_t));
	OTHER_FUNCTION(cuMemsetD32_v2, (CUdeviceptr, unsigned int, size_t));
	CUdeviceptr address;

	(void)state;
	work_on(BROKEN);
	assert_success(driver.cuMemAlloc(&address, MIB));
	/* Most are not. */
	assert_int_equal(cuMemsetD32_v2(address, 1, 4), CUDA_ERROR_UNKNOWN);
	assert_success(cuMemsetD32_v2(address, 1, 4));
	assert_int_equal(cuMemsetD16_v2(address, 1, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(cuMemsetD16_v2(address, 1, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_broken(BROKEN, CUDA_ERROR_ILLEGAL_ADDRESS, address);
}

/* Unlike cuMemFree cuMemUnmap does not wait for what is submitted. */
static void work_on_memory_that_is_gone_breaks_the_device(void **state)
{
	OTHER_FUNCTION(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream));
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address = map_memory(&handle), plain;
	CUstream stream;

	(void)state;
	work_on(FAULTY);
	set_access(address, FAULTY, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_success(driver.cuMemAlloc(&plain, MIB));
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	assert_success(cuMemsetD8Async(plain, 1, MIB, stream));
	assert_success(driver.cuMemFree(plain));
	assert_success(driver.cuStreamSynchronize(stream));
	write_control(control_path, "cuMemsetD8Async=held\n");
	assert_success(cuMemsetD8Async(address, 1, MIB, stream));
	wait_until_held(control_path);
	assert_success(driver.cuMemUnmap(address, 2 * MIB));
	write_control(control_path, "");
	assert_int_equal(driver.cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_broken(FAULTY, CUDA_ERROR_ILLEGAL_ADDRESS, address);
	assert_success(driver.cuMemRelease(handle));
	assert_success(driver.cuMemAddressFree(address, 2 * MIB));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_device_has_its_own_access),
		cmocka_unit_test(a_stream_works_on_its_own_device),
		cmocka_unit_test(peer_access_is_enabled_once),
		cmocka_unit_test(memory_is_counted_where_it_lies_and_once),
		cmocka_unit_test(a_restore_puts_other_devices_in_their_place),
		cmocka_unit_test(an_error_can_be_for_good),
		cmocka_unit_test(work_on_memory_that_is_gone_breaks_the_device),
	};

	return cmocka_run_group_tests(tests, start, end);
}
