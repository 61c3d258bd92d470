/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_MESSAGE_SOCKET_H
#define REKINDLE_PROTOCOL_MESSAGE_SOCKET_H

#include <stddef.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * Fixed-size messages with file descriptors over SEQPACKET sockets. Plugin, pool and agent all speak through these
 * functions; the file has no dependency beyond libc, because the plugin and the agent live in other people's processes.
 */

/* Most descriptors in one message; the kernel allows 253 (SCM_MAX_FD). */
#define MESSAGE_DESCRIPTORS_MAX 64

/*
 * Sends one message. fds stay open and the caller's. Repeats on EINTR, never raises SIGPIPE.
 * Returns 0 or a negative errno code (-EPIPE, -ECONNRESET: the other side is gone).
 */
int message_send(int socket, const void *message, size_t size, const int *fds, size_t fd_count);

/*
 * Receives one message of at most capacity bytes and at most MESSAGE_DESCRIPTORS_MAX descriptors (close-on-exec, the
 * caller's from then on). timeout_ms: -1 waits for ever. *fd_count: capacity of fds on entry, number received on return;
 * descriptors beyond it are closed. Returns the size; -ETIMEDOUT; -ECONNRESET where the other side has closed;
 * -EMSGSIZE where the message was cut; -EMFILE where its descriptors could not all be taken because the process may open
 * no more; another negative errno code. Repeats on EINTR with the time that is left.
 */
ssize_t message_receive(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms);

#endif
