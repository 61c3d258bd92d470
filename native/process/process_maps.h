/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_MAPS_H
#define REKINDLE_PROCESS_PROCESS_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/error_text.h"

#define PROCESS_MAPS_AGENT_PAGES_MAX 8

/* What /proc/PID/maps says about CUDA and about our agent. */
struct process_maps {
	bool has_cuda_library;
	uint64_t cuda_library; /* where its first piece is */
	bool has_agent_library;
	size_t agent_page_count;
	uint64_t agent_pages[PROCESS_MAPS_AGENT_PAGES_MAX];
};

/* Takes one line of /proc/PID/maps (its newline may be there) into maps. */
void process_maps_take_line(struct process_maps *maps, const char *line);

/* Returns 0, -ESRCH where the process is gone, or another negative errno code: never "no CUDA" where reading failed. */
int process_maps_read(pid_t pid, struct process_maps *maps, struct error_text *error);

#endif
