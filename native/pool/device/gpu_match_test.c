/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/device/gpu_match.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIBIBYTE (UINT64_C(1) << 30)

static struct pool pool;
static const char *device_map = "";
static bool by_room;
static struct error_text error;
static char moved[768];
static uint64_t free_bytes[4], driver_bytes;
static int current;

static CUresult set_current(CUcontext context)
{
	current = (int)(intptr_t)context - 1;
	return CUDA_SUCCESS;
}

static CUresult get_info(size_t *bytes, size_t *total)
{
	*bytes = free_bytes[current];
	*total = 80 * GIBIBYTE;
	return CUDA_SUCCESS;
}

/* The machine's GPUs: 80 GiB of type A, 80 GiB of type B, 80 and 40 GiB of type A. */
static int set_up(void **state)
{
	static const char *const names[] = {"A", "B", "A", "A"};
	int i;

	(void)state;
	memset(&pool, 0, sizeof(pool));
	pool.device_count = 4;
	for (i = 0; i < pool.device_count; i++) {
		pool.devices[i].device = i;
		pool.devices[i].memory_bytes = (i == 3 ? 40 : 80) * GIBIBYTE;
		strcpy(pool.devices[i].name, names[i]);
		memset(pool.devices[i].uuid.bytes, 'a' + i, 16);
		pool.devices[i].pool = &pool;
		pool.devices[i].context = (CUcontext)(intptr_t)(i + 1);
		atomic_store(&pool.devices[i].state, DEVICE_WARM);
		free_bytes[i] = 40 * GIBIBYTE;
	}
	pool.driver.cuCtxSetCurrent = set_current;
	pool.driver.cuMemGetInfo = get_info;
	device_map = "";
	by_room = false;
	driver_bytes = 0;
	return 0;
}

/* An image of as many GPUs as uuids has letters, of these types and sizes, an allocation on each of the first ones. */
static struct gpu_image *make_image(const char *uuids, const char *types, uint64_t gibibytes, uint32_t allocations)
{
	struct gpu_image *image = gpu_image_create(42, 2 << 20, (uint32_t)strlen(uuids), allocations);
	uint32_t i;

	assert_non_null(image);
	for (i = 0; i < image->device_count; i++) {
		memset(image->devices[i].uuid, uuids[i], 16);
		image->devices[i].name[0] = types[i];
		image->devices[i].memory_bytes = gibibytes * GIBIBYTE;
	}
	for (i = 0; i < image->device_count; i++)
		image->devices[i].ordinal = (int32_t)i;
	for (i = 0; i < allocations; i++)
		image->devices[i].driver_bytes = driver_bytes;
	for (i = 0; i < allocations; i++) {
		image->allocations[i].device = i;
		image->allocations[i].bytes = GIBIBYTE;
	}
	return image;
}

/* What stands for each GPU of the image, as a string of ordinals: - for none, "" where it fails. */
static const char *match(const char *uuids, const char *types, uint64_t gibibytes, uint32_t allocations)
{
	struct gpu_image *image = make_image(uuids, types, gibibytes, allocations);
	const struct gpu_image *const images[] = {image};
	struct gpu_match_request request = {images, 1, device_map, by_room, NULL};
	struct gpu_match found;
	static char text[16];
	uint32_t i, pairs = 0;
	bool same = true;

	memset(text, 0, sizeof(text));
	error.text[0] = '\0';
	if (gpu_match_make(&pool, &request, &found, &error)) {
		assert_true(error.text[0]);
		assert_null(found.gpus);
		gpu_image_free(image);
		return text;
	}
	assert_int_equal(found.count, image->device_count);
	for (i = 0; i < found.count; i++) {
		text[i] = found.gpus[i].here ? (char)('0' + found.gpus[i].here->device) : '-';
		same &= found.gpus[i].here && !memcmp(found.gpus[i].here->uuid.bytes, image->devices[i].uuid, 16);
		assert_ptr_equal(gpu_match_find(&found, image->devices[i].uuid), found.gpus[i].here);
	}
	/* The driver is told of every GPU that there is, or of none where all are the same. */
	for (i = 0; !same && i < image->device_count; i++) {
		if (!found.gpus[i].here)
			continue;
		assert_memory_equal(found.pairs[pairs].oldUuid.bytes, image->devices[i].uuid, 16);
		assert_memory_equal(found.pairs[pairs].newUuid.bytes, found.gpus[i].here->uuid.bytes, 16);
		pairs++;
	}
	assert_int_equal(found.pair_count, pairs);
	strcpy(moved, found.moved);
	gpu_match_free(&found);
	gpu_image_free(image);
	return text;
}

