/* SPDX-License-Identifier: MIT */
#include "client/pool_connection.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/pool_socket.h"
#include "client/pool_start.h"
#include "protocol/message_socket.h"
#include "support/clock.h"
#include "support/log.h"

/* Nobody's work is waited for: the kernel ends a killed pool, and frees its device memory for the one after it. */
#define KILLED_MS 10000
/* A pool that ended without anybody listening after it is started again, so often and so much later. */
#define STARTS_MAX 3u
#define RESTART_MS 500u
#define WATCH_MS 50u

static int start_private_pool(struct pool_connection *connection, const struct settings *settings, int work_folder,
			      struct error_text *error)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(error, -errno, "cannot make a socket pair: %s", errno_text(errno));
	connection->pidfd = pool_start(settings, work_folder, ends[1], error);
	close(ends[1]);
	if (connection->pidfd < 0) {
		int code = connection->pidfd;

		connection->pidfd = -1;
		close(ends[0]);
		return code == -ESRCH ? -ECONNREFUSED : code;
	}
	connection->socket = ends[0];
	connection->started = true;
	return 0;
}

/*
 * Two plugins may do this at once: one pool wins the socket, the other one ends, and both plugins find the winner,
 * which may listen only a moment later. Or the pool ends that a former idle one still keeps from the socket: start it
 * again.
 */
static int start_lasting_pool(struct pool_connection *connection, const struct settings *settings, int work_folder,
			      struct error_text *error)
{
	uint64_t deadline = monotonic_nanoseconds() + settings->timeout_seconds * UINT64_C(1000000000);
	const struct timespec pause = {.tv_nsec = 5000000};
	uint64_t next_start = 0;
	unsigned int starts = 0;
	bool ended = true;
	int pidfd = -1;
	int code;

	for (;;) {
		uint64_t now = monotonic_nanoseconds();

		code = pool_socket_connect(settings->pool_socket, settings->timeout_seconds, error);
		if (code != -ECONNREFUSED)
			break;
		if (now > deadline) {
			code = fail(error, -ETIMEDOUT,
				    "no pool listens on %s %u s (REKINDLE_TIMEOUT) after its start: see rekindled.log "
				    "in the work folder",
				    settings->pool_socket, settings->timeout_seconds);
			break;
		}
		if (ended && now >= next_start) {
			if (starts++ == STARTS_MAX) {
				fail(error, code,
				     "the pool ends right after its start: see rekindled.log in the work folder");
				break;
			}
			if (pidfd >= 0)
				close(pidfd);
			pidfd = pool_start(settings, work_folder, -1, error);
			if (pidfd < 0 && pidfd != -ESRCH) {
				code = pidfd;
				break;
			}
			ended = pidfd < 0;
			next_start = now + RESTART_MS * UINT64_C(1000000);
		}
		if (ended)
			nanosleep(&pause, NULL);
		else
			ended = pool_has_ended(pidfd, 5);
	}
	if (pidfd >= 0)
		close(pidfd);
	if (code < 0)
		return code;
	connection->socket = code;
	connection->started = !ended;
	return 0;
}

int pool_connection_open(struct pool_connection *connection, const struct settings *settings, int work_folder,
			 bool start_private, struct error_text *error)
{
	int code;

	*connection = POOL_CONNECTION_NONE;
	if (start_private)
		return start_private_pool(connection, settings, work_folder, error);
	code = pool_socket_connect(settings->pool_socket, settings->timeout_seconds, error);
	if (code >= 0) {
		connection->socket = code;
		return 0;
	}
	if (code != -ECONNREFUSED)
		return code;
	if (settings->context_pool)
		return start_lasting_pool(connection, settings, work_folder, error);
	return start_private_pool(connection, settings, work_folder, error);
}

