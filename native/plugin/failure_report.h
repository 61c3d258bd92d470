/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_FAILURE_REPORT_H
#define REKINDLE_PLUGIN_FAILURE_REPORT_H

#include <stdint.h>

/*
 * Writes stats-rekindle.json for a run that failed and whose pool, which writes it otherwise, is gone. stage: enum
 * pool_stage. began: CLOCK_MONOTONIC.
 */
void failure_report_write(int work_folder, uint32_t stage, uint64_t began, const char *sentence);

#endif
