/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CALL_CRIU_ARGUMENTS_H
#define REKINDLE_API_CALL_CRIU_ARGUMENTS_H

#include <stdbool.h>

/*
 * Is it an option of criu that the library gives itself (folders, log, process, what becomes of it), or one after which criu
 * does nothing? Also where it is abbreviated, has its value in itself, or stands behind other letters.
 */
bool criu_argument_is_ours(const char *argument);

/* Is it one by which a dump leaves memory of its processes out of the folder? */
bool criu_argument_keeps_pages_out(const char *argument);

#endif
