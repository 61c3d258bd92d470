/* SPDX-License-Identifier: MIT */
#include "pool/server/connection.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pool/run/pool_run.h"
#include "protocol/message_socket.h"
#include "support/log.h"

/* How often the progress file is brought up to date while device memory is filled in the background. */
#define PROGRESS_MS 50

static void close_all(int *descriptors, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
}

void connection_serve(struct connection *connection)
{
	int descriptors[MESSAGE_DESCRIPTORS_MAX], result = 0;
	struct pool_request request;
	struct pool_reply reply;
	struct run run;
	ssize_t size;
	size_t count;

	run_init(&run, connection->pool, connection->socket);
	while (result == 0) {
		count = MESSAGE_DESCRIPTORS_MAX;
		size = message_receive(connection->socket, &request, sizeof(request), descriptors, &count,
				       run_watch_background(&run) ? PROGRESS_MS : -1);
		if (size == -ETIMEDOUT)
			continue;
		if (size < 0)
			break;
		/* Whoever comes now is sent on to another pool, which is what a closed connection says. */
		if (!run.stage && atomic_load(&connection->pool->device_lost)) {
			close_all(descriptors, count);
			break;
		}
		if (size != sizeof(request)) {
			log_error("A client does not speak this pool's protocol: a message of %zd bytes", size);
			close_all(descriptors, count);
			break;
		}
		run_request(&run, &request, descriptors, count, &reply);
		close_all(descriptors, count);
		atomic_store(&connection->busy, run.counted && !run_is_finished(&run));
		if (request.type == POOL_STOP && reply.result == 0)
			atomic_store(&connection->stop_asked, true);
		result = message_send(connection->socket, &reply, sizeof(reply), NULL, 0);
		run_after_reply(&run);
		run_drop_rest(&run);
	}
	run_lose_connection(&run);
	run_close(&run);
	atomic_store(&connection->busy, false);
}
