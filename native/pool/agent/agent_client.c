/* SPDX-License-Identifier: MIT */
#include "pool/agent/agent_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "pool/agent/agent_claims.h"
#include "pool/device/driver_gate.h"
#include "pool/memory/foreign_descriptors.h"
#include "protocol/message_socket.h"
#include "support/clock.h"
#include "support/log.h"
#include "support/plain_text.h"

/* Answers to somebody else that are passed over: more than any export is long that a run left behind. */
#define STRANGERS_MAX (1u << 13)
/* After which it is asked what keeps an agent that says nothing. */
#define LOOK_AROUND_MS 100
/* The kernel's own limit. */
#define ERRNO_MAX 4095

/* One question and its answers. However the agent answers, the conversation ends at its deadline. */
struct conversation {
	const struct agent_client *agent;
	uint64_t deadline;
	uint64_t waited; /* for memory to be mapped */
	uint64_t request_id;
	unsigned int strangers; /* messages so far that answer somebody else */
	struct agent_message message;
	int descriptors[MESSAGE_DESCRIPTORS_MAX]; /* count of them came with message and are owned */
	size_t count;
};

static void conversation_begin(struct conversation *conversation, const struct agent_client *agent)
{
	conversation->agent = agent;
	conversation->deadline = monotonic_nanoseconds() + (uint64_t)agent->timeout_ms * 1000000u;
	conversation->waited = 0;
	conversation->strangers = 0;
	conversation->count = 0;
}

/* Closes what came with the message. */
static void drop_descriptors(struct conversation *conversation)
{
	foreign_descriptors_close(conversation->descriptors, conversation->count);
	conversation->count = 0;
}

static int left_ms(const struct conversation *conversation)
{
	uint64_t now = monotonic_nanoseconds();

	return now >= conversation->deadline ? 0 : (int)((conversation->deadline - now + 999999u) / 1000000u);
}

static int timed_out(const struct conversation *conversation, struct error_text *error)
{
	return fail(error, -ETIMEDOUT, "The agent in the process did not answer within %d s; raise REKINDLE_TIMEOUT",
		    conversation->agent->timeout_ms / 1000);
}

static int too_many_strangers(struct error_text *error)
{
	return fail(error, -EPROTO,
		    "The agent in the process sends nothing but answers to questions that nobody asked; the process "
		    "cannot be saved with its help");
}

/* Takes whatever is there. Returns the size of the message, or a negative errno code. */
static ssize_t receive(struct conversation *conversation)
{
	ssize_t size;

	conversation->count = MESSAGE_DESCRIPTORS_MAX;
	size = message_receive_keeping(conversation->agent->socket, &conversation->message,
				       sizeof(conversation->message), conversation->descriptors, &conversation->count,
				       0);
	if (size < 0)
		drop_descriptors(conversation);
	return size;
}

/* Throws away what an earlier conversation left: answers that came after their time. */
static int drain(struct conversation *conversation, struct error_text *error)
{
	while (receive(conversation) >= 0) {
		drop_descriptors(conversation);
		if (++conversation->strangers > STRANGERS_MAX)
			return too_many_strangers(error);
	}
	return 0;
}

/* Begins a question: what is left of earlier ones is thrown away. descriptors stay the caller's. */
static int ask(struct conversation *conversation, const struct agent_message *question, const int *descriptors,
	       struct error_text *error)
{
	const struct agent_client *agent = conversation->agent;
	struct agent_message message = *question;
	int result;

	if (getrandom(&message.request_id, sizeof(message.request_id), 0) != sizeof(message.request_id))
		return fail(error, -errno, "The kernel gave no random number: %s", errno_text(errno));
	conversation->request_id = message.request_id;
	result = drain(conversation, error);
	if (result)
		return result;
	result = message_send_until(agent->socket, &message, sizeof(message), descriptors, message.count,
				    conversation->deadline);
	if (result == -ETIMEDOUT)
		return timed_out(conversation, error);
	if (result)
		return fail(error, result, "The agent in the process cannot be reached: %s", errno_text(-result));
	return 0;
}

/* It says nothing: is there any use in waiting for it? */
static int look_around(const struct conversation *conversation, struct error_text *error)
{
	const struct agent_client *agent = conversation->agent;

	if (!agent->pool || !driver_gate_keeps_agent(agent->pool, agent->target))
		return 0;
	return fail(
		error, -EBUSY,
		"Another program has locked CUDA of process %d while its agent worked for this run: let it unlock the "
		"process, and try again",
		agent->target->named);
}

