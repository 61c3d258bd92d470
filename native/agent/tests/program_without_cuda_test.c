/* SPDX-License-Identifier: MIT */
/* A program that does not use CUDA notices nothing of the agent. */
#include <dirent.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned int entries_of(const char *folder)
{
	DIR *directory = opendir(folder);
	unsigned int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void the_driver_is_not_found(void **state)
{
	(void)state;
	/* The agent is there and exports these names. */
	assert_non_null(dlsym(RTLD_DEFAULT, "dlsym"));
	assert_non_null(strstr(getenv("LD_PRELOAD"), "librekindle-preload"));
	assert_null(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"));
	assert_non_null(dlerror());
	assert_null(dlsym(dlopen(NULL, RTLD_LAZY), "cuMemAlloc_v2"));
	assert_null(dlsym(RTLD_DEFAULT, "cuInit"));
	assert_null(dlsym(RTLD_DEFAULT, "cuDeviceGetCount"));
}

static void nothing_is_running_and_nothing_mapped(void **state)
{
	char line[512];
	FILE *maps;

	(void)state;
	/* ".", ".." and the only thread. */
	assert_int_equal(entries_of("/proc/self/task"), 3);
	maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		assert_null(strstr(line, "memfd"));
		assert_null(strstr(line, "libcuda"));
	}
	fclose(maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_driver_is_not_found),
		cmocka_unit_test(nothing_is_running_and_nothing_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
