/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_WORKER_WORKER_CLIENT_H
#define REKINDLE_WORKER_WORKER_CLIENT_H

#include "protocol/worker_protocol.h"
#include "support/error_text.h"

/*
 * The outside's half of protocol/worker_protocol.h. timeout_seconds bounds each call: -ETIMEDOUT when the worker does
 * not answer.
 */

struct worker_client {
	struct worker_state *state;
	double timeout_seconds;
};

/* Waits until the worker has made the file and is ready. */
int worker_client_open(struct worker_client *client, const char *path, double timeout_seconds,
		       struct error_text *error);
void worker_client_close(struct worker_client *client);

/* checksum: the worker's answer, may be NULL. */
int worker_client_request(struct worker_client *client, enum worker_request kind, uint64_t argument, uint64_t *checksum,
			  struct error_text *error);
/* Waits until the worker has made that many further steps. */
int worker_client_wait_steps(struct worker_client *client, uint64_t steps, struct error_text *error);

#endif
