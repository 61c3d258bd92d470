/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_COPY_PAGE_CACHE_H
#define REKINDLE_COPY_PAGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is most of the range not in memory, so that reading it means reading a disk? Samples the range with cachestat(2), or
 * with mincore where the kernel is older than 6.5. Files that live in memory (tmpfs) are never cold. Where it cannot be
 * found out the answer is no.
 */
bool file_is_cold(int file, uint64_t offset, uint64_t bytes);

/* Does the file live in memory (tmpfs, memfd)? */
bool file_is_in_memory(int file);

/* Opens the file again for reads that bypass the page cache. Returns a descriptor, or -1 where that is not possible. */
int file_open_direct(int file);

#endif
