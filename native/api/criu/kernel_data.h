/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_KERNEL_DATA_H
#define REKINDLE_API_CRIU_KERNEL_DATA_H

#include <stdbool.h>

/*
 * CRIU asks the kernel at the start of a run what it can do, which takes 10 to 30 ms, and keeps the answers in a file for
 * the next one: stock CRIU only where the file's folder is a tmpfs, the one with our patches on any filesystem.
 */

#define KERNEL_DATA_FOLDER "/run"
#define KERNEL_DATA_FILE "criu.kdat"

/*
 * Just after a run of criu by root that went well: does folder hold what it kept? Else remedy is one sentence that says
 * what it costs and what to do. folder is KERNEL_DATA_FOLDER but for tests.
 */
bool kernel_data_is_kept(const char *folder, char *remedy, unsigned int size);

#endif
