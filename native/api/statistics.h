/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_STATISTICS_H
#define REKINDLE_API_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/criu/run_criu.h"
#include "rekindle.h"
#include "support/error_text.h"

/* What stats-rekindle.json, which the pool writes, says about a run. */
struct run_report {
	bool present;	    /* the file is there: the plugin took part */
	bool overwritten;   /* the file is there, and a run of the other kind has written it */
	int32_t errno_code; /* negative errno code of the failure, 0 where there is none or it is not known */
	int32_t phase;	    /* enum rekindle_phase_kind of the failure */
	char note[512];	    /* what the plugin says of a dump that succeeded, "" for nothing */
	struct rekindle_statistics statistics;
};

/* Removes the statistics of earlier runs of the same kind, so that they are not taken for this run's. */
void statistics_forget(const char *work_directory, int32_t kind);

/*
 * Reads stats-rekindle.json and CRIU's statistics in a work folder. Missing files leave zeros: a tree without CUDA has
 * no report of ours. Returns 0 or -EBADMSG for a file that is not what it should be.
 */
int statistics_collect(const char *work_directory, int32_t kind, struct run_report *report,
		       struct rekindle_process_statistics *processes, uint32_t capacity, struct error_text *error);

#endif
