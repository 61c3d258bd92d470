/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_REGULAR_FILE_H
#define REKINDLE_SUPPORT_REGULAR_FILE_H

/*
 * Opens a file of a checkpoint for reading. What else bears the name, such as a FIFO in a folder from elsewhere, is not
 * waited for: -EBADMSG. Returns the descriptor or another negative errno code.
 */
int regular_file_open(const char *path);

#endif
