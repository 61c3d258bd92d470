/* SPDX-License-Identifier: MIT */
#include "agent/control_thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/agent_settings.h"
#include "agent/agent_thread.h"
#include "agent/offload.h"
#include "protocol/agent_protocol.h"
#include "protocol/message_socket.h"

#define SEND_SECONDS 10 /* a reader that is gone must not block the thread */

enum start_state { NOT_STARTED, STARTING, STARTED, FAILED };

static atomic_int start_state = NOT_STARTED;
static struct agent_page *page;
static int sockets[2] = {-1, -1}; /* the agent's end, the outside's */

static int publish_page(void)
{
	int descriptor = memfd_create(AGENT_PAGE_NAME, MFD_CLOEXEC);
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	int result = 0;

	if (descriptor < 0)
		return -errno;
	if (ftruncate(descriptor, (off_t)bytes) < 0) {
		result = -errno;
		goto out;
	}
	page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (page == MAP_FAILED) {
		result = -errno;
		page = NULL;
		goto out;
	}
	/* A child must not be taken for this process. */
	madvise(page, bytes, MADV_DONTFORK);
	page->protocol_version = AGENT_PROTOCOL_VERSION;
	page->state = AGENT_STATE_MAPPED;
	page->process_id = getpid();
	page->control_descriptor = sockets[1];
out:
	close(descriptor);
	return result;
}

/* Replies of a conversation whose other side has died must not fill the socket. */
static void drop_stale_replies(void)
{
	static struct agent_message stale;
	int fds[MESSAGE_DESCRIPTORS_MAX];
	size_t count = MESSAGE_DESCRIPTORS_MAX;

	while (message_receive(sockets[1], &stale, sizeof(stale), fds, &count, 0) > 0) {
		while (count)
			close(fds[--count]);
		count = MESSAGE_DESCRIPTORS_MAX;
	}
}

static void serve(void)
{
	/* Not on the stack and not from malloc, which a stopped thread may hold. */
	static struct agent_message request, reply;

	for (;;) {
		int fds[MESSAGE_DESCRIPTORS_MAX];
		size_t count = MESSAGE_DESCRIPTORS_MAX;
		ssize_t received = message_receive(sockets[0], &request, sizeof(request), fds, &count, -1);

		if (received == -EMSGSIZE)
			continue;
		if (received < 0 && received != -EMFILE)
			return;
		drop_stale_replies();
		if ((size_t)received == sizeof(request)) {
			offload_answer(page, sockets[0], &request, fds, count, &reply);
		} else {
			memset(&reply, 0, sizeof(reply));
			reply.type = AGENT_REPLY;
			reply.request_id = received == -EMFILE ? request.request_id : 0;
			reply.result =
				received == -EMFILE
					? fail(&reply.error, -EMFILE,
					       "the process may open no more descriptors: raise its limit (ulimit -n)")
					: fail(&reply.error, -EPROTO,
					       "the agent in the process speaks another version of its protocol; use "
					       "plugin and agent of one version");
		}
		while (count)
			close(fds[--count]);
		/* Where nobody reads the reply any more, nothing is lost. */
		message_send(sockets[0], &reply, sizeof(reply), NULL, 0);
	}
}

static void *control_thread(void *unused)
{
	(void)unused;
	/* Gives the thread an arena of its own, so that the driver, called from here, seldom waits for a stopped thread. */
	free(malloc(1));
	page->thread_id = gettid();
	atomic_thread_fence(memory_order_release);
	page->magic = AGENT_PAGE_MAGIC;
	serve();
	/* The rest of the page stays true: whoever needs the agent learns that it is gone. */
	page->thread_id = 0;
	agent_complain("the agent's socket was closed; checkpoints of this process will be slower");
	return NULL;
}

static int start(void)
{
	struct timeval send_timeout = {.tv_sec = SEND_SECONDS};
	int result;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	setsockopt(sockets[0], SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout));
	result = publish_page();
	if (!result)
		result = agent_thread_create(control_thread, AGENT_PAGE_NAME);
	if (!result)
		return 0;
	if (page)
		munmap(page, (size_t)sysconf(_SC_PAGESIZE));
	page = NULL;
	close(sockets[0]);
	close(sockets[1]);
	sockets[0] = sockets[1] = -1;
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
	atomic_store(&start_state, result ? FAILED : STARTED);
	if (result)
		agent_complain("the agent's thread cannot start (%s); checkpoints of this process will be slower",
			       strerror(-result));
}

void control_thread_after_fork(void)
{
	if (sockets[0] >= 0) {
		close(sockets[0]);
		close(sockets[1]);
	}
	sockets[0] = sockets[1] = -1;
	page = NULL; /* not mapped in a child */
	atomic_store(&start_state, NOT_STARTED);
}
