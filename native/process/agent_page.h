/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_AGENT_PAGE_H
#define REKINDLE_PROCESS_AGENT_PAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "process/process_maps.h"
#include "protocol/agent_protocol.h"
#include "support/error_text.h"

/* How far an agent has come in a process. */
enum agent_presence {
	AGENT_ABSENT,	/* it is not loaded */
	AGENT_DISABLED, /* loaded, and the process was started with REKINDLE_AGENT=0 */
	AGENT_UNASKED,	/* loaded, as is the driver, and no CUDA call has come to it */
	AGENT_IDLE,	/* loaded, and the process has allocated nothing yet that it looks after */
	AGENT_PRESENT,	/* it has published its page */
};

/* The agent of one process, reached from outside. */
struct agent {
	bool usable;
	enum agent_presence presence;
	struct agent_page page; /* valid also where only the rest is unusable and has_page is set */
	bool has_page;
	int unknown;	       /* an errno code: there is a page, and it could not be read, or whose it is */
	uint64_t page_address; /* in the process */
	pid_t thread;	       /* as this process sees it */
	int control;	       /* our duplicate of the control socket, -1 where not usable */
	char note[256];	       /* why it is not usable, or which library it passes over; else empty */
};

/* Finds the agent by its page, and takes a duplicate of its control socket. The process may be stopped. */
void agent_open(struct agent *agent, pid_t pid, const struct process_maps *maps);
void agent_close(struct agent *agent);

/* Fails (-EIO) where it is unknown: nobody can say then that the process has its memory, or can do without its agent. */
int agent_must_be_known(const struct agent *agent, pid_t pid, struct error_text *error);

/*
 * Of a usable agent in a process that runs: has its thread something to do yet, for somebody who may be gone by now? False
 * where it waits to be asked, and where that cannot be seen.
 */
bool agent_is_at_work(const struct agent *agent, pid_t pid);

#endif
