/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_POOL_CLIENT_H
#define REKINDLE_API_POOL_CLIENT_H

#include <pthread.h>

#include "protocol/pool_protocol.h"
#include "support/error_text.h"

/* A connection to a pool without a run (POOL_STAGE_CLIENT). Its functions may be called from several threads. */
struct pool_client {
	pthread_mutex_t lock; /* one request at a time */
	int socket;	      /* -1: not connected, or the pool has died */
	char path[108];
};

/* -ECONNREFUSED where no pool listens, -EPROTO for one of another version, -EACCES for one of another user. */
int pool_client_open(struct pool_client *client, const char *path, struct error_text *error);
/* Sends a request, with a descriptor unless it is -1, and waits for the reply. -ECONNRESET: the pool has died. */
int pool_client_request(struct pool_client *client, enum pool_request_type type, int descriptor,
			struct pool_reply *reply, struct error_text *error);
void pool_client_close(struct pool_client *client);

#endif