/* Waits for one message and receives it, whatever it is. */
static int hear_any(struct conversation *conversation, ssize_t *size, struct error_text *error)
{
	const struct agent_client *agent = conversation->agent;
	struct pollfd polled[2] = {
		{.fd = agent->socket, .events = POLLIN},
		{.fd = agent->process, .events = POLLIN},
	};
	int ready, left, result;

	do {
		left = left_ms(conversation);
		ready = poll(polled, 2, left < LOOK_AROUND_MS ? left : LOOK_AROUND_MS);
		if (ready < 0 && errno == EINTR)
			continue;
		if (left_ms(conversation) == 0)
			return timed_out(conversation, error);
		result = ready == 0 ? look_around(conversation, error) : 0;
		if (result)
			return result;
		if (ready > 0 && !polled[0].revents && polled[1].revents)
			return fail(error, -ESRCH, "The process ended while its agent was asked");
		*size = receive(conversation);
		/* The agent itself takes late answers to somebody else out of the way. */
	} while ((ready < 0 && errno == EINTR) || *size == -ETIMEDOUT);
	if (*size == -EMFILE)
		return fail(error, -EMFILE,
			    "The pool may open no more descriptors, and needs one for each allocation of the process: "
			    "raise its limit (LimitNOFILE= of the service, ulimit -Hn)");
	if (*size < 0 && *size != -EMSGSIZE)
		return fail(error, (int)*size, "The agent in the process is gone: %s", errno_text((int)-*size));
	return 0;
}

/* Of a message of the right size. */
static bool is_well_formed(const struct conversation *conversation)
{
	const struct agent_message *message = &conversation->message;

	if (message->type == AGENT_ALLOCATIONS || message->type == AGENT_HOST_ALLOCATIONS ||
	    message->type == AGENT_IMPORTS)
		return message->count > 0 && message->count <= AGENT_ALLOCATIONS_MAX &&
		       message->count == conversation->count;
	return message->type == AGENT_REPLY && conversation->count == 0 && message->result <= 0 &&
	       message->result >= -ERRNO_MAX;
}

/*
 * Receives one well-formed message that answers the question last asked. The agent may still send answers to somebody
 * who died or lost patience: they are passed over.
 */
static int hear(struct conversation *conversation, struct error_text *error)
{
	struct agent_message *message = &conversation->message;
	ssize_t size;
	int result;

	for (;;) {
		result = hear_any(conversation, &size, error);
		if (result)
			return result;
		if (size != sizeof(*message) || message->request_id == conversation->request_id)
			break;
		drop_descriptors(conversation);
		if (++conversation->strangers > STRANGERS_MAX)
			return too_many_strangers(error);
	}
	if (size != sizeof(*message) || !is_well_formed(conversation)) {
		drop_descriptors(conversation);
		return fail(error, -EPROTO,
			    "The agent in the process does not speak this protocol; use plugin, pool and agent of one "
			    "version");
	}
	/* Whatever the application wrote there goes into logs, statistics and terminals from here. */
	plain_text(message->error.text, sizeof(message->error.text));
	return 0;
}

/* The one REPLY to RELEASE or MAP. */
static int hear_reply(struct conversation *conversation, struct error_text *error)
{
	int result;

	result = hear(conversation, error);
	if (result)
		return result;
	if (conversation->message.type != AGENT_REPLY) {
		drop_descriptors(conversation);
		return fail(error, -EPROTO,
			    "The agent in the process does not speak this protocol (type %u for a reply)",
			    conversation->message.type);
	}
	if (conversation->message.result < 0)
		return fail(error, conversation->message.result, "%s", conversation->message.error.text);
	return 0;
}

