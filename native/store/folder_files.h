/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_FOLDER_FILES_H
#define REKINDLE_STORE_FOLDER_FILES_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/* Longest name of a file for which there is still room for what is appended to it for a moment. */
#define FOLDER_NAME_MAX (NAME_MAX - 8)

struct folder_entry {
	char *name;
	uint64_t bytes;
};

/* The image files of a folder: regular ones whose names end in .img, by name. */
int folder_list_images(int folder, struct folder_entry **entries, size_t *count, struct error_text *error);
void folder_entries_free(struct folder_entry *entries, size_t count);
/* Removes a folder inside another one, with all that is in it. What is not there is no error. */
int folder_remove(int folder, const char *name, struct error_text *error);

#endif
