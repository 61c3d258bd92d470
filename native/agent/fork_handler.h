/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_FORK_HANDLER_H
#define REKINDLE_AGENT_FORK_HANDLER_H

/* Once: a forked child forgets everything. It has neither the parent's device memory nor the agent's threads. */
void fork_handler_register(void);

#endif
