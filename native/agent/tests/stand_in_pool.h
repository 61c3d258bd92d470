/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_TESTS_STAND_IN_POOL_H
#define REKINDLE_AGENT_TESTS_STAND_IN_POOL_H

#include <stdbool.h>

#include "protocol/agent_protocol.h"

/*
 * The test as the pool: it speaks with the agent of its own process over the control socket, keeps the contents that the
 * agent exported, and makes new memory of them.
 */

#define SAVED_MAX 256

struct saved_allocation {
	struct agent_allocation allocation;
	bool on_host; /* on the NUMA node `node`, which a test may change before it is mapped */
	uint32_t node;
	int descriptor; /* as exported; -1 once closed */
	void *contents; /* of agent_save */
};

struct saved_memory {
	size_t count;
	struct saved_allocation allocations[SAVED_MAX];
};

/* The agent's page in this process, NULL where there is none. */
const struct agent_page *agent_find_page(void);
/* The same, where the agent's thread may only just have been started. */
const struct agent_page *agent_wait_for_page(void);
/* Sends EXPORT and receives everything; the reply's result. *reply: the last message. */
int agent_export(struct saved_memory *saved, struct agent_message *reply);
/* The same with OFFER. */
int agent_offer(struct saved_memory *saved, struct agent_message *reply);
/* Reads the contents of what was exported and closes the descriptors. */
void agent_save(struct saved_memory *saved);
int agent_release(struct agent_message *reply);
/* Makes fresh memory with the saved contents and has the agent map all but the first `skipped`. */
int agent_map(struct saved_memory *saved, size_t skipped, struct agent_message *reply);
/* Likewise all, and that it was the last is not said. */
int agent_map_all_but_the_end(struct saved_memory *saved, struct agent_message *reply);
void agent_forget(struct saved_memory *saved);
/* Sends bytes as they are and receives the reply. */
int agent_send_raw(const void *bytes, size_t size, struct agent_message *reply);
/* EXPORT without receiving anything, as a pool that dies at once. */
void agent_export_and_go(void);

#endif
