/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_BASE_FORK_HANDLER_H
#define REKINDLE_AGENT_BASE_FORK_HANDLER_H

/* What a forked child forgets, the last of these first. */
enum fork_part { FORK_TABLE, FORK_SHARING, FORK_PAGE, FORK_CONTROL, FORK_PARTS };

/*
 * From now on a forked child calls forget: it has neither the parent's device memory nor the agent's threads, and starts
 * as a fresh program does. Any number of times, with the same function.
 */
void fork_handler_add(enum fork_part part, void (*forget)(void));

#endif
