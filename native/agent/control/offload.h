/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_CONTROL_OFFLOAD_H
#define REKINDLE_AGENT_CONTROL_OFFLOAD_H

#include <stdatomic.h>
#include <stddef.h>

#include "agent/memory/allocation_table.h"
#include "protocol/agent_protocol.h"

/*
 * Answers one request of agent_protocol.h on the agent's thread. fds stay the caller's. ALLOCATIONS messages go out over
 * the socket; the reply is left to the caller to send. Calls neither malloc nor anything else that waits for a thread that
 * may be stopped, the driver apart.
 */
void offload_answer(struct agent_page *page, int socket, const struct agent_message *request, const int *fds,
		    size_t fd_count, struct agent_message *reply);

/* EXPORT (offload_export.c). The table is claimed. */
int offload_export(struct agent_page *page, int socket, const struct agent_message *request, uint32_t *count,
		   struct error_text *error);

/* OFFER, of a process that runs (likewise). reply->request_id is the request's; fills in what is to be said of it. */
int offload_offer(int socket, struct agent_message *reply);

/*
 * Puts fresh, exportable memory in the place of memory that was imported after a restore, with the same contents
 * (replace_memory.c). On failure the old memory is in its place, unless the page and the sentence say otherwise. The table
 * is claimed.
 */
int replace_imported_memory(struct agent_page *page, struct physical_memory *memory, struct error_text *error);

/* Ends what one piece of an export leaves for the next. */
void replace_memory_end(void);

/* Ends what a replacement that failed has left mapped. While that cannot be done there must be no dump. */
int replace_memory_tidy(struct error_text *error);

/* Asked after the page says what is about to be taken from its place, see agent_protocol.h. */
static inline bool offload_is_withdrawn(const struct agent_page *page)
{
	atomic_thread_fence(memory_order_seq_cst);
	return *(const volatile uint32_t *)&page->withdrawn != 0;
}

/* Closes what is kept of shared memory: whoever dumps the process would meet it. The table is claimed. */
void offload_forget_descriptors(void);

/* Of the descriptors that are kept for later, as many go as a request brings. */
void offload_make_room(void);

#define DESCRIPTORS_LEFT_MAX 8
/* May the process open so many descriptors more, DESCRIPTORS_LEFT_MAX at most? (offload_export.c) */
bool descriptors_are_left(unsigned int wanted);

#endif
