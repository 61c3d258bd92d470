/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_MESSAGE_SOCKET_H
#define REKINDLE_PROTOCOL_MESSAGE_SOCKET_H

#include <stddef.h>
#include <stdint.h>
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
 * The same to somebody who may never read: waits for room until deadline (CLOCK_MONOTONIC nanoseconds), then -ETIMEDOUT.
 */
int message_send_until(int socket, const void *message, size_t size, const int *fds, size_t fd_count,
		       uint64_t deadline);

/*
 * Receives one message of at most capacity bytes and at most MESSAGE_DESCRIPTORS_MAX descriptors (close-on-exec, the
 * caller's from then on). timeout_ms: -1 waits for ever. *fd_count: capacity of fds on entry, number received on return;
 * descriptors beyond it are closed. Returns the size; -ETIMEDOUT; -ECONNRESET where the other side has closed;
 * -EMSGSIZE where the message was cut; -EMFILE where its descriptors could not all be taken because the process may open
 * no more; another negative errno code. Repeats on EINTR with the time that is left.
 */
ssize_t message_receive(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms);

/*
 * The same from somebody who is not trusted, whose descriptors may be of a kind that closing waits for: they are the
 * caller's on a failure as well. fd_count is not NULL.
 */
ssize_t message_receive_keeping(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms);

#endif
