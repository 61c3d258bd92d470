/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_AGENT_AGENT_LOOK_H
#define REKINDLE_POOL_AGENT_AGENT_LOOK_H

#include "pool/agent/agent_client.h"
#include "process/agent_page.h"
#include "process/target.h"

/*
 * Looks for the agent of a process; the caller closes it (agent_close). Fails, with nothing to close, only where the process
 * cannot be looked at, or its agent's page not read.
 */
int agent_look(struct agent *agent, const struct target *target, struct error_text *error);

/* Has its agent taken memory of it from its place, and not put it back yet, or may it have? Such a process must not run. */
bool agent_has_memory_out_of_place(const struct target *target);

/* Can the driver alone not save it? It has memory that a restore has brought, or that others have. */
bool agent_is_needed(const struct target *target);

/*
 * Tells its agent that nobody waits any more for what it was asked to save: from here on it takes no memory from its place,
 * whenever it gets to that. What it has taken already agent_has_memory_out_of_place says, asked after this. False where
 * it could not be told, and may still do it.
 */
bool agent_withdraw(const struct target *target);

/* Ends that, where an earlier run has said so: the agent has done with all that it was asked then. */
int agent_ask_again(const struct agent_client *client, const struct target *target, struct error_text *error);

#endif
