/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_FILE_TRUST_H
#define REKINDLE_SETTINGS_FILE_TRUST_H

#include <stdio.h>

#include "support/error_text.h"

/*
 * Plugin and pool run as root, and load and start what the settings name: nobody else may be able to write them.
 */

/*
 * Opens a settings file for reading: a regular file (or /dev/null) of root's or the present user's that nobody else may
 * write. Does not wait for a writer where it is a FIFO. NULL with *code: -ENOENT, or -EINVAL with what to do.
 */
FILE *file_trust_open(const char *path, int *code, struct error_text *error);

/* A library or program that a setting names: 0, also where there is none, or -EINVAL where others may write it. */
int file_trust_check_code(const char *setting, const char *path, struct error_text *error);

#endif
