/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_IMAGE_TEST_SUPPORT_H
#define REKINDLE_STORE_IMAGE_TEST_SUPPORT_H

#include <sys/types.h>

#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MEBIBYTE 1048576u
#define CHUNK (2 * MEBIBYTE)

/* A folder of its own for each test; it is removed with what it holds. */
struct folder_fixture {
	char path[64];
	int folder;
};

int folder_set_up(void **state);
int folder_tear_down(void **state);
/* The entries of the folder, in order, each followed by a blank. */
const char *folder_contents(const struct folder_fixture *fixture);

#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

/* Two allocations, 5 and 2 MiB in chunks of 2; chunk 1 of the first is all zero. Not committed. */
struct gpu_image *make_image(int folder, int32_t pid);
/* The same, committed; *name (may be NULL) is its. */
struct gpu_image *write_image(int folder, int32_t pid, struct gpu_image_name *name);
/* The same, in three data files. */
struct gpu_image *write_spread_image(int folder, int32_t pid, struct gpu_image_name *name);
/*
 * A difference to what one of these two has written: all of its chunks are inherited, but that of the second allocation, of
 * which each byte is 9. Not committed.
 */
struct gpu_image *make_difference(int folder, const struct gpu_image *parent);
/* How gpu_image_verify ends, and how much it has read. */
int verify_image(int folder, const struct gpu_image *image, uint64_t *bytes, struct error_text *error);
void change_byte(int folder, const char *name, off_t offset);
void cut_file(int folder, const char *name, off_t bytes);

#endif