/* Takes over the entries and descriptors of a message, all or none. */
static int add_offers(struct agent_offers *offers, struct conversation *conversation, struct error_text *error)
{
	const struct agent_message *message = &conversation->message;
	struct agent_allocation *allocations;
	int *grown;
	int32_t *nodes;
	uint32_t i;

	for (i = 0; i < message->count; i++)
		if (!foreign_descriptor_may_be_memory(conversation->descriptors[i]))
			return fail(error, -EPROTO,
				    "The agent in the process hands over a file that is no device memory of the "
				    "driver's");
	allocations = realloc(offers->allocations, (offers->count + message->count) * sizeof(*allocations));
	if (allocations)
		offers->allocations = allocations;
	grown = realloc(offers->descriptors, (offers->count + message->count) * sizeof(*grown));
	if (grown)
		offers->descriptors = grown;
	nodes = realloc(offers->nodes, (offers->count + message->count) * sizeof(*nodes));
	if (nodes)
		offers->nodes = nodes;
	if (!allocations || !grown || !nodes)
		return fail(error, -ENOMEM, "Out of memory");
	memcpy(&allocations[offers->count], message->allocations, message->count * sizeof(*allocations));
	memcpy(&grown[offers->count], conversation->descriptors, message->count * sizeof(*grown));
	for (i = 0; i < message->count; i++)
		nodes[offers->count + i] =
			message->type == AGENT_HOST_ALLOCATIONS ? (int32_t)message->last : AGENT_NODE_NONE;
	offers->count += message->count;
	conversation->count = 0;
	return 0;
}

/* What the listener does with it costs the agent no time. */
static void tell(struct conversation *conversation, const struct agent_listener *listener, struct agent_export *export,
		 uint32_t from)
{
	uint64_t began = monotonic_nanoseconds();

	if (!listener)
		return;
	listener->hear(listener->context, export, from, conversation->message.bytes);
	conversation->deadline += monotonic_nanoseconds() - began;
}

static int take_offers(struct conversation *conversation, struct pool *pool, const struct agent_listener *listener,
		       struct agent_export *export, struct error_text *error)
{
	const struct agent_message *message = &conversation->message;
	uint32_t from = export->own.count;
	int result;
	uint32_t i;

	if (message->type == AGENT_IMPORTS) {
		result = agent_claims_add_imports(export, message, error);
		return result ? result : add_offers(&export->imports, conversation, error);
	}
	result = agent_claims_add(pool, export, message, error);
	if (result == 0)
		result = add_offers(&export->own, conversation, error);
	for (i = 0; result == 0 && i < message->count; i++)
		export->bytes += message->allocations[i].bytes;
	if (result == 0)
		tell(conversation, listener, export, from);
	return result;
}

/* The messages of one export, as far as they are well-formed and plausible. */
static int hear_export(struct conversation *conversation, struct pool *pool, const struct agent_listener *listener,
		       struct agent_export *export, bool *answered, struct error_text *error)
{
	const struct agent_message *message = &conversation->message;
	int result;

	for (;;) {
		result = hear(conversation, error);
		if (result)
			return result;
		if (message->type == AGENT_REPLY)
			break;
		result = take_offers(conversation, pool, listener, export, error);
		drop_descriptors(conversation);
		if (result)
			return result;
	}
	*answered = true;
	export->shares = message->last || export->imports.count;
	export->left_out = message->bytes;
	if (message->result < 0)
		return fail(error, message->result, "%s", message->error.text);
	result = agent_claims_check(export, error);
	if (result)
		*answered = false;
	return result;
}

static int ask_for_memory(const struct agent_client *agent, uint32_t type, bool as_own, struct pool *pool,
			  const struct agent_listener *listener, struct agent_export *export, bool *answered,
			  struct error_text *error)
{
	struct agent_message question = {.type = type, .last = as_own};
	struct conversation conversation;
	int result;

	*export = (struct agent_export){.bytes = 0};
	*answered = false;
	conversation_begin(&conversation, agent);
	result = ask(&conversation, &question, NULL, error);
	if (result == 0)
		result = hear_export(&conversation, pool, listener, export, answered, error);
	if (result)
		agent_export_free(export);
	return result;
}

int agent_export_all(const struct agent_client *agent, struct pool *pool, const struct agent_listener *listener,
		     struct agent_export *export, bool *answered, struct error_text *error)
{
	return ask_for_memory(agent, AGENT_EXPORT, false, pool, listener, export, answered, error);
}

int agent_offer_all(const struct agent_client *agent, struct pool *pool, struct agent_export *export, bool *answered,
		    struct error_text *error)
{
	return ask_for_memory(agent, AGENT_OFFER, false, pool, NULL, export, answered, error);
}

int agent_make_own(const struct agent_client *agent, struct pool *pool, struct error_text *error)
{
	struct agent_export export;
	bool answered;
	int result = ask_for_memory(agent, AGENT_EXPORT, true, pool, NULL, &export, &answered, error);

	if (result == 0)
		agent_export_free(&export);
	return result;
}

