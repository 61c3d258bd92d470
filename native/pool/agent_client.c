/* SPDX-License-Identifier: MIT */
#include "pool/agent_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "protocol/message_socket.h"

/* Allocations of 2 MiB fill the largest device many times over before there are this many. */
#define EXPORT_COUNT_MAX (1u << 18)

static void close_all(const int *descriptors, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		close(descriptors[i]);
}

/* Throws away what an earlier conversation left: answers that came after their time. */
static void drain(int socket)
{
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	struct agent_message message;
	size_t count;

	for (;;) {
		count = MESSAGE_DESCRIPTORS_MAX;
		if (message_receive(socket, &message, sizeof(message), descriptors, &count, 0) < 0)
			return;
		close_all(descriptors, count);
	}
}

static int ask(const struct agent_client *agent, struct agent_message *message, const int *descriptors, uint32_t count,
	       struct error_text *error)
{
	int result;

	if (getrandom(&message->request_id, sizeof(message->request_id), 0) != sizeof(message->request_id))
		return fail(error, -errno, "The kernel gave no random number: %s", strerror(errno));
	drain(agent->socket);
	result = message_send(agent->socket, message, sizeof(*message), descriptors, count);
	if (result)
		return fail(error, result, "The agent in the process cannot be reached: %s", strerror(-result));
	return 0;
}

