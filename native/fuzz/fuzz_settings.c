/* SPDX-License-Identifier: MIT */
/* The settings file, and behind a NUL the environment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/fuzz_input.h"
#include "settings/settings.h"

#define VARIABLES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	size_t file_bytes = end ? (size_t)(end - data) : size, count = 0;
	char *variables[VARIABLES_MAX + 1] = {NULL}, **before = environ, file[64];
	struct settings settings;
	struct error_text error;
	char *copy, *at;

	fuzz_write("settings", data, file_bytes);
	snprintf(file, sizeof(file), "%s/settings", fuzz_folder_path());
	copy = calloc(1, size - file_bytes + 1);
	if (!copy)
		abort();
	if (end)
		memcpy(copy, end, size - file_bytes);
	for (at = copy; at < copy + size - file_bytes && count < VARIABLES_MAX; at += strlen(at) + 1)
		variables[count++] = at;
	environ = variables;
	if (settings_load(&settings, file, &error) == 0 &&
	    (settings.streams < 1 || settings.streams > 64 || settings.chunk_bytes % (2 << 20) ||
	     settings.ring_bytes < 8 << 20 || settings.pool_socket[0] != '/'))
		abort();
	environ = before;
	free(copy);
	return 0;
}
