/* SPDX-License-Identifier: MIT */
#include "api/pool_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/report.h"
#include "protocol/message_socket.h"

/* None of a client's requests waits for a copy. */
#define REPLY_TIMEOUT_MS 30000

static int connect_to(const char *path, struct error_text *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int result;

	if (sock < 0)
		return fail(error, -errno, "A socket cannot be made: %s.", errno_text(errno));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(sock, (const struct sockaddr *)&address, sizeof(address))) {
		result = errno == EACCES || errno == EPERM ? -EACCES : -ECONNREFUSED;
		fail(error, result,
		     "No pool can be reached at %s (%s): start rekindled, or open one with rekindle_pool_open.", path,
		     errno_text(errno));
		goto failed;
	}
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &length) || (peer.uid && peer.uid != geteuid())) {
		result = fail(error, -EACCES, "The pool at %s belongs to another user: use one of your own.", path);
		goto failed;
	}
	return sock;
failed:
	close(sock);
	return result;
}

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
		      : message_receive(client->socket, reply, sizeof(*reply), NULL, &no_descriptors, REPLY_TIMEOUT_MS);
	if (size < 0) {
		/* After a missing answer the next one would be taken for it. */
		close(client->socket);
		client->socket = -1;
	}
	if (size == -ETIMEDOUT)
		return fail(error, -ETIMEDOUT, "The pool at %s does not answer: restart it.", client->path);
	if (size < 0)
		return fail(error, -ECONNRESET, "The pool at %s has ended: connect to a new one.", client->path);
	if (size != sizeof(*reply))
		return fail(error, -EPROTO, "The pool at %s is of another version: restart it.", client->path);
	if (reply->result)
		return fail(error, reply->result, "%s", reply->error.text);
	return 0;
}

int pool_client_open(struct pool_client *client, const char *path, struct error_text *error)
{
	const struct pool_request hello = {
		.type = POOL_HELLO, .version = POOL_PROTOCOL_VERSION, .stage = POOL_STAGE_CLIENT};
	struct pool_reply reply;
	int result;

	copy_text(client->path, sizeof(client->path), path);
	pthread_mutex_init(&client->lock, NULL);
	client->socket = connect_to(path, error);
	if (client->socket < 0) {
		result = client->socket;
		client->socket = -1;
		goto failed;
	}
	result = exchange(client, &hello, -1, &reply, error);
	if (!result && reply.version != POOL_PROTOCOL_VERSION)
		result = fail(error, -EPROTO, "The pool at %s speaks version %u of the protocol, not %u: restart it.",
			      path, reply.version, POOL_PROTOCOL_VERSION);
	if (!result)
		return 0;
failed:
	pool_client_close(client);
	return result;
}

int pool_client_request(struct pool_client *client, enum pool_request_type type, int descriptor,
			struct pool_reply *reply, struct error_text *error)
{
	const struct pool_request request = {.type = type};
	int result;

	pthread_mutex_lock(&client->lock);
	result = exchange(client, &request, descriptor, reply, error);
	pthread_mutex_unlock(&client->lock);
	return result;
}

void pool_client_close(struct pool_client *client)
{
	if (client->socket >= 0)
		close(client->socket);
	client->socket = -1;
	pthread_mutex_destroy(&client->lock);
}
