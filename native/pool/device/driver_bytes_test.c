/* SPDX-License-Identifier: MIT */
#include "pool/device/driver_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "driver/gpu_memory.h"

#define MEBIBYTE (UINT64_C(1) << 20)

bool __wrap_gpu_memory_of_process(const struct cuda_driver *driver, const CUuuid *uuid, pid_t pid, uint64_t *bytes);

static struct pool pool;

/* The second GPU does not tell. */
bool __wrap_gpu_memory_of_process(const struct cuda_driver *driver, const CUuuid *uuid, pid_t pid, uint64_t *bytes)
{
	assert_ptr_equal(driver, &pool.driver);
	assert_int_equal(pid, 42);
	*bytes = 100 * MEBIBYTE;
	return uuid == &pool.devices[0].uuid;
}

static void only_memory_of_the_device_is_taken_off(void **state)
{
	struct gpu_image *image = gpu_image_create(42, 2 * MEBIBYTE, 2, 3);

	(void)state;
	assert_non_null(image);
	image->allocations[0].bytes = 40 * MEBIBYTE;
	image->allocations[1].bytes = 80 * MEBIBYTE;
	image->allocations[1].on_host = true;
	image->allocations[2].bytes = 20 * MEBIBYTE;
	image->allocations[2].device = 1;
	driver_bytes_note(&pool, image, 42);
	assert_int_equal(image->devices[0].driver_bytes, 60 * MEBIBYTE);
	assert_int_equal(image->devices[1].driver_bytes, 0);
	/* As told a moment later. */
	image->allocations[0].bytes = 104 * MEBIBYTE;
	driver_bytes_note(&pool, image, 42);
	assert_int_equal(image->devices[0].driver_bytes, 0);
	gpu_image_free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_memory_of_the_device_is_taken_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
