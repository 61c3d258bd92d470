/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_CLIENT_POOL_CONNECTION_H
#define REKINDLE_CLIENT_POOL_CONNECTION_H

#include <stdbool.h>

#include "protocol/pool_protocol.h"
#include "settings/settings.h"
#include "support/error_text.h"

/* This run's connection to a pool process. */
struct pool_connection {
	int socket; /* -1: none */
	int pidfd;  /* of a pool that we started for this run alone, else -1 */
	bool started;
	bool lost;	/* the pool ended, or hung and was given up, while we waited for it */
	bool abandoned; /* it hung and is not ours to end: it may still act on the processes of the run */
	/* Called with watched now and then while a reply is awaited; NULL: nothing. */
	void (*watch)(void *watched);
	void *watched;
};

#define POOL_CONNECTION_NONE ((struct pool_connection){.socket = -1, .pidfd = -1})

/*
 * Reaches the pool that listens on settings->pool_socket. Where none does, or always with start_private, starts one:
 * for this run alone, or with settings->context_pool (and not start_private) one that stays. -ECONNREFUSED where that
 * cannot be, or it ends at once; else as pool_socket_connect fails.
 */
int pool_connection_open(struct pool_connection *connection, const struct settings *settings, int work_folder,
			 bool start_private, struct error_text *error);

/*
 * One request and its reply. Returns 0; the pool's negative result, with its sentence; or, with connection->lost set,
 * that the pool is gone.
 */
int pool_connection_call(struct pool_connection *connection, const struct pool_request *request, const int *fds,
			 size_t fd_count, struct pool_reply *reply, unsigned int timeout_ms, struct error_text *error);

void pool_connection_close(struct pool_connection *connection);

#endif
