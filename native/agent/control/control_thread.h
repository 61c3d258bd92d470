/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_CONTROL_CONTROL_THREAD_H
#define REKINDLE_AGENT_CONTROL_CONTROL_THREAD_H

/*
 * Starts the agent's thread and publishes the page of agent_protocol.h, when there is something to offload; anew, when the
 * program has closed the thread's sockets. Where that fails the user is told and the memory is saved by the driver.
 */
void control_thread_start(void);

#endif
