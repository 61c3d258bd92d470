/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_FAILURE_H
#define REKINDLE_API_FAILURE_H

#include "api/criu/run_criu.h"
#include "api/statistics.h"
#include "rekindle.h"

/* Makes code, phase, sentence and log excerpt of a run that failed. Returns the code. */
int failure_describe(const struct criu_run *run, const struct run_report *run_report, struct rekindle_error *error);

/* Puts the log excerpt of a run into an error that was reported already. */
void failure_add_log(const struct criu_run *run, struct rekindle_error *error);

#endif
