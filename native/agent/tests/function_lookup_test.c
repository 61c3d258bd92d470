/* SPDX-License-Identifier: MIT */
/* Every way in which programs find the driver's functions leads to the agent; every other symbol is left alone. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/tests/driver.h"

static void *driver;

static int open_driver(void **state)
{
	(void)state;
	driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	return driver ? 0 : -1;
}

static void direct_linking(void **state)
{
	(void)state;
	assert_true(is_of_agent((void *)cuMemAlloc_v2));
	assert_true(is_of_agent((void *)cuMemCreate));
	assert_false(is_of_agent((void *)cuDeviceGetCount));
}

static void dlsym_with_a_handle(void **state)
{
	(void)state;
	assert_ptr_equal(dlsym(driver, "cuMemAlloc_v2"), (void *)cuMemAlloc_v2);
	assert_true(is_of_agent(dlsym(driver, "cuGetProcAddress_v2")));
	assert_non_null(dlsym(driver, "cuMemAlloc"));
	assert_false(is_of_agent(dlsym(driver, "cuMemAlloc"))); /* the variant of 32-bit addresses */
	assert_false(is_of_agent(dlsym(driver, "cuDeviceGetCount")));
	assert_null(dlsym(driver, "cuNoSuchFunction"));
	assert_non_null(strstr(dlerror(), "cuNoSuchFunction"));
	/* The agent exports this one, the driver lacks it. */
	assert_null(dlsym(driver, "cuMulticastBindMem"));
	assert_non_null(strstr(dlerror(), "cuMulticastBindMem"));
}

static void dlsym_by_scope(void **state)
{
	void *(*next_malloc)(size_t);

	(void)state;
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"), (void *)cuMemAlloc_v2);
	/* From the program the next object with it is the agent. */
	assert_ptr_equal(dlsym(RTLD_NEXT, "cuMemAlloc_v2"), (void *)cuMemAlloc_v2);
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "getenv"), (void *)getenv);
	next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	assert_non_null(next_malloc);
	/* "After the program", not "after the agent": a symbol of the agent itself is found. */
	assert_true(is_of_agent(dlsym(RTLD_NEXT, "dlsym")));
	assert_null(dlsym(RTLD_NEXT, "main"));
}

static void *look_up(const char *name, int version, uint64_t flags)
{
	CUdriverProcAddressQueryResult status = 99;
	void *function = (void *)1;

	assert_success(cuGetProcAddress_v2(name, &function, version, flags, &status));
	assert_int_equal(status == CU_GET_PROC_ADDRESS_SUCCESS, function != NULL);
	return function;
}

static void cuGetProcAddress_of_version_2(void **state)
{
	(void)state;
	assert_ptr_equal(look_up("cuMemAlloc", 12000, 0), (void *)cuMemAlloc_v2);
	assert_ptr_equal(look_up("cuMemAlloc", 3020, 0), (void *)cuMemAlloc_v2);
	assert_ptr_equal(look_up("cuMemFree", 13000, 2), (void *)cuMemFree_v2);
	assert_ptr_equal(look_up("cuMemCreate", 10020, 0), (void *)cuMemCreate);
	assert_ptr_equal(look_up("cuDevicePrimaryCtxReset", 12000, 0), (void *)cuDevicePrimaryCtxReset_v2);
	assert_ptr_equal(look_up("cuGetProcAddress", 12000, 0), (void *)cuGetProcAddress_v2);
	assert_ptr_equal(look_up("cuGetProcAddress", 11030, 0), (void *)cuGetProcAddress);
	assert_ptr_equal(look_up("cuIpcOpenMemHandle", 12000, 0), (void *)cuIpcOpenMemHandle_v2);
	assert_true(is_of_agent(look_up("cuIpcOpenMemHandle", 10020, 0)));
	assert_false(is_of_agent(look_up("cuDeviceGetCount", 12000, 0)));
	assert_null(look_up("cuMemCreate", 10000, 0));
	assert_null(look_up("cuNoSuchFunction", 12000, 0));
	/* Of a version that had it not yet, or with 32-bit addresses. */
	assert_null(look_up("cuMemAlloc", 2000, 0));
	/* An exported symbol is no name of this interface. */
	assert_null(look_up("cuMemAlloc_v2", 12000, 0));
	assert_null(look_up("cuMulticastBindMem", 13000, 0));
	/* Versions of the interface yet to come: the very same function is replaced still. */
	assert_ptr_equal(look_up("cuMemAlloc", 15000, 0), (void *)cuMemAlloc_v2);
}

static void cuGetProcAddress_of_version_1(void **state)
{
	void *function = NULL;

	(void)state;
	assert_success(cuGetProcAddress("cuMemAlloc", &function, 11030, 0));
	assert_ptr_equal(function, (void *)cuMemAlloc_v2);
	assert_success(cuGetProcAddress("cuCtxGetCurrent", &function, 11030, 0));
	assert_false(is_of_agent(function));
}

/* As the CUDA runtime does it, linked statically: dlopen, dlsym of one function, everything else through that. */
static void like_the_cuda_runtime(void **state)
{
	CUresult (*get)(const char *, void **, int, uint64_t, CUdriverProcAddressQueryResult *);
	CUresult (*allocate)(CUdeviceptr *, size_t);
	CUdriverProcAddressQueryResult status;
	void *found = NULL;

	(void)state;
	found = dlsym(driver, "cuGetProcAddress_v2");
	assert_non_null(found);
	memcpy(&get, &found, sizeof(get));
	assert_success(get("cuGetProcAddress", &found, 12080, 0, &status));
	memcpy(&get, &found, sizeof(get));
	assert_success(get("cuMemAlloc", &found, 12080, 0, &status));
	memcpy(&allocate, &found, sizeof(allocate));
	assert_true(is_of_agent(found));
	assert_ptr_equal(found, (void *)cuMemAlloc_v2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(direct_linking),
		cmocka_unit_test(dlsym_with_a_handle),
		cmocka_unit_test(dlsym_by_scope),
		cmocka_unit_test(cuGetProcAddress_of_version_2),
		cmocka_unit_test(cuGetProcAddress_of_version_1),
		cmocka_unit_test(like_the_cuda_runtime),
	};

	return cmocka_run_group_tests(tests, open_driver, NULL);
}
