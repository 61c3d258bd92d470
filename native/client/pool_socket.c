/* SPDX-License-Identifier: MIT */
#include "client/pool_socket.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/peer_trust.h"
#include "support/clock.h"

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

/* Of sending, and of connect() too; 0: none. */
static int set_limit(int sock, uint64_t nanoseconds)
{
	struct timeval limit = {.tv_sec = (time_t)(nanoseconds / 1000000000),
				.tv_usec = (suseconds_t)(nanoseconds % 1000000000 / 1000)};

	return setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ? -errno : 0;
}

/*
 * Those who gave up are counted among those that wait, until a stopped pool goes on. With a limit a signal's handler ends
 * connect(), whatever the program has said of it.
 */
static int connect_within(int sock, const char *path, unsigned int timeout_seconds)
{
	uint64_t end = monotonic_nanoseconds() + timeout_seconds * UINT64_C(1000000000), now;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int result;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	do {
		now = monotonic_nanoseconds();
		/* Less than a microsecond would be none. */
		result = set_limit(sock, end > now + 1000 ? end - now : 1000);
		if (!result && connect(sock, (const struct sockaddr *)&address, sizeof(address)))
			result = -errno;
	} while (result == -EINTR && now < end);
	if (result == -EINTR)
		return -EAGAIN;
	return result ? result : set_limit(sock, 0);
}

int pool_socket_connect(const char *path, unsigned int timeout_seconds, struct error_text *error)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int code, connected;

	if (sock < 0)
		return fail(error, -errno, "No socket can be made to reach a pool: %s", errno_text(errno));
	connected = connect_within(sock, path, timeout_seconds);
	if (connected == -EAGAIN)
		code = fail(
			error, -ETIMEDOUT,
			"The pool at %s took nobody in for %u s (REKINDLE_TIMEOUT): where it is stopped (SIGSTOP), let it run, "
			"or end it",
			path, timeout_seconds);
	else if (connected)
		code = fail(error, meaning(-connected),
			    "No pool can be reached at %s (%s): %s, or name another socket (REKINDLE_POOL_SOCKET)",
			    path, errno_text(-connected),
			    meaning(-connected) == -EACCES ? "run this as a user who may" : "start rekindled there");
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
