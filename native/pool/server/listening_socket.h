/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_SERVER_LISTENING_SOCKET_H
#define REKINDLE_POOL_SERVER_LISTENING_SOCKET_H

#include <stdbool.h>

#include "support/error_text.h"

/* The pool's place in the file system: a socket that only its owner may use, and a lock that says the pool lives. */
struct listening_socket {
	char path[108];
	int socket, lock; /* -1: none */
};

/*
 * Replaces the socket of a pool that has died, but nothing else: -EADDRINUSE where one lives, -EINVAL where something
 * else is there, -EACCES where others could put something else there.
 */
int listening_socket_open(struct listening_socket *listening, const char *path, struct error_text *error);
void listening_socket_close(struct listening_socket *listening);

#endif
