/* SPDX-License-Identifier: MIT */
#include "client/pool_client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/pool_socket.h"
#include "protocol/message_socket.h"
#include "support/plain_text.h"

static int exchange(struct pool_client *client, const struct pool_request *request, int descriptor,
		    struct pool_reply *reply, struct error_text *error)
{
	size_t no_descriptors = 0;
	ssize_t size;
	int result;

	if (client->socket < 0)
		return fail(error, -ECONNRESET, "The pool at %s has ended: connect to a new one.", client->path);
	result = message_send(client->socket, request, sizeof(*request), &descriptor, descriptor >= 0);
	size = result ? result
		      : message_receive(client->socket, reply, sizeof(*reply), NULL, &no_descriptors,
					client->reply_timeout_ms);
	if (size < 0) {
		/* After a missing answer the next one would be taken for it. */
		close(client->socket);
		client->socket = -1;
	}
	if (size == -ETIMEDOUT)
		return fail(error, -ETIMEDOUT,
			    "The pool at %s did not answer within %d s (REKINDLE_TIMEOUT): restart it.", client->path,
			    client->reply_timeout_ms / 1000);
	if (size < 0)
		return fail(error, -ECONNRESET, "The pool at %s has ended: connect to a new one.", client->path);
	if (size != sizeof(*reply))
		return fail(error, -EPROTO, POOL_OF_ANOTHER_VERSION);
	if (reply->result)
		return fail(error, reply->result, "%s", reply->error.text);
	return 0;
}

int pool_client_open(struct pool_client *client, const char *path, unsigned int timeout_seconds,
		     struct error_text *error)
{
	const struct pool_request hello = {
		.type = POOL_HELLO, .version = POOL_PROTOCOL_VERSION, .stage = POOL_STAGE_CLIENT};
	struct pool_reply reply;
	int result;

	copy_text(client->path, sizeof(client->path), path);
	client->reply_timeout_ms = (int)timeout_seconds * 1000;
	pthread_mutex_init(&client->lock, NULL);
	client->socket = pool_socket_connect(path, timeout_seconds, error);
	if (client->socket < 0) {
		result = client->socket;
		client->socket = -1;
		goto failed;
	}
	result = exchange(client, &hello, -1, &reply, error);
	if (!result && reply.version != POOL_PROTOCOL_VERSION)
		result = fail(error, -EPROTO, POOL_OF_ANOTHER_VERSION);
	if (!result)
		return 0;
failed:
	pool_client_close(client);
	return result;
}

static int ask(struct pool_client *client, const struct pool_request *request, int descriptor, struct pool_reply *reply,
	       struct error_text *error)
{
	int result;

	pthread_mutex_lock(&client->lock);
	result = exchange(client, request, descriptor, reply, error);
	pthread_mutex_unlock(&client->lock);
	return result;
}

int pool_client_request(struct pool_client *client, enum pool_request_type type, int descriptor,
			struct pool_reply *reply, struct error_text *error)
{
	const struct pool_request request = {.type = type};

	return ask(client, &request, descriptor, reply, error);
}

int pool_client_prefetch(struct pool_client *client, int folder, enum pool_tier tier, struct pool_reply *reply,
			 struct error_text *error)
{
	const struct pool_request request = {.type = POOL_PREFETCH, .tier = tier};

	return ask(client, &request, folder, reply, error);
}

int pool_client_request_after(struct pool_client *client, enum pool_request_type type, uint64_t after,
			      struct pool_reply *reply, struct error_text *error)
{
	const struct pool_request request = {.type = type, .after = after};

	return ask(client, &request, -1, reply, error);
}

void pool_client_close(struct pool_client *client)
{
	if (client->socket >= 0)
		close(client->socket);
	client->socket = -1;
	pthread_mutex_destroy(&client->lock);
}
