/* SPDX-License-Identifier: MIT */
#include "agent/control/control_thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/base/agent_thread.h"
#include "agent/base/fork_handler.h"
#include "agent/control/offload.h"
#include "agent/control/published_page.h"
#include "protocol/agent_protocol.h"
#include "protocol/message_socket.h"
#include "protocol/socket_mark.h"

#define SEND_SECONDS 10 /* a reader that is gone must not block the thread */

enum start_state { NOT_STARTED, STARTING, STARTED, FAILED };

static atomic_int start_state = NOT_STARTED;
static struct agent_page *page;
static int sockets[2] = {-1,
			 -1}; /* the agent's end, the outside's; the program may have closed them: see socket_mark.h */

static void close_sockets(void)
{
	socket_close_marked(sockets[0], SOCKET_MARK_AGENT);
	socket_close_marked(sockets[1], SOCKET_MARK_OUTSIDE);
	sockets[0] = sockets[1] = -1;
}

/* Replies of a conversation whose other side has died must not fill the socket. */
static void drop_stale_replies(void)
{
	static struct agent_message stale;
	int fds[MESSAGE_DESCRIPTORS_MAX];
	size_t count = MESSAGE_DESCRIPTORS_MAX;

	/* The program's own messages are none of ours. */
	if (!socket_is_marked(sockets[1], SOCKET_MARK_OUTSIDE))
		return;
	while (message_receive(sockets[1], &stale, sizeof(stale), fds, &count, 0) > 0) {
		while (count)
			close(fds[--count]);
		count = MESSAGE_DESCRIPTORS_MAX;
	}
}

/* One request, and its reply. False where the socket is the agent's no longer, or nobody can send any more. */
static bool serve_one(void)
{
	/* Not on the stack and not from malloc, which a stopped thread may hold. */
	static struct agent_message request, reply;
	int fds[MESSAGE_DESCRIPTORS_MAX];
	size_t count = MESSAGE_DESCRIPTORS_MAX;
	ssize_t received = message_receive(sockets[0], &request, sizeof(request), fds, &count, -1);
	/* It came through the socket, which the program may have closed while this thread waited: the number is its own. */
	bool ours = socket_is_marked(sockets[0], SOCKET_MARK_AGENT);

	if (ours && received == -EMSGSIZE)
		return true;
	/* The kernel was out of memory, or the like: the request is still there, and without the agent there is no dump. */
	if (ours && received < 0 && received != -EMFILE) {
		nanosleep(&(const struct timespec){.tv_nsec = 10000000}, NULL);
		return true;
	}
	if (!ours || (received < 0 && received != -EMFILE)) {
		while (count)
			close(fds[--count]);
		return false;
	}
	drop_stale_replies();
	if ((size_t)received == sizeof(request)) {
		offload_answer(page, sockets[0], &request, fds, count, &reply);
	} else {
		if (received == -EMFILE)
			offload_make_room();
		memset(&reply, 0, sizeof(reply));
		reply.type = AGENT_REPLY;
		reply.request_id = received == -EMFILE ? request.request_id : 0;
		reply.result = received == -EMFILE
				       ? fail(&reply.error, -EMFILE,
					      "the process may open no more descriptors: raise its limit (ulimit -n)")
				       : fail(&reply.error, -EPROTO,
					      "the agent in the process speaks another version of its protocol; use "
					      "plugin and agent of one version");
	}
	while (count)
		close(fds[--count]);
	if (!socket_is_marked(sockets[0], SOCKET_MARK_AGENT))
		return false;
	/*
	 * Where nobody reads the reply any more, nothing is lost. After it only the wait for the next request: the program's
	 * seccomp filter is in force again soon, and lets the agent do what it did before.
	 */
	message_send(sockets[0], &reply, sizeof(reply), NULL, 0);
	return true;
}

static void *control_thread(void *unused)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;

	(void)unused;
	/* Gives the thread an arena of its own, so that the driver, called from here, seldom waits for a stopped thread. */
	free(malloc(1));
	page->thread_id = gettid();
	atomic_thread_fence(memory_order_release);
	page->waiting = 0;
	while (serve_one())
		;
	/* The rest of the page stays true: whoever needs the agent learns that it is gone. */
	page->thread_id = 0;
	if (!atomic_flag_test_and_set(&complained))
		agent_complain("the program closed the agent's sockets; until it allocates device memory again, %s",
			       page->needs_agent ? "it cannot be checkpointed" : "its checkpoints are slower");
	close_sockets();
	atomic_store(&start_state, NOT_STARTED);
	return NULL;
}

/* In a forked child: a thread of the child's own may start later. */
static void forget(void)
{
	close_sockets();
	atomic_store(&start_state, NOT_STARTED);
}

static int start(void)
{
	struct timeval send_timeout = {.tv_sec = SEND_SECONDS};
	int result;

	fork_handler_add(FORK_CONTROL, forget);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	setsockopt(sockets[0], SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout));
	result = socket_mark(sockets[0], SOCKET_MARK_AGENT);
	if (!result)
		result = socket_mark(sockets[1], SOCKET_MARK_OUTSIDE);
	page = published_page();
	if (!result && !page)
		result = -errno;
	if (!result) {
		page->agent_descriptor = sockets[0];
		page->control_descriptor = sockets[1];
		result = agent_thread_create(control_thread, NULL, AGENT_PAGE_NAME);
	}
	if (result)
		close_sockets();
	return result;
}

void control_thread_start(void)
{
	int expected = NOT_STARTED;
	int result;

	if (atomic_load(&start_state) != NOT_STARTED ||
	    !atomic_compare_exchange_strong(&start_state, &expected, STARTING))
		return;
	result = start();
	/* Unless the thread has ended already. */
	expected = STARTING;
	atomic_compare_exchange_strong(&start_state, &expected, result ? FAILED : STARTED);
	if (result)
		agent_complain("the agent's thread cannot start (%s); checkpoints of this process will be slower",
			       strerror(-result));
}
