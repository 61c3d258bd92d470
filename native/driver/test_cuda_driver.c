/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, which makes a macro of the name fail. */
#include "driver/cuda_driver.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void a_driver_named_by_path_is_opened(void **state)
{
	struct cuda_driver driver;
	struct error_text error = {""};

	(void)state;
	assert_int_equal(cuda_driver_open(&driver, SIMCUDA_LIBRARY, &error), 0);
	assert_true(driver.simulated);
	assert_int_equal(driver.version, 13000);
#define ASSERT_FOUND(name, symbol, version) assert_non_null(driver.name);
	CUDA_DRIVER_FUNCTIONS(ASSERT_FOUND)
	CUDA_DRIVER_CHECKPOINT_FUNCTIONS(ASSERT_FOUND)
	assert_string_equal(cuda_result_name(&driver, CUDA_ERROR_OUT_OF_MEMORY), "CUDA_ERROR_OUT_OF_MEMORY");
	assert_non_null(cuda_result_name(&driver, (CUresult)123456));
}

/* Names exist in several binary interfaces; asking for the wrong version gives one with 32-bit sizes. */
static void the_right_variants_are_resolved(void **state)
{
	static const struct {
		size_t offset;
		const char *symbol;
	} expected[] = {
		{offsetof(struct cuda_driver, cuDeviceGetUuid), "cuDeviceGetUuid_v2"},
		{offsetof(struct cuda_driver, cuDeviceTotalMem), "cuDeviceTotalMem_v2"},
		{offsetof(struct cuda_driver, cuDevicePrimaryCtxRelease), "cuDevicePrimaryCtxRelease_v2"},
		{offsetof(struct cuda_driver, cuCtxGetDevice), "cuCtxGetDevice"},
		{offsetof(struct cuda_driver, cuCtxSynchronize), "cuCtxSynchronize"},
		{offsetof(struct cuda_driver, cuMemGetInfo), "cuMemGetInfo_v2"},
		{offsetof(struct cuda_driver, cuMemAlloc), "cuMemAlloc_v2"},
		{offsetof(struct cuda_driver, cuMemFree), "cuMemFree_v2"},
		{offsetof(struct cuda_driver, cuMemHostRegister), "cuMemHostRegister_v2"},
		{offsetof(struct cuda_driver, cuMemcpyHtoDAsync), "cuMemcpyHtoDAsync_v2"},
		{offsetof(struct cuda_driver, cuMemcpyDtoHAsync), "cuMemcpyDtoHAsync_v2"},
		{offsetof(struct cuda_driver, cuMemsetD8), "cuMemsetD8_v2"},
		{offsetof(struct cuda_driver, cuStreamDestroy), "cuStreamDestroy_v2"},
		{offsetof(struct cuda_driver, cuEventDestroy), "cuEventDestroy_v2"},
	};
	struct cuda_driver driver;
	struct error_text error;

	(void)state;
	assert_int_equal(cuda_driver_open(&driver, SIMCUDA_LIBRARY, &error), 0);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		void *found;

		memcpy(&found, (char *)&driver + expected[i].offset, sizeof(found));
		assert_ptr_equal(found, dlsym(driver.library, expected[i].symbol));
	}
}

static void a_simulated_driver_is_not_taken_by_chance(void **state)
{
	struct cuda_driver driver;
	struct error_text error = {""};
	void *loaded;

	(void)state;
	/* What LD_LIBRARY_PATH would do: from now on libcuda.so.1 is this one. */
	loaded = dlopen(SIMCUDA_LIBRARY, RTLD_NOW);
	assert_non_null(loaded);
	assert_int_equal(cuda_driver_open(&driver, NULL, &error), -ENODEV);
	assert_non_null(strstr(error.text, "simulated"));
	assert_non_null(strstr(error.text, "REKINDLE_CUDA_DRIVER"));
	assert_int_equal(cuda_driver_open(&driver, "", &error), -ENODEV);
}

static void a_driver_without_checkpoint_calls_is_named_with_what_is_needed(void **state)
{
	struct cuda_driver driver;
	struct error_text error = {""};

	(void)state;
	assert_int_equal(cuda_driver_open(&driver, OLD_DRIVER_LIBRARY, &error), -ENOSYS);
	assert_non_null(strstr(error.text, "CUDA 12.4"));
	assert_non_null(strstr(error.text, "570"));
	assert_non_null(strstr(error.text, "cuCheckpointProcess"));
	assert_null(driver.library);
}

static void what_is_no_driver_is_refused(void **state)
{
	struct cuda_driver driver;
	struct error_text error = {""};

	(void)state;
	assert_int_equal(cuda_driver_open(&driver, "/nonexistent/libcuda.so.1", &error), -ENODEV);
	assert_non_null(strstr(error.text, "/nonexistent/libcuda.so.1"));
	assert_int_equal(cuda_driver_open(&driver, "libm.so.6", &error), -ENODEV);
	assert_non_null(strstr(error.text, "libm.so.6"));
}

static void results_become_error_codes(void **state)
{
	(void)state;
	assert_int_equal(cuda_result_to_errno(CUDA_SUCCESS), 0);
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_OUT_OF_MEMORY), -ENOMEM);
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_INVALID_VALUE), -EINVAL);
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_NO_DEVICE), -ENODEV);
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_NOT_SUPPORTED), -EOPNOTSUPP);
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_ILLEGAL_STATE), -EBUSY);
	/* Not -ENOENT, which is a missing image. */
	assert_int_equal(cuda_result_to_errno(CUDA_ERROR_NOT_FOUND), -EIO);
	assert_int_equal(cuda_result_to_errno((CUresult)700), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_named_by_path_is_opened),
		cmocka_unit_test(the_right_variants_are_resolved),
		cmocka_unit_test(a_simulated_driver_is_not_taken_by_chance),
		cmocka_unit_test(a_driver_without_checkpoint_calls_is_named_with_what_is_needed),
		cmocka_unit_test(what_is_no_driver_is_refused),
		cmocka_unit_test(results_become_error_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
