/* SPDX-License-Identifier: MIT */
/*
 * interposers_test before|after|unseen-before|unseen-after: another library that interposes the driver is preloaded before
 * or after the agent. Wherever both are asked, both see what they interpose; where the other is not, that is said.
 * "unseen": it has no dlsym, so that it takes part in calls of linked programs only.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "agent/tests/stand_in_pool.h"
#include "agent/tests/driver.h"
#include "process/agent_page.h"

#include <cmocka.h>

typedef CUresult allocate_function(CUdeviceptr *address, size_t bytes);

static const unsigned int *other_allocations, *other_pieces;
static bool other_is_first, other_is_seen;
static void *driver;

static int start(void **state)
{
	(void)state;
	driver = dlopen("libcuda.so.1", RTLD_LAZY);
	other_allocations = dlsym(RTLD_DEFAULT, "other_interposer_allocations");
	other_pieces = dlsym(RTLD_DEFAULT, "other_interposer_pieces");
	driver_start();
	return driver && other_allocations && other_pieces ? 0 : -1;
}

static void check_allocation(allocate_function *allocate, bool other_takes_part)
{
	unsigned int allocations = *other_allocations, pieces = *other_pieces;
	struct agent_message reply;
	struct saved_memory saved;
	CUdeviceptr address;

	assert_success(allocate(&address, 4 * MIB));
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 1); /* the agent backs it */
	agent_forget(&saved);
	assert_int_equal(*other_allocations - allocations, other_takes_part && other_is_first);
	/* The agent makes the memory through it. */
	assert_int_equal(*other_pieces - pieces, other_takes_part && !other_is_first);
	assert_success(cuMemFree_v2(address));
}

static void of_a_linked_program(void **state)
{
	(void)state;
	check_allocation(cuMemAlloc_v2, other_is_first || other_is_seen);
}

static void by_dlsym(void **state)
{
	(void)state;
	check_allocation((allocate_function *)dlsym(driver, "cuMemAlloc_v2"), other_is_seen);
}

static void by_cuGetProcAddress(void **state)
{
	CUresult(*get) PARAMETERS_cuGetProcAddress_v2 =
		(CUresult(*) PARAMETERS_cuGetProcAddress_v2)dlsym(driver, "cuGetProcAddress_v2");
	CUdriverProcAddressQueryResult status;
	void *function = NULL;

	(void)state;
	assert_success(get("cuMemAlloc", &function, 12080, 0, &status));
	check_allocation((allocate_function *)function, other_is_seen);
	if (other_is_seen) {
		assert_success(get("cuMemAlloc_v2", &function, 12080, 0, &status));
		check_allocation((allocate_function *)function, true);
	}
	/* Through a variant of itself, as the CUDA runtime does. */
	assert_success(get("cuGetProcAddress", &function, 12080, 0, &status));
	get = (CUresult(*) PARAMETERS_cuGetProcAddress_v2)function;
	assert_success(get("cuMemAlloc", &function, 3020, 0, &status));
	check_allocation((allocate_function *)function, other_is_seen);
}

/* The first library with the name; as in a program without the agent. */
static void by_the_default_scope(void **state)
{
	(void)state;
	check_allocation((allocate_function *)dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"), other_is_first || other_is_seen);
}

static void who_is_passed_over_is_named(void **state)
{
	struct process_maps maps;
	struct agent agent;

	(void)state;
	assert_int_equal(process_maps_read(getpid(), &maps, NULL), 0);
	agent_open(&agent, getpid(), &maps);
	assert_true(agent.usable);
	if (other_is_first || other_is_seen) {
		assert_string_equal(agent.note, "");
	} else {
		assert_non_null(strstr(agent.note, "do not reach "));
		assert_non_null(strstr(agent.note, "other_interposer"));
	}
	agent_close(&agent);
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_linked_program),	       cmocka_unit_test(by_dlsym),
		cmocka_unit_test(by_cuGetProcAddress),	       cmocka_unit_test(by_the_default_scope),
		cmocka_unit_test(who_is_passed_over_is_named),
	};

	if (count != 2)
		return 2;
	other_is_first = strstr(arguments[1], "before") != NULL;
	other_is_seen = !strstr(arguments[1], "unseen");
	return cmocka_run_group_tests(tests, start, NULL);
}
