/* SPDX-License-Identifier: MIT */
/* Linked into every program of cmocka's: CMOCKA_TEST_FILTER, a pattern with * and ?, chooses which cases run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

__attribute__((constructor)) static void choose_cases(void)
{
	const char *pattern = getenv("CMOCKA_TEST_FILTER");

	if (pattern && *pattern)
		cmocka_set_test_filter(pattern);
}
