/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "plugin/criu_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *options[8];
static struct settings settings;
static struct error_text error;

/* As a CRIU 4.3 has it. */
int criu_plugin_get_options(int *count, char ***given);
int criu_plugin_get_options(int *count, char ***given)
{
	for (*count = 0; options[*count]; ++*count)
		;
	*given = (char **)(uintptr_t)options;
	return 0;
}

static int apply(bool restores, const char *first, const char *second)
{
	options[0] = "criu-plugin";
	options[1] = first;
	options[2] = second;
	error.text[0] = '\0';
	snprintf(settings.device_map, sizeof(settings.device_map), "3");
	return criu_options_apply(&settings, restores, &error);
}

static void the_device_map_comes_before_the_setting(void **state)
{
	(void)state;
	assert_int_equal(apply(true, "--cuda_plugin.device-map=0=1,1=0", NULL), 0);
	assert_string_equal(settings.device_map, "0=1,1=0");
	assert_int_equal(apply(true, "--cuda_plugin.device-map=0=1", "--cuda_plugin.device-map=auto"), 0);
	assert_string_equal(settings.device_map, "auto");
}

static void other_options_are_left_alone(void **state)
{
	(void)state;
	assert_int_equal(apply(true, NULL, NULL), 0);
	assert_int_equal(apply(true, "--amdgpu_plugin.device-map=x", "--cuda_plugin.backend=driver-api"), 0);
	assert_int_equal(apply(false, "--cuda_plugin.timeout=600", "--cuda_plugin.device-mapper=0=1"), 0);
	assert_string_equal(settings.device_map, "3");
}

static void a_wrong_one_is_named(void **state)
{
	static char too_long[1200];

	(void)state;
	assert_int_equal(apply(true, "--cuda_plugin.device-map=0=one", NULL), -EINVAL);
	assert_non_null(strstr(error.text, "cuda_plugin.device-map=0=one is not valid: \"0=one\""));
	assert_int_equal(apply(true, "--cuda_plugin.device-map=", NULL), -EINVAL);
	assert_non_null(strstr(error.text, "is empty"));
	assert_int_equal(apply(true, "--cuda_plugin.device-map", NULL), -EINVAL);
	assert_int_equal(apply(false, "--cuda_plugin.device-map=0=1", NULL), -EINVAL);
	assert_non_null(strstr(error.text, "leave it out of the dump"));
	snprintf(too_long, sizeof(too_long), "--cuda_plugin.device-map=%01100d", 0);
	assert_int_equal(apply(true, too_long, NULL), -EINVAL);
	assert_non_null(strstr(error.text, "is too long"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_device_map_comes_before_the_setting),
		cmocka_unit_test(other_options_are_left_alone),
		cmocka_unit_test(a_wrong_one_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