/* The pool does not answer. One that serves this run alone is ended, so that a fresh one can take its place safely. */
static int give_up(struct pool_connection *connection, int code, unsigned int timeout_ms, struct error_text *error)
{
	connection->lost = true;
	if (code == -ETIMEDOUT && connection->pidfd >= 0) {
		syscall(SYS_pidfd_send_signal, connection->pidfd, SIGKILL, NULL, 0);
		pool_has_ended(connection->pidfd, KILLED_MS);
	} else if (code == -ETIMEDOUT) {
		connection->abandoned = true;
	}
	close(connection->socket);
	connection->socket = -1;
	if (code == -ETIMEDOUT)
		return fail(error, code,
			    "the pool got nothing done for %u s (REKINDLE_TIMEOUT, or what CRIU's --timeout left): "
			    "see its log; where it is stopped (SIGSTOP), let it run or end it, and the next run starts "
			    "another one",
			    timeout_ms / 1000);
	return fail(error, code,
		    "the pool ended while it worked for this run (%s): see rekindled.log or the pool's own log",
		    errno_text(-code));
}

/* What rekindle-seal asked on the same connection, and did not live to hear, is thrown away. */
static ssize_t await_reply(struct pool_connection *connection, uint64_t number, struct pool_reply *reply,
			   unsigned int timeout_ms)
{
	uint64_t now = monotonic_nanoseconds(), deadline = now + timeout_ms * UINT64_C(1000000);
	ssize_t received;
	uint64_t wait_ms;
	bool again, whole;

	do {
		wait_ms = (deadline - now + 999999u) / 1000000u;
		if (connection->watch && wait_ms > WATCH_MS)
			wait_ms = WATCH_MS;
		received = message_receive(connection->socket, reply, sizeof(*reply), NULL, NULL, (int)wait_ms);
		if (received == -ETIMEDOUT && connection->watch)
			connection->watch(connection->watched);
		now = monotonic_nanoseconds();
		whole = received == (ssize_t)sizeof(*reply);
		again = (received == -ETIMEDOUT || (whole && reply->number != number)) && now < deadline;
		if (whole && reply->number == number && reply->still_working) {
			deadline = now + timeout_ms * UINT64_C(1000000);
			again = true;
			/* The threads that were let run need a look also while such messages come. */
			if (connection->watch)
				connection->watch(connection->watched);
		}
	} while (again);
	return whole && reply->number != number ? -ETIMEDOUT : received;
}

int pool_connection_call(struct pool_connection *connection, const struct pool_request *request, const int *fds,
			 size_t fd_count, struct pool_reply *reply, unsigned int timeout_ms, struct error_text *error)
{
	struct pool_request numbered = *request;
	ssize_t received;
	int code;

	memset(reply, 0, sizeof(*reply));
	if (connection->socket < 0)
		return fail(error, -ENOTCONN, "there is no pool to speak with");
	/* One at a time asks, in whichever process: no two do at the same moment. */
	numbered.number = monotonic_nanoseconds();
	code = message_send(connection->socket, &numbered, sizeof(numbered), fds, fd_count);
	if (code)
		return give_up(connection, code, timeout_ms, error);
	received = await_reply(connection, numbered.number, reply, timeout_ms);
	if (received < 0 && received != -EMSGSIZE)
		return give_up(connection, (int)received, timeout_ms, error);
	if (received != (ssize_t)sizeof(*reply))
		return fail(error, -EPROTO, POOL_OF_ANOTHER_VERSION);
	reply->error.text[sizeof(reply->error.text) - 1] = '\0';
	reply->reason[sizeof(reply->reason) - 1] = '\0';
	if (reply->result < 0)
		return fail(error, reply->result, "%s",
			    reply->error.text[0] ? reply->error.text : errno_text(-reply->result));
	return 0;
}

void pool_connection_close(struct pool_connection *connection)
{
	if (connection->socket >= 0)
		close(connection->socket);
	if (connection->pidfd >= 0)
		close(connection->pidfd);
	connection->socket = -1;
	connection->pidfd = -1;
}