static void the_same_gpus_stand_for_themselves(void **state)
{
	(void)state;
	assert_string_equal(match("abcd", "ABAA", 40, 4), "0123");
	assert_string_equal(match("db", "AB", 40, 2), "31");
	/* Whatever it is called since: it is the same one. */
	assert_string_equal(match("a", "X", 90, 1), "0");
}

static void another_one_of_the_type_stands_for_one_that_is_not_here(void **state)
{
	(void)state;
	assert_string_equal(match("x", "B", 80, 1), "1");
	assert_string_equal(match("x", "A", 80, 1), "0");
	/* None that stands for another one already, be it for itself or as a substitute, before or after it. */
	assert_string_equal(match("ax", "AA", 80, 2), "02");
	assert_string_equal(match("xa", "AA", 80, 2), "20");
	assert_string_equal(match("xy", "AA", 80, 2), "02");
	assert_string_equal(match("xyz", "AAA", 40, 3), "023");
}

static void one_of_another_type_does_not(void **state)
{
	(void)state;
	assert_string_equal(match("x", "C", 40, 1), "");
	assert_non_null(strstr(error.text, "The image was made on a GPU"));
	assert_string_equal(match("bx", "BB", 40, 2), "");
}

static void a_smaller_one_does_not(void **state)
{
	(void)state;
	assert_string_equal(match("x", "A", 81, 1), "");
	assert_string_equal(match("xyz", "AAA", 80, 3), "");
	assert_string_equal(match("acx", "AAA", 40, 3), "023");
	assert_string_equal(match("acx", "AAA", 41, 3), "");
}

static void one_that_holds_nothing_may_be_missing(void **state)
{
	(void)state;
	assert_string_equal(match("ax", "AC", 40, 1), "0-");
	assert_string_equal(match("ax", "AC", 40, 2), "");
	assert_string_equal(match("bx", "BA", 81, 1), "1-");
}

/* ---- which have no room ---- */

static void a_full_one_gives_way_to_another_of_its_type(void **state)
{
	(void)state;
	by_room = true;
	assert_string_equal(match("abcd", "ABAA", 40, 1), "0123");
	assert_string_equal(moved, "");
	free_bytes[0] = GIBIBYTE - 1;
	assert_string_equal(match("a", "A", 40, 1), "2");
	assert_string_equal(moved, "GPU 2 (GPU-63636363-6363-6363-6363-636363636363) stands for GPU 0 of the dump, "
				   "which has no room");
	/* The driver gets one for each: the unused one takes what has become free. */
	assert_string_equal(match("abcd", "ABAA", 40, 1), "2103");
	/* None that another one needs. */
	assert_string_equal(match("acd", "AAA", 40, 2), "320");
	free_bytes[2] = free_bytes[3] = 0;
	assert_string_equal(match("a", "A", 40, 1), "0");
	assert_string_equal(moved, "");
	/* Nobody asked for another one. */
	by_room = false;
	free_bytes[2] = 40 * GIBIBYTE;
	assert_string_equal(match("a", "A", 40, 1), "0");
}

/* ---- the caller's choice ---- */

static const char *match_with(const char *map, const char *uuids, const char *types, uint32_t allocations)
{
	device_map = map;
	return match(uuids, types, 40, allocations);
}