/* Waits for one message and receives it, whatever it is. */
static int hear_any(const struct agent_client *agent, struct agent_message *message, ssize_t *size, int *descriptors,
		    size_t *descriptor_count, struct error_text *error)
{
	struct pollfd polled[2] = {
		{.fd = agent->socket, .events = POLLIN},
		{.fd = agent->process, .events = POLLIN},
	};
	int ready;

	do {
		ready = poll(polled, 2, agent->timeout_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return fail(error, -ETIMEDOUT,
				    "The agent in the process did not answer within %d s; raise REKINDLE_TIMEOUT",
				    agent->timeout_ms / 1000);
		if (ready > 0 && !polled[0].revents && polled[1].revents)
			return fail(error, -ESRCH, "The process ended while its agent was asked");
		*descriptor_count = MESSAGE_DESCRIPTORS_MAX;
		*size = message_receive(agent->socket, message, sizeof(*message), descriptors, descriptor_count, 0);
		/* The agent itself takes late answers to somebody else out of the way. */
	} while ((ready < 0 && errno == EINTR) || *size == -ETIMEDOUT);
	if (*size == -EMFILE)
		return fail(error, -EMFILE,
			    "The pool may open no more descriptors, and needs one for each allocation of the process: "
			    "raise its limit (LimitNOFILE= of the service, ulimit -Hn)");
	if (*size < 0)
		return fail(error, (int)*size, "The agent in the process is gone: %s", strerror((int)-*size));
	return 0;
}

/*
 * Receives one well-formed message that answers the request last asked with message; *descriptor_count of descriptors
 * are the caller's. The agent may still send answers to somebody who died or lost patience: they are passed over.
 */
static int hear(const struct agent_client *agent, struct agent_message *message, int *descriptors,
		size_t *descriptor_count, struct error_text *error)
{
	uint64_t request_id = message->request_id;
	ssize_t size;
	int result;

	for (;;) {
		result = hear_any(agent, message, &size, descriptors, descriptor_count, error);
		if (result)
			return result;
		if (size != sizeof(*message) || message->request_id == request_id)
			break;
		close_all(descriptors, *descriptor_count);
	}
	message->error.text[sizeof(message->error.text) - 1] = '\0';
	if (size != sizeof(*message) ||
	    (message->type == AGENT_ALLOCATIONS
		     ? message->count > AGENT_ALLOCATIONS_MAX || message->count != *descriptor_count
		     : message->type != AGENT_REPLY || *descriptor_count != 0 || message->result > 0)) {
		close_all(descriptors, *descriptor_count);
		return fail(error, -EPROTO,
			    "The agent in the process does not speak this protocol (message of %zd bytes, type %u)",
			    size, message->type);
	}
	return 0;
}

/* The one REPLY to RELEASE or MAP. */
static int hear_reply(const struct agent_client *agent, struct agent_message *message, struct error_text *error)
{
	int descriptors[MESSAGE_DESCRIPTORS_MAX], result;
	size_t count;

	result = hear(agent, message, descriptors, &count, error);
	if (result)
		return result;
	if (message->type != AGENT_REPLY) {
		close_all(descriptors, count);
		return fail(error, -EPROTO,
			    "The agent in the process does not speak this protocol (type %u for a reply)",
			    message->type);
	}
	if (message->result < 0)
		return fail(error, message->result, "%s", message->error.text);
	return 0;
}

static const char *find_fault(const struct agent_allocation *allocation, const struct agent_export *export)
{
	uint32_t i;

	if (allocation->bytes == 0 || allocation->bytes % (2u << 20) || allocation->bytes > (1ull << 46))
		return "size";
	for (i = 0; i < export->count; i++)
		if (export->allocations[i].allocation_id == allocation->allocation_id)
			return "id (it came twice)";
	return NULL;
}

/* Takes over the entries and descriptors of a message, all or none. */
static int add_allocations(struct agent_export *export, const struct agent_message *message, const int *descriptors,
			   struct error_text *error)
{
	struct agent_allocation *allocations;
	int *grown;
	const char *fault;
	uint32_t i;

	if (export->count + message->count > EXPORT_COUNT_MAX)
		return fail(error, -EPROTO, "The agent in the process reports more than %u allocations",
			    EXPORT_COUNT_MAX);
	allocations = realloc(export->allocations, (export->count + message->count + 1) * sizeof(*allocations));
	if (allocations)
		export->allocations = allocations;
	grown = realloc(export->descriptors, (export->count + message->count + 1) * sizeof(*grown));
	if (grown)
		export->descriptors = grown;
	if (!allocations || !grown)
		return fail(error, -ENOMEM, "Out of memory");
	/* Counted in one by one, so that two of one message are compared as well; the descriptors follow when all are
	 * good. */
	for (i = 0; i < message->count; i++) {
		fault = find_fault(&message->allocations[i], export);
		if (fault) {
			export->count -= i;
			return fail(error, -EPROTO,
				    "The agent in the process reports an allocation with an impossible %s", fault);
		}
		export->allocations[export->count++] = message->allocations[i];
	}
	for (i = 0; i < message->count; i++) {
		export->descriptors[export->count - message->count + i] = descriptors[i];
		export->bytes += message->allocations[i].bytes;
	}
	return 0;
}

int agent_export_all(const struct agent_client *agent, struct agent_export *export, bool *answered,
		     struct error_text *error)
{
	struct agent_message message = {.type = AGENT_EXPORT};
	int descriptors[MESSAGE_DESCRIPTORS_MAX], result;
	size_t count;

	*export = (struct agent_export){.count = 0};
	*answered = false;
	result = ask(agent, &message, NULL, 0, error);
	while (result == 0) {
		result = hear(agent, &message, descriptors, &count, error);
		if (result)
			break;
		if (message.type == AGENT_REPLY) {
			*answered = true;
			if (message.result < 0)
				result = fail(error, message.result, "%s", message.error.text);
			break;
		}
		result = add_allocations(export, &message, descriptors, error);
		if (result)
			close_all(descriptors, count);
	}
	if (result)
		agent_export_free(export);
	return result;
}

void agent_export_free(struct agent_export *export)
{
	uint32_t i;

	for (i = 0; i < export->count; i++)
		if (export->descriptors[i] >= 0)
			close(export->descriptors[i]);
	free(export->allocations);
	free(export->descriptors);
	*export = (struct agent_export){.count = 0};
}

int agent_release_all(const struct agent_client *agent, const uint8_t image_id[16], uint32_t expected,
		      struct error_text *error)
{
	struct agent_message message = {.type = AGENT_RELEASE};
	int result;

	memcpy(message.image_id, image_id, sizeof(message.image_id));
	result = ask(agent, &message, NULL, 0, error);
	if (result == 0)
		result = hear_reply(agent, &message, error);
	if (result == 0 && message.count != expected)
		result = fail(error, -EPROTO, "The agent released %u allocations, not %u", message.count, expected);
	return result;
}

int agent_map_all(const struct agent_client *agent, struct held_memory *memory, uint32_t count,
		  struct error_text *error)
{
	struct agent_message message;
	int descriptors[AGENT_ALLOCATIONS_MAX], result = 0;
	uint32_t at = 0, batch = AGENT_ALLOCATIONS_MAX, sent, i;

	do {
		message = (struct agent_message){.type = AGENT_MAP};
		while (result == 0 && message.count < batch && at < count) {
			i = message.count;
			descriptors[i] = held_memory_export(&memory[at], error);
			if (descriptors[i] < 0) {
				result = descriptors[i];
				break;
			}
			message.allocations[i].allocation_id = memory[at].allocation_id;
			message.allocations[i].bytes = memory[at].bytes;
			message.allocations[i].address = memory[at].address;
			message.allocations[i].device = memory[at].device->uuid;
			message.count++;
			at++;
		}
		message.last = at == count;
		if (result == 0)
			result = ask(agent, &message, descriptors, message.count, error);
		close_all(descriptors, message.count);
		sent = message.count;
		if (result == 0)
			result = hear_reply(agent, &message, error);
		/* The process may open fewer descriptors than that. */
		if (result == -EMFILE && sent > 1) {
			at -= sent;
			batch = (sent + 3) / 4;
			result = 0;
		}
	} while (result == 0 && at < count);
	return result;
}
