/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_SHARING_MEMORY_EXPORT_H
#define REKINDLE_AGENT_SHARING_MEMORY_EXPORT_H

#include "agent/memory/handle_use.h"

/*
 * A descriptor for others of memory in use, which is one open file however often it is asked for, and kept. Memory whose
 * descriptor cannot be kept stays with the driver from then on, as nobody could find out who has it. *restored: it failed
 * because the memory was there before a restore, and there is no descriptor of it.
 */
CUresult memory_export(const struct handle_use *use, int *descriptor, bool *restored);

#endif
