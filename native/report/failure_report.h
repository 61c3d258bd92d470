/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_REPORT_FAILURE_REPORT_H
#define REKINDLE_REPORT_FAILURE_REPORT_H

#include <stdint.h>

/*
 * Writes stats-rekindle.json for a run that failed and whose pool, which writes it otherwise, is gone. stage: enum
 * pool_stage. began: CLOCK_MONOTONIC. code: a negative errno code.
 */
void failure_report_write(int work_folder, uint32_t stage, uint64_t began, int code, const char *sentence);

#endif
