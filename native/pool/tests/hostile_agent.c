/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/tests/test_application.h"
#include "protocol/agent_protocol.h"
#include "protocol/message_socket.h"

/* Takes what the pool leaves, like somebody who waits for it. */
static int send_message(const struct hostile_agent *agent, const struct agent_message *message, const int *descriptors,
			size_t count)
{
	return message_send(agent->socket, message, sizeof(*message), descriptors, count);
}

static void reply(const struct hostile_agent *agent, int result, const char *text)
{
	struct agent_message message = {.type = AGENT_REPLY, .result = result, .request_id = agent->request_id};

	memcpy(message.error.text, text, strlen(text));
	send_message(agent, &message, NULL, 0);
}

/* count entries at addresses in a row, each for the same memory. */
static struct agent_message claim(const struct hostile_agent *agent, uint32_t count, uint64_t first_id, uint64_t bytes)
{
	struct agent_message message = {.type = AGENT_ALLOCATIONS, .count = count, .request_id = agent->request_id};
	uint32_t i;

	for (i = 0; i < count; i++)
		message.allocations[i] = (struct agent_allocation){.allocation_id = first_id + i,
								   .bytes = bytes,
								   .address = agent->address + (first_id + i) * bytes,
								   .device = agent->device};
	return message;
}

static void hand_over(const struct hostile_agent *agent, const struct agent_message *message, int descriptor)
{
	int descriptors[AGENT_ALLOCATIONS_MAX];
	uint32_t i;

	for (i = 0; i < message->count; i++)
		descriptors[i] = descriptor;
	send_message(agent, message, descriptors, message->count);
	close(descriptor);
}

/* One plausible piece after the other, for ever, and never a reply. */
static void trickle(const struct hostile_agent *agent)
{
	struct agent_message message;
	uint64_t id;

	for (id = 1;; id++) {
		message = claim(agent, 1, id, agent->bytes);
		hand_over(agent, &message, agent->export());
		usleep(100000);
	}
}

static void answer_others(struct hostile_agent stranger)
{
	struct agent_message message;

	do {
		stranger.request_id++;
		message = claim(&stranger, 1, 1, stranger.bytes);
		message.count = 0;
	} while (send_message(&stranger, &message, NULL, 0) == 0);
}

static void answer_nothing(const struct hostile_agent *agent)
{
	struct agent_message message = claim(agent, 0, 0, 0);

	while (send_message(agent, &message, NULL, 0) == 0)
		;
}

/* More than any GPU has, of which it has but one piece. */
static void claim_terabytes(const struct hostile_agent *agent)
{
	struct agent_message message;
	uint64_t id;

	for (id = 0; id < 4096; id += 64) {
		message = claim(agent, 64, id + 1, 1ull << 30);
		hand_over(agent, &message, agent->export());
	}
	reply(agent, 0, "");
}

/* More than any machine has. */
static void claim_terabytes_of_the_host(const struct hostile_agent *agent)
{
	struct agent_message message = claim(agent, 64, 1, 1ull << 50);

	message.type = AGENT_HOST_ALLOCATIONS;
	hand_over(agent, &message, agent->export());
	reply(agent, 0, "");
}

static void claim_an_impossible_node(const struct hostile_agent *agent)
{
	struct agent_message message = claim(agent, 1, 1, agent->bytes);

	message.type = AGENT_HOST_ALLOCATIONS;
	message.last = 1u << 31;
	hand_over(agent, &message, agent->export());
	reply(agent, 0, "");
}

static void claim_one_address_twice(const struct hostile_agent *agent)
{
	struct agent_message message = claim(agent, 2, 1, agent->bytes);

	message.allocations[1].address = message.allocations[0].address + agent->bytes / 2;
	hand_over(agent, &message, agent->export());
	reply(agent, 0, "");
}

static void claim_more_than_there_is(const struct hostile_agent *agent)
{
	struct agent_message message = claim(agent, 1, 1, 2 * agent->bytes);

	hand_over(agent, &message, agent->export());
	reply(agent, 0, "");
}

static void hand_over_other_file(const struct hostile_agent *agent, int descriptor)
{
	struct agent_message message = claim(agent, 1, 1, agent->bytes);

	hand_over(agent, &message, descriptor);
	reply(agent, 0, "");
}

static int make_fifo(void)
{
	char path[] = "/tmp/hostile-agent-XXXXXX";
	int descriptor;

	if (!mkdtemp(path) || chdir(path) || mkfifo("fifo", 0600))
		_exit(3);
	descriptor = open("fifo", O_RDWR | O_CLOEXEC);
	unlink("fifo");
	if (chdir("/") || rmdir(path))
		_exit(3);
	return descriptor;
}

/* A connection whose close waits for an hour: the other side reads nothing of what was sent. */
static int make_lingering_socket(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {.l_onoff = 1, .l_linger = 3600};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), connection;
	socklen_t length = sizeof(address);
	char bytes[65536] = {0};

	connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(connection, (struct sockaddr *)&address, length) || accept(listener, NULL, NULL) < 0)
		_exit(3);
	while (send(connection, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return connection;
}

/* The pool's question finds no room. */
static void stop_reading(const struct hostile_agent *agent)
{
	char bytes[sizeof(struct agent_message)] = {0};

	while (send(agent->outside, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	reply(agent, -EIO, "ask again");
	pause();
}

void hostile_export(const char *attack, const struct hostile_agent *agent)
{
	if (!strcmp(attack, "trickle"))
		trickle(agent);
	else if (!strcmp(attack, "strangers"))
		answer_others(*agent);
	else if (!strcmp(attack, "nothing"))
		answer_nothing(agent);
	else if (!strcmp(attack, "terabytes"))
		claim_terabytes(agent);
	else if (!strcmp(attack, "host-terabytes"))
		claim_terabytes_of_the_host(agent);
	else if (!strcmp(attack, "host-node"))
		claim_an_impossible_node(agent);
	else if (!strcmp(attack, "overlap"))
		claim_one_address_twice(agent);
	else if (!strcmp(attack, "larger"))
		claim_more_than_there_is(agent);
	else if (!strcmp(attack, "fifo"))
		hand_over_other_file(agent, make_fifo());
	else if (!strcmp(attack, "file"))
		hand_over_other_file(agent, open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	else if (!strcmp(attack, "lingering"))
		hand_over_other_file(agent, make_lingering_socket());
	else if (!strcmp(attack, "text"))
		reply(agent, -EIO, "\x1b[2Jno\nexport \xff");
	else if (!strcmp(attack, "deaf"))
		stop_reading(agent);
}
