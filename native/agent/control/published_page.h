/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_CONTROL_PUBLISHED_PAGE_H
#define REKINDLE_AGENT_CONTROL_PUBLISHED_PAGE_H

struct agent_page;

/*
 * The page of agent_protocol.h, which is there from the first call on, for the life of the process: what it says of the
 * device memory stays true when the agent's thread ends. By any thread. NULL where it cannot be had, errno says why.
 */
struct agent_page *published_page(void);

/* The process has shared memory from now on, and cannot be dumped without the agent. By any thread. */
void published_page_need_agent(void);

#endif
