/* SPDX-License-Identifier: MIT */
#include "report/failure_report.h"

#include <stdio.h>

#include "protocol/pool_protocol.h"
#include "report/run_record.h"
#include "support/clock.h"
#include "support/log.h"

void failure_report_write(int work_folder, uint32_t stage, uint64_t began, int code, const char *sentence)
{
	struct run_record record = {
		.dump = stage == POOL_STAGE_DUMP,
		.failure_code = code,
		.start = began,
		.duration = monotonic_nanoseconds() - began,
	};
	int result;

	snprintf(record.failure, sizeof(record.failure), "%s", sentence);
	result = run_record_write(work_folder, RUN_RECORD_OF_PLUGIN, &record);
	if (result)
		log_warning("cannot write " RUN_RECORD_FILE ": %s", errno_text(-result));
}
