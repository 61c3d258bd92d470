/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_SHARING_SHARING_THREAD_H
#define REKINDLE_AGENT_SHARING_SHARING_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/memory/allocation_table.h"

/*
 * The thread that hands the memory of legacy IPC handles to other processes, and the socket at which it waits for them.
 *
 * The socket has a name, and an image with it could not be restored where another process has that name: where the same
 * image was restored before, for one. So for a dump the agent's thread takes it away (sharing_pause), while the sharing
 * thread is stopped, and leaves a socket without a name at its number. It comes back with the MAP that ends the dump or the
 * restore (sharing_resume), and wherever that never comes as soon as the sharing thread runs again: under its old name, or,
 * where another process has that by then, under a new one, which those who hold handles do not know.
 *
 * The program may close the socket, or put a file of its own at that number: see protocol/socket_mark.h. The next handle
 * opens another.
 */

/*
 * Starts both at the first call. Fills exporter with the name of this process's socket. 0 or a negative errno code.
 */
int sharing_thread_start(uint8_t exporter[IPC_EXPORTER_BYTES]);

/* Is that the name of this process's own socket, or was it before a restore? */
bool sharing_thread_is_own(const uint8_t exporter[IPC_EXPORTER_BYTES]);

/* The agent's thread. -EBUSY where a thread was stopped while it changed the socket. */
int sharing_pause(void);
/* The agent's thread, or the sharing thread. Where the socket cannot be opened the sharing thread tries again. */
void sharing_resume(void);

#endif
