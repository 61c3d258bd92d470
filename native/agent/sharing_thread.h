/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_SHARING_THREAD_H
#define REKINDLE_AGENT_SHARING_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/allocation_table.h"

/*
 * The thread that hands the memory of legacy IPC handles to other processes. Starts it at the first call. Fills exporter
 * with the name of this process's socket. 0 or a negative errno code.
 */
int sharing_thread_start(uint8_t exporter[IPC_EXPORTER_BYTES]);

/* Is that this process's own socket? */
bool sharing_thread_is_own(const uint8_t exporter[IPC_EXPORTER_BYTES]);

/* In a forked child: closes the parent's socket; the child's own will have another name. */
void sharing_thread_after_fork(void);

#endif
