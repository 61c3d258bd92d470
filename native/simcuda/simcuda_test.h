/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_SIMCUDA_TEST_H
#define REKINDLE_SIMCUDA_SIMCUDA_TEST_H

/* Before cmocka.h, which makes a macro of the name fail. */
#include "driver/cuda_driver.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the tests of the simulated driver share: the driver, opened by name, and functions that nobody else calls. */

#define MIB ((size_t)1 << 20)

static struct cuda_driver driver;

static inline void open_driver(void)
{
	struct error_text error;

	if (cuda_driver_open(&driver, SIMCUDA_LIBRARY, &error))
		fail_msg("%s", error.text);
}

/* A file for the rules of injection.c; to be had before the driver is opened. */
static inline void control_begin(char *path)
{
	int descriptor = mkstemp(path);

	assert_true(descriptor >= 0);
	close(descriptor);
	setenv("REKINDLE_SIMCUDA_CONTROL", path, 1);
}

/* Takes the place of the rules before it. */
static inline void write_control(const char *path, const char *rules)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(rules, file);
	assert_int_equal(fclose(file), 0);
}

/* Until a call is held by "name=held"; once for each name of a file. */
static inline void wait_until_held(const char *path)
{
	char name[64];
	int tries;

	snprintf(name, sizeof(name), "%s.held", path);
	for (tries = 0; tries < 60000 && unlink(name); tries++)
		usleep(1000);
	assert_true(tries < 60000);
}

static inline int open_driver_with_context(void **state)
{
	CUcontext context;

	(void)state;
	open_driver();
	assert_int_equal(driver.cuInit(0), CUDA_SUCCESS);
	assert_int_equal(driver.cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
	assert_int_equal(driver.cuCtxSetCurrent(context), CUDA_SUCCESS);
	return 0;
}

static inline int close_context(void **state)
{
	(void)state;
	assert_int_equal(driver.cuDevicePrimaryCtxRelease(0), CUDA_SUCCESS);
	return 0;
}

/* Declares a pointer to an exported function that struct cuda_driver lacks. */
#define OTHER_FUNCTION(symbol, parameters)                    \
	CUresult(*symbol) parameters;                         \
	do {                                                  \
		void *found = dlsym(driver.library, #symbol); \
		assert_non_null(found);                       \
		memcpy(&symbol, &found, sizeof(found));       \
	} while (0)

#define assert_success(call) assert_int_equal(call, CUDA_SUCCESS)

static const CUmemAllocationProp exportable = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
					       .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
					       .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAllocationProp not_exportable = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
						   .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAccessDesc read_write = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static inline void map_read_write(CUdeviceptr address, size_t bytes, CUmemGenericAllocationHandle handle)
{
	assert_success(driver.cuMemMap(address, bytes, 0, handle, 0));
	assert_success(driver.cuMemSetAccess(address, bytes, &read_write, 1));
}

static inline uint32_t read_word(CUdeviceptr address)
{
	uint32_t word = 0;

	assert_success(driver.cuMemcpyDtoH(&word, address, sizeof(word)));
	return word;
}

static inline void write_word(CUdeviceptr address, uint32_t word)
{
	assert_success(driver.cuMemcpyHtoD(address, &word, sizeof(word)));
}

#endif
