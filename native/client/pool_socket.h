/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_CLIENT_POOL_SOCKET_H
#define REKINDLE_CLIENT_POOL_SOCKET_H

#include "support/error_text.h"

/*
 * Returns a socket that is connected to the pool at path, or a negative errno code with the sentence, which is the same for
 * whoever asks: -ECONNREFUSED, nobody listens there, and a pool may be started; -EHOSTUNREACH, something else is in the
 * way; -EACCES, it may not be reached, or another user's answers, who would be handed device memory; -ETIMEDOUT, as many as
 * it lets wait do so already, and it took none of them in within timeout_seconds.
 */
int pool_socket_connect(const char *path, unsigned int timeout_seconds, struct error_text *error);

#endif
