/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_REGULAR_FILE_H
#define REKINDLE_SUPPORT_REGULAR_FILE_H

#include <sys/types.h>

/*
 * Opens a file of a checkpoint for reading. What else bears the name, such as a FIFO in a folder from elsewhere, is not
 * waited for: -EBADMSG. Returns the descriptor or another negative errno code.
 */
int regular_file_open(const char *path);
/*
 * Makes a new file, for reading and writing. What bears the name is removed and never written to: it may be a link, so that
 * what is written would go into somebody else's file. Returns the descriptor or a negative errno code.
 */
int regular_file_create(int folder, const char *name, mode_t mode);

#endif
