/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_CONTROL_THREAD_H
#define REKINDLE_AGENT_CONTROL_THREAD_H

/*
 * Starts the agent's thread and publishes the page of agent_protocol.h, once, when there is something to offload. Where
 * that fails the user is told and the memory is saved by the driver.
 */
void control_thread_start(void);

/* In a forked child: closes the parent's sockets; a thread of the child's own may start later. */
void control_thread_after_fork(void);

#endif
