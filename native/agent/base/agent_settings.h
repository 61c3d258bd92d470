/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_BASE_AGENT_SETTINGS_H
#define REKINDLE_AGENT_BASE_AGENT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

/* REKINDLE_AGENT: 0 turns the agent off, every call goes straight to the driver. Default 1. */
bool agent_is_enabled(void);

/*
 * REKINDLE_AGENT_MINIMUM: smallest allocation in bytes that the agent backs (takes K, M and G), at least 1 KiB. Default
 * 2 MiB, the granularity of device memory, which a smaller one takes all the same.
 */
size_t agent_minimum_bytes(void);

/* REKINDLE_AGENT_IO_URING: 0 turns io_uring off in the program, see base/io_uring_filter.h. Default 1. */
bool agent_wants_no_io_uring(void);

/* A line on stderr for the user, prefixed "rekindle-preload: ". Needs no lock and no memory of libc's. */
void agent_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
