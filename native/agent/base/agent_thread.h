/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_BASE_AGENT_THREAD_H
#define REKINDLE_AGENT_BASE_AGENT_THREAD_H

/* Starts a detached thread of the agent: no signal of the application ever runs on it. 0 or a negative errno code. */
int agent_thread_create(void *(*run)(void *), void *argument, const char *name);

#endif
