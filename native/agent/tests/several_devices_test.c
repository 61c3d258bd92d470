/* SPDX-License-Identifier: MIT */
/* With several devices in use each of them gets access to what the agent backs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/tests/agent_client.h"
#include "agent/tests/driver.h"

#include <cmocka.h>

static char control_file[] = "/tmp/rekindle-agent-test-XXXXXX";
static struct saved_memory saved;
static struct agent_message reply;
static CUcontext first, second;

static void inject(const char *rules)
{
	static unsigned int generation;
	FILE *file = fopen(control_file, "w");

	assert_non_null(file);
	fprintf(file, "%s%*s\n", rules, (int)++generation, "");
	fclose(file);
}

static int start(void **state)
{
	int descriptor = mkstemp(control_file);

	(void)state;
	if (descriptor < 0)
		return -1;
	close(descriptor);
	setenv("REKINDLE_SIMCUDA_CONTROL", control_file, 1);
	first = driver_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	return unlink(control_file);
}

static void assert_offloadable(size_t count)
{
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, count);
	agent_forget(&saved);
}

/* simcuda keeps one access for all devices, so what is granted is told by the calls: the Nth fails. */
static void a_device_that_joins_gets_access_to_what_is_there(void **state)
{
	CUdeviceptr address;

	(void)state;
	/* One device: one call. */
	inject("cuMemSetAccess=999@2");
	assert_success(cuMemAlloc_v2(&address, 4 * MIB));
	assert_offloadable(1);
	/* A second one: another call for the memory that is there. */
	inject("cuMemSetAccess=999@1");
	assert_int_equal(cuDevicePrimaryCtxRetain(&second, 1), 999);
	inject("");
	assert_success(cuDevicePrimaryCtxRetain(&second, 1));
	/* Once granted it is not granted again. */
	inject("cuMemSetAccess=999@1");
	assert_success(cuDevicePrimaryCtxRetain(&second, 1));
	inject("");
	assert_offloadable(1);
	assert_success(cuMemFree_v2(address));
}

static void new_memory_is_for_both_devices(void **state)
{
	CUdeviceptr on_first, on_second;
	unsigned char seen = 0;

	(void)state;
	/* Where the second device cannot get access the driver allocates. */
	inject("cuMemSetAccess=999@2");
	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	inject("");
	assert_offloadable(0);
	assert_success(cuMemFree_v2(on_first));

	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	assert_success(cuCtxSetCurrent(second));
	assert_success(cuMemAlloc_v2(&on_second, 4 * MIB));
	assert_success(cuMemsetD8_v2(on_first, 0x31, 4 * MIB));
	assert_success(cuMemcpyDtoD_v2(on_second, on_first, 4 * MIB));
	assert_success(cuMemcpyDtoH_v2(&seen, on_second + MIB, 1));
	assert_int_equal(seen, 0x31);
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 2);
	assert_memory_not_equal(&saved.allocations[0].allocation.device, &saved.allocations[1].allocation.device,
				sizeof(CUuuid));
	agent_forget(&saved);
	assert_success(cuMemFree_v2(on_second));
	/* Freed from another context than it was made in. */
	assert_success(cuMemFree_v2(on_first));
	assert_success(cuCtxSetCurrent(first));
	assert_offloadable(0);
}

static void memory_of_a_reset_device_is_gone(void **state)
{
	CUdeviceptr on_first, on_second;

	(void)state;
	assert_success(cuMemAlloc_v2(&on_first, 4 * MIB));
	assert_success(cuCtxSetCurrent(second));
	assert_success(cuMemAlloc_v2(&on_second, 4 * MIB));
	assert_success(cuCtxSetCurrent(first));
	assert_offloadable(2);
	assert_success(cuDevicePrimaryCtxReset_v2(1));
	assert_offloadable(1);
	assert_int_not_equal(cuMemFree_v2(on_second), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(on_first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_joins_gets_access_to_what_is_there),
		cmocka_unit_test(new_memory_is_for_both_devices),
		cmocka_unit_test(memory_of_a_reset_device_is_gone),
	};

	return cmocka_run_group_tests(tests, start, end);
}
