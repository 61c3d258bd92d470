/* SPDX-License-Identifier: MIT */
#include "client/pool_socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/peer_trust.h"

/* What it means here that connect() ended so. */
static int meaning(int errno_value)
{
	switch (errno_value) {
	case ENOENT:
	case ECONNREFUSED:
		return -ECONNREFUSED;
	case EACCES:
	case EPERM:
		return -EACCES;
	default:
		return -EHOSTUNREACH;
	}
}

int pool_socket_connect(const char *path, struct error_text *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int code;

	if (sock < 0)
		return fail(error, -errno, "No socket can be made to reach a pool: %s", errno_text(errno));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(sock, (const struct sockaddr *)&address, sizeof(address)))
		code = fail(error, meaning(errno),
			    "No pool can be reached at %s (%s): start rekindled there, or name another socket "
			    "(REKINDLE_POOL_SOCKET)",
			    path, errno_text(errno));
	else if (!peer_is_trusted(sock))
		code = fail(error, -EACCES,
			    "The pool at %s belongs to another user: remove it, or name another socket "
			    "(REKINDLE_POOL_SOCKET)",
			    path);
	else
		return sock;
	close(sock);
	return code;
}
