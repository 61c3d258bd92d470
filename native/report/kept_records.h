/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_REPORT_KEPT_RECORDS_H
#define REKINDLE_REPORT_KEPT_RECORDS_H

#include "report/run_record.h"

/* So many runs are kept, the latest. */
#define KEPT_RECORDS_MAX 256

/* Where the record of a run is; begins all zero. */
struct kept_record {
	char name[96];
};

/*
 * Puts a copy of the record where it stays when the work folder goes, as that of a container does: into a new folder in
 * folder, which is made where it is missing (its parent is not). Its name is the time in UTC, what the run was, and the
 * process id of its first process here: 20260131T120000.123456-restore-815. As many of the oldest of that form are removed
 * as are more than KEPT_RECORDS_MAX. Several processes may do so at once. A second record of the same run, which knows more of
 * it, takes the place of the first. Returns 0 or a negative errno code.
 */
int kept_record_write(const char *folder, const struct run_record *record, struct kept_record *kept);

#endif
