/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_CLIENT_POOL_CLIENT_H
#define REKINDLE_CLIENT_POOL_CLIENT_H

#include <pthread.h>

#include "protocol/pool_protocol.h"
#include "support/error_text.h"

/* A connection to a pool without a run (POOL_STAGE_CLIENT). Its functions may be called from several threads. */
struct pool_client {
	pthread_mutex_t lock; /* one request at a time */
	int socket;	      /* -1: not connected, or the pool has died */
	int reply_timeout_ms; /* how long it waits for an answer */
	char path[108];
};

/*
 * timeout_seconds: how long it waits for each answer, REKINDLE_TIMEOUT. Fails as pool_socket_connect does, and with -EPROTO
 * for a pool of another version.
 */
int pool_client_open(struct pool_client *client, const char *path, unsigned int timeout_seconds,
		     struct error_text *error);
/* Sends a request, with a descriptor unless it is -1, and waits for the reply. -ECONNRESET: the pool has died. */
int pool_client_request(struct pool_client *client, enum pool_request_type type, int descriptor,
			struct pool_reply *reply, struct error_text *error);
/* Likewise with PREFETCH. */
int pool_client_prefetch(struct pool_client *client, int folder, enum pool_tier tier, struct pool_reply *reply,
			 struct error_text *error);
/* Likewise with RESIDENT or GPU, which goes on after what came before. */
int pool_client_request_after(struct pool_client *client, enum pool_request_type type, uint64_t after,
			      struct pool_reply *reply, struct error_text *error);
void pool_client_close(struct pool_client *client);

#endif
