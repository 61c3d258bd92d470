/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_CLOCK_H
#define REKINDLE_SUPPORT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds: comparable between processes of one boot, which the overlap figures need. */
static inline uint64_t monotonic_nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
