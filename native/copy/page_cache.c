/* SPDX-License-Identifier: MIT */
#include "copy/page_cache.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#define SAMPLES 32u
#define SAMPLE_BYTES (256u * 1024u)

/* Kernel ABI of cachestat(2). */
struct cache_range {
	uint64_t offset, bytes;
};

struct cache_pages {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Pages of the range in memory, -1 where it cannot be found out. */
static long pages_cached(int file, uint64_t offset, uint64_t bytes, uint64_t page)
{
	struct cache_range range = {.offset = offset, .bytes = bytes};
	struct cache_pages pages;
	unsigned char present[SAMPLE_BYTES / 4096];
	long count = 0;
	void *map;
	size_t i;

	if (syscall(SYS_cachestat, file, &range, &pages, 0) == 0)
		return (long)pages.cached;
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, (off_t)offset);
	if (map == MAP_FAILED)
		return -1;
	if (mincore(map, bytes, present) < 0)
		count = -1;
	for (i = 0; count >= 0 && i < (bytes + page - 1) / page; i++)
		count += present[i] & 1;
	munmap(map, bytes);
	return count;
}

bool file_is_in_memory(int file)
{
	struct statfs file_system;

	return fstatfs(file, &file_system) == 0 &&
	       (file_system.f_type == TMPFS_MAGIC || file_system.f_type == RAMFS_MAGIC ||
		file_system.f_type == HUGETLBFS_MAGIC);
}

bool file_is_cold(int file, uint64_t offset, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), step, at, length, cached = 0, stored = 0;
	off_t data;
	long count;

	if (bytes == 0 || file_is_in_memory(file))
		return false;
	step = bytes / SAMPLES / page * page;
	if (step < SAMPLE_BYTES)
		step = SAMPLE_BYTES;
	for (at = offset / page * page; at < offset + bytes; at += step) {
		/* A hole is never cached and costs nothing to read. */
		data = lseek(file, (off_t)at, SEEK_DATA);
		if (data < 0 || (uint64_t)data >= at + SAMPLE_BYTES)
			continue;
		length = offset + bytes - at < SAMPLE_BYTES ? offset + bytes - at : SAMPLE_BYTES;
		count = pages_cached(file, at, length, page);
		if (count < 0)
			return false;
		cached += (uint64_t)count;
		stored += (length + page - 1) / page;
	}
	return cached < stored / 2;
}

int file_open_direct(int file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}
