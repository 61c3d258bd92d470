/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_AGENT_PAGE_H
#define REKINDLE_PLUGIN_AGENT_PAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "plugin/process_maps.h"
#include "protocol/agent_protocol.h"

/* The agent of one process, reached from outside. */
struct agent {
	bool usable;
	struct agent_page page; /* valid also where only the rest is unusable and has_page is set */
	bool has_page;
	uint64_t page_address; /* in the process */
	pid_t thread;	       /* as this process sees it */
	int control;	       /* our duplicate of the control socket, -1 where not usable */
	char note[256];	       /* why it is not usable; empty otherwise */
};

/* Finds the agent by its page, and takes a duplicate of its control socket. The process may be stopped. */
void agent_open(struct agent *agent, pid_t pid, const struct process_maps *maps);
void agent_close(struct agent *agent);

#endif
