/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_OFFLOAD_H
#define REKINDLE_POOL_RUN_OFFLOAD_H

#include "pool/run/image_copy.h"

/* The copy of one process's memory into its image, see run_offload. */
struct offload {
	struct run *run;
	struct run_process *process;
	struct agent_client agent;
	struct agent_export export;
	struct gpu_image *image;
	struct gpu_image_data data;
	bool release_tried; /* what was released and mapped back is imported memory, which the driver cannot save */
	struct image_copy copy;
	bool stays; /* in the pool, and is written into no file, where that can be */

	/* Of memory that is taken, and copied, as the agent exports it: */
	bool streams;
	uint64_t stream_began;	   /* CLOCK_MONOTONIC */
	uint32_t limit;		   /* allocations for which there is room */
	int stream_result;	   /* the first failure; from then on nothing is taken */
	struct error_text failure; /* its sentence */
};

/* ---- offload_take.c: descriptors become held memory, and the image gets its layout ---- */

/* Takes what the agent has exported, all at once. */
int offload_take_all(struct offload *offload, struct error_text *error);
/*
 * A listener for the export, which takes each part of it, and begins to copy that, while the agent is at the next: it takes
 * the driver of each about as long as the copy. Where the agent does not say how much there will be, it does nothing, and
 * offload_take_all has to follow; else it is offload_take_rest.
 */
struct agent_listener offload_listener(struct offload *offload);
/* The export is through. Returns how the taking went; the copy goes on. */
int offload_take_rest(struct offload *offload, struct error_text *error);

#endif
