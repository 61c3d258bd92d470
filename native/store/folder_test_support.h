/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_FOLDER_TEST_SUPPORT_H
#define REKINDLE_STORE_FOLDER_TEST_SUPPORT_H

#include <stdbool.h>

#include "store/image_test_support.h"

/* A folder in which a new checkpoint takes the place of an older one. */

extern const uint8_t older_id[16], new_id[16];

void put(int folder, const char *name, const char *text);
/* Writes the manifest of the checkpoint that lies there. */
void seal(int folder, const uint8_t id[16]);
/* With a log and a file of somebody else's, which no dump may touch. */
void write_older(int folder, bool with_manifest);
void write_new(int images);
/* Writes the older one and begins a dump over it. Returns the folder of that. */
int begin_over(const struct folder_fixture *fixture, bool with_manifest);

/* Has the file that text? */
bool says(int folder, const char *name, const char *text);
/* All that is there is the one or the other, and what is somebody else's. */
void assert_older(const struct folder_fixture *fixture, bool with_manifest);
void assert_new(const struct folder_fixture *fixture);

#endif
