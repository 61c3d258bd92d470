/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_CHECKS_H
#define REKINDLE_PLUGIN_DUMP_CHECKS_H

#include <sys/types.h>

#include "process/agent_page.h"
#include "support/error_text.h"

/* What a process must not be in for its dump to begin. 0, or a negative errno code with the sentence. */

int check_runs(pid_t pid, struct error_text *error);
int check_is_not_traced(pid_t pid, struct error_text *error);
/* state: the driver's. */
int check_open_agent(pid_t pid, int state, const struct agent *agent, struct error_text *error);
int check_agent(pid_t pid, int state, const struct process_maps *maps, struct error_text *error);

#endif
