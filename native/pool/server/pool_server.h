/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_SERVER_POOL_SERVER_H
#define REKINDLE_POOL_SERVER_POOL_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "copy/copy_measure.h"
#include "driver/cuda_driver.h"
#include "protocol/pool_protocol.h"
#include "settings/settings.h"
#include "support/error_text.h"

/*
 * A pool in this process: warm contexts, and a socket at settings->pool_socket on which it serves runs and clients, a
 * thread for each. Functions on it are thread-safe, except that pool_server_stop must be the last call.
 */
struct pool_server;

struct pool_server_options {
	unsigned int idle_seconds; /* end after this long without a connection, a lease or kept memory; 0: never */
	bool warm;		   /* begin to warm every GPU at once */
};

/* -EADDRINUSE where a pool listens there already. */
int pool_server_start(const struct settings *settings, const struct pool_server_options *options,
		      struct pool_server **server, struct error_text *error);
/* Waits until every GPU is warm, warming those that are not. */
int pool_server_wait_warm(struct pool_server *server, struct error_text *error);
/* Asks it to end once its runs have ended; returns at once. Async-signal-safe. */
void pool_server_request_stop(struct pool_server *server);
/* Waits until it has ended by itself: idle, or asked to by a client or by pool_server_request_stop. */
void pool_server_wait(struct pool_server *server);
/* Did it end by itself because a GPU was lost to this process? */
bool pool_server_has_lost_a_device(struct pool_server *server);
/* Ends it once its runs have ended, and frees it. NULL is allowed. */
void pool_server_stop(struct pool_server *server);

/* Serves the one client on a connected SEQPACKET socket, which it takes over, until the client closes it. */
int pool_serve_private(const struct settings *settings, int socket, struct error_text *error);

void pool_server_status(struct pool_server *server, struct pool_status *status);
/* The warm primary context of a device, kept until pool_server_release_context. Under a microsecond when warm. */
int pool_server_acquire_context(struct pool_server *server, int device, CUcontext *context, struct error_text *error);
void pool_server_release_context(struct pool_server *server);
/* Fills device memory, or pinned memory, from the GPU images in a folder, in the background, for a later restore. */
int pool_server_prefetch(struct pool_server *server, const char *directory, enum pool_tier tier,
			 struct error_text *error);
/* How many bytes of it are still to come. */
int pool_server_prefetched(struct pool_server *server, const char *directory, uint64_t *bytes,
			   struct error_text *error);
/* Drops that. -ENOENT where nothing is held for the folder. */
int pool_server_drop(struct pool_server *server, const char *directory, struct error_text *error);
/* What POOL_RESIDENT and POOL_GPU tell. False: there are no more. */
bool pool_server_resident(struct pool_server *server, uint64_t after, struct pool_resident *resident);
bool pool_server_gpu(struct pool_server *server, uint64_t ordinal, struct pool_gpu *gpu);
/* request->ring_bytes 0: as configured for each worker. */
int pool_server_copy_measure(struct pool_server *server, int device, const struct copy_measure_request *request,
			     uint64_t *nanoseconds, struct error_text *error);

#endif
