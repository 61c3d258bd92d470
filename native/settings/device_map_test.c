/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "settings/device_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#define UUID "GPU-00112233-4455-6677-8899-aabbccddeeff"

static struct device_map map;
static struct error_text error;

static void nothing_and_auto(void **state)
{
	(void)state;
	assert_int_equal(device_map_parse("", &map, &error), 0);
	assert_int_equal(map.count, 0);
	assert_false(map.same_ordinals);
	assert_int_equal(device_map_parse("auto", &map, &error), 0);
	assert_int_equal(map.count, 0);
	assert_true(map.same_ordinals);
}

static void ordinals_and_uuids(void **state)
{
	char text[DEVICE_NAME_TEXT_MAX];

	(void)state;
	assert_int_equal(device_map_parse("0=1,12=" UUID "," UUID "=3", &map, &error), 0);
	assert_int_equal(map.count, 3);
	assert_false(map.only_one);
	assert_int_equal(map.entries[0].old.ordinal, 0);
	assert_int_equal(map.entries[0].new.ordinal, 1);
	assert_int_equal(map.entries[1].old.ordinal, 12);
	assert_true(map.entries[1].new.is_uuid);
	assert_int_equal(map.entries[1].new.uuid[0], 0);
	assert_int_equal(map.entries[1].new.uuid[1], 0x11);
	assert_int_equal(map.entries[1].new.uuid[15], 0xff);
	device_name_write(&map.entries[2].old, text);
	assert_string_equal(text, UUID);
	device_name_write(&map.entries[2].new, text);
	assert_string_equal(text, "3");
	/* As some programs write it. */
	assert_int_equal(device_map_parse("gpu-00112233-4455-6677-8899-AABBCCDDEEFF=0", &map, &error), 0);
	device_name_write(&map.entries[0].old, text);
	assert_string_equal(text, UUID);
}

static void one_for_the_only_one(void **state)
{
	(void)state;
	assert_int_equal(device_map_parse("1", &map, &error), 0);
	assert_true(map.only_one);
	assert_int_equal(map.count, 1);
	assert_int_equal(map.entries[0].new.ordinal, 1);
	assert_int_equal(device_map_parse(UUID, &map, &error), 0);
	assert_true(map.only_one);
	assert_true(map.entries[0].new.is_uuid);
}

static void what_is_wrong_is_named(void **state)
{
	static const char *const wrong[] = {",",
					    "0=",
					    "=1",
					    "0=1,",
					    ",0=1",
					    "0=1=2",
					    "0 =1",
					    "0=1;1=0",
					    "-1=0",
					    "0=-1",
					    "0x1=0",
					    "0=auto",
					    "AUTO",
					    "0=1,,1=0",
					    "0,1",
					    "GPU-0011=0",
					    "GPU-=1",
					    UUID "0=1",
					    UUID "=",
					    "99999999999=0",
					    "1 ",
					    "GPU-0011223344556677-8899-aabbccddee=1",
					    "GPU-00112233-4455-6677-8899-aabbccddeefg=1"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		error.text[0] = '\0';
		assert_int_equal(device_map_parse(wrong[i], &map, &error), -EINVAL);
		assert_non_null(strstr(error.text, "is not OLD=NEW"));
	}
	assert_int_equal(device_map_parse("0=1,two=3", &map, &error), -EINVAL);
	assert_non_null(strstr(error.text, "\"two=3\""));
	assert_int_equal(
		device_map_parse("0=0,1=1,2=2,3=3,4=4,5=5,6=6,7=7,8=8,9=9,10=10,11=11,12=12,13=13,14=14,15=15,16=16",
				 &map, &error),
		-EINVAL);
	assert_non_null(strstr(error.text, "more than 16"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_and_auto),
		cmocka_unit_test(ordinals_and_uuids),
		cmocka_unit_test(one_for_the_only_one),
		cmocka_unit_test(what_is_wrong_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
