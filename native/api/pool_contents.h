/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_POOL_CONTENTS_H
#define REKINDLE_API_POOL_CONTENTS_H

#include "client/pool_client.h"
#include "pool/server/pool_server.h"

/* What a pool has, one after the other: of a pool in this process, or of another one. */
struct pool_asked {
	struct pool_server *server; /* NULL: the client's */
	struct pool_client *client;
};

/* *count: how many there are; entries has the first capacity of them. */
typedef int pool_contents_function(const struct pool_asked *asked, void *entries, uint32_t capacity, uint32_t *count,
				   struct error_text *error);

pool_contents_function pool_contents_images; /* struct rekindle_resident_images */
pool_contents_function pool_contents_gpus;   /* struct rekindle_pool_gpu */

#endif
