/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_CALLS_SHARING_H
#define REKINDLE_AGENT_CALLS_SHARING_H

/* Tells the user, once, that memory cannot be shared because it was there before a restore. */
void complain_of_restored_memory(void);

#endif