static void the_choice_counts(void **state)
{
	(void)state;
	by_room = true;
	assert_string_equal(match_with("0=2", "a", "A", 1), "2");
	assert_non_null(strstr(moved, "as was asked for"));
	assert_string_equal(match_with("2", "a", "A", 1), "2");
	assert_string_equal(match_with("3", "abcd", "ABAA", 1), "3120");
	assert_string_equal(match_with("0=2,2=0", "abcd", "ABAA", 4), "2103");
	assert_non_null(strstr(moved, "GPU 0 of the dump, as was asked for; GPU 0 (GPU-6161"));
	assert_non_null(strstr(moved, "stands for GPU 2 of the dump, as was asked for"));
	assert_string_equal(match_with("0=2,1=1,2=3,3=0", "abcd", "ABAA", 4), "2130");
	/* What nobody chose is the same one, or what is left. */
	assert_string_equal(match_with("0=2", "abcd", "ABAA", 4), "2103");
	assert_string_equal(
		match_with("GPU-61616161-6161-6161-6161-616161616161=GPU-64646464-6464-6464-6464-646464646464", "abcd",
			   "ABAA", 1),
		"3120");
	assert_string_equal(match_with("0=0", "a", "A", 1), "0");
	assert_string_equal(moved, "");
	/* On another machine. */
	assert_string_equal(match_with("auto", "wxyz", "ABAA", 4), "0123");
	assert_string_equal(match_with("auto", "wxyz", "ACAA", 1), "0-23");
	assert_string_equal(match_with("0=3", "wxyz", "ABAA", 1), "3102");
}

static void refuses(const char *map, const char *uuids, const char *types, uint32_t allocations, const char *sentence)
{
	assert_string_equal(match_with(map, uuids, types, allocations), "");
	if (!strstr(error.text, sentence))
		fail_msg("%s", error.text);
}

static void a_choice_that_cannot_be_met_is_refused(void **state)
{
	(void)state;
	refuses("0=7", "a", "A", 1,
		"asks for GPU 7, and this machine has: 0 (GPU-61616161-6161-6161-6161-616161616161), 1");
	refuses("GPU-00000000-0000-0000-0000-000000000000", "a", "A", 1,
		"asks for GPU GPU-00000000-0000-0000-0000-000000000000, and this machine has: 0 (");
	refuses("1=0", "a", "A", 1, "names GPU 1 of the dump, whose machine had: 0 (");
	refuses("0=1", "a", "A", 1,
		"GPU 1 is a \"B\" with 81920 MiB, and GPU 0 of the dump, which it is to stand for, was a \"A\" with "
		"40960");
	refuses("0=2,0=3", "a", "A", 1, "names GPU 0 of the dump twice");
	refuses("0=2,1=2", "ac", "AA", 1, "takes GPU 2 twice");
	refuses("2", "ac", "AA", 2, "hold memory of 2 GPUs");
	refuses("2", "ac", "AA", 0, "do not tell which of 2 GPUs");
	refuses("x", "a", "A", 1, "\"x\" is not OLD=NEW");
	refuses("auto", "wx", "AC", 2, "GPU 1 is a \"B\"");
}

static void a_chosen_one_without_room_is_refused(void **state)
{
	(void)state;
	free_bytes[2] = GIBIBYTE / 2;
	refuses("2", "a", "A", 1,
		"GPU 2 (A), which the device map has for GPU 0 of the dump, has 512 MiB free, and 1024 MiB are needed");
	free_bytes[2] = GIBIBYTE;
	assert_string_equal(match_with("2", "a", "A", 1), "2");
	/* What the driver needs beside it counts too. */
	driver_bytes = GIBIBYTE / 4;
	refuses("2", "a", "A", 1, "has 1024 MiB free, and 1280 MiB are needed (256 of them by the driver itself)");
	free_bytes[2] = GIBIBYTE + GIBIBYTE / 4;
	assert_string_equal(match_with("2", "a", "A", 1), "2");
	by_room = true;
	free_bytes[0] = GIBIBYTE;
	assert_string_equal(match_with("", "a", "A", 1), "2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_same_gpus_stand_for_themselves, set_up),
		cmocka_unit_test_setup(another_one_of_the_type_stands_for_one_that_is_not_here, set_up),
		cmocka_unit_test_setup(one_of_another_type_does_not, set_up),
		cmocka_unit_test_setup(a_smaller_one_does_not, set_up),
		cmocka_unit_test_setup(one_that_holds_nothing_may_be_missing, set_up),
		cmocka_unit_test_setup(a_full_one_gives_way_to_another_of_its_type, set_up),
		cmocka_unit_test_setup(the_choice_counts, set_up),
		cmocka_unit_test_setup(a_choice_that_cannot_be_met_is_refused, set_up),
		cmocka_unit_test_setup(a_chosen_one_without_room_is_refused, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