static void free_offers(struct agent_offers *offers)
{
	uint32_t i;

	for (i = 0; i < offers->count; i++)
		if (offers->descriptors[i] >= 0)
			close(offers->descriptors[i]);
	free(offers->allocations);
	free(offers->descriptors);
	free(offers->nodes);
}

void agent_export_free(struct agent_export *export)
{
	free_offers(&export->own);
	free_offers(&export->imports);
	*export = (struct agent_export){.bytes = 0};
}

int agent_release_all(const struct agent_client *agent, const uint8_t image_id[16], uint32_t expected,
		      struct error_text *error)
{
	struct agent_message question = {.type = AGENT_RELEASE};
	struct conversation conversation;
	int result;

	memcpy(question.image_id, image_id, sizeof(question.image_id));
	conversation_begin(&conversation, agent);
	result = ask(&conversation, &question, NULL, error);
	if (result == 0)
		result = hear_reply(&conversation, error);
	if (result == 0 && conversation.message.count != expected)
		result = fail(error, -EPROTO, "The agent released %u allocations, not %u", conversation.message.count,
			      expected);
	return result;
}

/* How many pieces are there, more than the first `at`. That somebody else has to be waited for costs the agent no time. */
static int wait_for_pieces(struct conversation *conversation, const struct agent_pieces *pieces, uint32_t at,
			   uint32_t *there, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	int result;

	*there = pieces->count;
	if (!pieces->wait || at == pieces->count)
		return 0;
	result = pieces->wait(pieces->context, at, there, error);
	began = monotonic_nanoseconds() - began;
	conversation->deadline += began;
	conversation->waited += began;
	return result;
}

/* The next pieces of those that are there, with descriptors that are the caller's to close, as many as message->count says. */
static int fill_batch(struct agent_message *message, int *descriptors, struct held_memory *memory, uint32_t count,
		      struct error_text *error)
{
	struct agent_allocation *allocation;
	uint32_t i;

	*message = (struct agent_message){.type = AGENT_MAP};
	for (i = 0; i < count; i++) {
		descriptors[i] = held_memory_export(&memory[i], error);
		if (descriptors[i] < 0)
			return descriptors[i];
		allocation = &message->allocations[message->count++];
		allocation->allocation_id = memory[i].allocation_id;
		allocation->bytes = memory[i].bytes;
		allocation->address = memory[i].address;
		allocation->device = memory[i].device->uuid;
	}
	return 0;
}

int agent_map(const struct agent_client *agent, const struct agent_pieces *pieces, struct error_text *error)
{
	struct conversation conversation;
	struct agent_message message;
	int descriptors[AGENT_ALLOCATIONS_MAX], result;
	uint32_t at = 0, batch = AGENT_ALLOCATIONS_MAX, there, sent;
	uint64_t worked = 0;

	conversation_begin(&conversation, agent);
	do {
		result = wait_for_pieces(&conversation, pieces, at, &there, error);
		if (result)
			return result;
		if (there - at > batch)
			there = at + batch;
		result = fill_batch(&message, descriptors, there > at ? &pieces->memory[at] : NULL, there - at, error);
		at = there;
		message.last = at == pieces->count && !pieces->without_access;
		if (result == 0)
			result = ask(&conversation, &message, descriptors, error);
		/* The agent is at work meanwhile, and so is whoever makes the next pieces. */
		sent = message.count;
		while (message.count)
			close(descriptors[--message.count]);
		if (result == 0)
			result = hear_reply(&conversation, error);
		worked += result == 0 ? conversation.message.nanoseconds : 0;
		/* The process may open fewer descriptors than that. */
		if (result == -EMFILE && sent > 1) {
			at -= sent;
			batch = (sent + 3) / 4;
			result = 0;
		}
	} while (result == 0 && at < pieces->count);
	log_debug("Mapping %u pieces took the agent %.3f s, and %.3f s of waiting for them", pieces->count,
		  (double)worked / 1e9, (double)conversation.waited / 1e9);
	return result;
}

int agent_map_all(const struct agent_client *agent, struct held_memory *memory, uint32_t count,
		  struct error_text *error)
{
	const struct agent_pieces pieces = {.memory = memory, .count = count};

	return agent_map(agent, &pieces, error);
}
