/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_OFFLOAD_H
#define REKINDLE_AGENT_OFFLOAD_H

#include <stddef.h>

#include "agent/allocation_table.h"
#include "protocol/agent_protocol.h"

/*
 * Answers one request of agent_protocol.h on the agent's thread. fds stay the caller's. ALLOCATIONS messages go out over
 * the socket; the reply is left to the caller to send. Calls neither malloc nor anything else that waits for a thread that
 * may be stopped, the driver apart.
 */
void offload_answer(struct agent_page *page, int socket, const struct agent_message *request, const int *fds,
		    size_t fd_count, struct agent_message *reply);

/* EXPORT (offload_export.c). The table is claimed. */
int offload_export(int socket, uint64_t request_id, uint32_t *count, struct error_text *error);

/*
 * Puts fresh, exportable memory in the place of memory that was imported after a restore, with the same contents
 * (replace_memory.c). On failure the old memory is in its place, unless the sentence says otherwise. The table is claimed.
 */
int replace_imported_memory(struct physical_memory *memory, struct error_text *error);

/* Ends what a replacement that failed has left mapped. While that cannot be done there must be no dump. */
int replace_memory_tidy(struct error_text *error);

/* Maps memory wherever it belongs and is not, with the access it had. */
CUresult map_everywhere(const struct physical_memory *memory, CUmemGenericAllocationHandle real);
/* Unmaps it everywhere; the mappings stay on record. */
CUresult unmap_everywhere(const struct physical_memory *memory);

#endif
