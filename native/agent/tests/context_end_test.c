/* SPDX-License-Identifier: MIT */
/* Memory of cuMemAlloc ends with its context, by whatever function that ends; run with the agent and without. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/tests/driver.h"

#define ALLOCATIONS 3

static CUcontext primary;
static void *driver;

static int start(void **state)
{
	(void)state;
	primary = driver_start();
	driver = dlopen("libcuda.so.1", RTLD_LAZY);
	return driver ? 0 : -1;
}

/* Memory of the current context, of sizes that the agent backs and one that it leaves to the driver. */
static void allocate(CUdeviceptr addresses[ALLOCATIONS])
{
	assert_success(cuMemAlloc_v2(&addresses[0], 8 * MIB));
	assert_success(cuMemAlloc_v2(&addresses[1], MIB));
	assert_success(cuMemAlloc_v2(&addresses[2], 2 * GIB));
}

/* Neither memory nor addresses are held any more, and the driver knows none of it. */
static void assert_gone(const CUdeviceptr addresses[ALLOCATIONS], size_t free_before, size_t ranges)
{
	CUdeviceptr base;
	size_t bytes;

	assert_int_equal(free_device_bytes(), free_before);
	for (int index = 0; index < ALLOCATIONS; index++) {
		assert_int_not_equal(cuMemGetAddressRange_v2(&base, &bytes, addresses[index]), CUDA_SUCCESS);
		assert_int_not_equal(cuMemFree_v2(addresses[index]), CUDA_SUCCESS);
	}
	assert_int_equal(rekindle_simcuda_reservations(), ranges);
}

/* ---- contexts ---- */

typedef CUresult (*end_context)(CUcontext context);

static void check_context(end_context end)
{
	CUdeviceptr addresses[ALLOCATIONS], kept;
	size_t free_before, ranges;
	CUcontext context;

	assert_success(cuMemAlloc_v2(&kept, 4 * MIB)); /* in the primary context */
	free_before = free_device_bytes();
	ranges = rekindle_simcuda_reservations();
	assert_success(cuCtxCreate_v2(&context, 0, 0));
	allocate(addresses);
	assert_success(end(context));
	assert_success(cuCtxSetCurrent(primary));
	assert_gone(addresses, free_before, ranges);
	assert_success(cuMemsetD8_v2(kept, 1, 4 * MIB));
	assert_success(cuMemFree_v2(kept));
}

static void *look_up(const char *name, int version)
{
	void *function = NULL;

	assert_success(cuGetProcAddress_v2(name, &function, version, 0, NULL));
	assert_non_null(function);
	return function;
}

static void contexts_that_are_destroyed(void **state)
{
	static const int versions[] = {2000, 3020, 4000, 11000, 12000, 13000};

	(void)state;
	check_context(cuCtxDestroy);
	check_context(cuCtxDestroy_v2);
	check_context((end_context)dlsym(driver, "cuCtxDestroy"));
	check_context((end_context)dlsym(driver, "cuCtxDestroy_v2"));
	for (size_t index = 0; index < sizeof(versions) / sizeof(versions[0]); index++)
		check_context((end_context)look_up("cuCtxDestroy", versions[index]));
}

static void contexts_that_nobody_is_attached_to(void **state)
{
	CUdeviceptr address;
	CUcontext context, same;

	(void)state;
	check_context(cuCtxDetach);
	check_context((end_context)dlsym(driver, "cuCtxDetach"));
	check_context((end_context)look_up("cuCtxDetach", 12000));
	/* It lives while it is used. */
	assert_success(cuCtxCreate_v2(&context, 0, 0));
	assert_success(cuMemAlloc_v2(&address, 8 * MIB));
	assert_success(cuCtxAttach(&same, 0));
	assert_success(cuCtxDetach(same));
	assert_success(cuMemsetD8_v2(address, 1, 8 * MIB));
	assert_success(cuMemFree_v2(address));
	assert_success(cuCtxDetach(context));
	assert_success(cuCtxSetCurrent(primary));
}

/* ---- primary contexts ---- */

typedef CUresult (*end_primary)(CUdevice device);

static void check_primary(end_primary end)
{
	size_t free_before = free_device_bytes(), ranges = rekindle_simcuda_reservations();
	CUdeviceptr addresses[ALLOCATIONS];

	allocate(addresses);
	assert_success(end(0));
	assert_success(cuDevicePrimaryCtxRetain(&primary, 0));
	assert_success(cuCtxSetCurrent(primary));
	assert_gone(addresses, free_before, ranges);
}

static CUresult release_of_two(CUdevice device)
{
	CUdeviceptr address;
	CUresult result;

	/* Not the last one: nothing ends. */
	assert_success(cuDevicePrimaryCtxRetain(&primary, device));
	assert_success(cuMemAlloc_v2(&address, 8 * MIB));
	result = cuDevicePrimaryCtxRelease(device);
	assert_success(cuMemsetD8_v2(address, 1, 8 * MIB));
	assert_success(cuMemFree_v2(address));
	return result == CUDA_SUCCESS ? cuDevicePrimaryCtxRelease_v2(device) : result;
}

static void primary_contexts_that_are_released(void **state)
{
	static const int versions[] = {7000, 10000, 11000, 12000, 13000};

	(void)state;
	check_primary(cuDevicePrimaryCtxRelease);
	check_primary(cuDevicePrimaryCtxRelease_v2);
	check_primary(release_of_two);
	check_primary((end_primary)dlsym(driver, "cuDevicePrimaryCtxRelease"));
	check_primary((end_primary)dlsym(driver, "cuDevicePrimaryCtxRelease_v2"));
	for (size_t index = 0; index < sizeof(versions) / sizeof(versions[0]); index++)
		check_primary((end_primary)look_up("cuDevicePrimaryCtxRelease", versions[index]));
}

static void primary_contexts_that_are_reset(void **state)
{
	static const int versions[] = {7000, 10000, 11000, 12000, 13000};

	(void)state;
	check_primary(cuDevicePrimaryCtxReset);
	check_primary(cuDevicePrimaryCtxReset_v2);
	check_primary((end_primary)dlsym(driver, "cuDevicePrimaryCtxReset"));
	check_primary((end_primary)dlsym(driver, "cuDevicePrimaryCtxReset_v2"));
	for (size_t index = 0; index < sizeof(versions) / sizeof(versions[0]); index++)
		check_primary((end_primary)look_up("cuDevicePrimaryCtxReset", versions[index]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contexts_that_are_destroyed),
		cmocka_unit_test(contexts_that_nobody_is_attached_to),
		cmocka_unit_test(primary_contexts_that_are_released),
		cmocka_unit_test(primary_contexts_that_are_reset),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
