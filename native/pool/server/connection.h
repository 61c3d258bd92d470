/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_SERVER_CONNECTION_H
#define REKINDLE_POOL_SERVER_CONNECTION_H

#include <stdatomic.h>

#include "pool/device/pool.h"

struct connection {
	struct pool *pool;
	int socket;		/* owned */
	atomic_bool busy;	/* a run that is not finished */
	atomic_bool stop_asked; /* POOL_STOP came */
};

/* Serves the client until it closes the connection, then brings back what its run held. */
void connection_serve(struct connection *connection);

#endif
