/* SPDX-License-Identifier: MIT */
#include "api/statistics.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/criu/criu_images.h"
#include "report/run_record.h"

/* Each number of protocol/phases.h stands in rekindle.h, and each of rekindle.h here. */
static_assert(REKINDLE_PHASES_MAX == RECORD_PHASES_MAX, "the phases of a process fit");
#define SAME_PHASE(name, number, word) \
	static_assert((int)REKINDLE_PHASE_##name == (int)PHASE_##name, "rekindle.h has the phases of phases.h");
PHASES(SAME_PHASE)
#define SAME_MODE(name, number, word) \
	static_assert((int)REKINDLE_MODE_##name == (int)POOL_MODE_##name, "rekindle.h has the modes of phases.h");
MODES(SAME_MODE)

static int32_t public_phase(uint32_t kind)
{
	/* No default: the compiler names a constant of rekindle.h that phases.h lacks. */
	switch ((enum rekindle_phase_kind)kind) {
#define PUBLIC_PHASE(name, number, word) case REKINDLE_PHASE_##name:
		PHASES(PUBLIC_PHASE)
		return (int32_t)kind;
	}
	return REKINDLE_PHASE_NONE;
}

static int32_t public_mode(uint32_t mode)
{
	switch ((enum rekindle_mode)mode) {
#define PUBLIC_MODE(name, number, word) case REKINDLE_MODE_##name:
		MODES(PUBLIC_MODE)
		return (int32_t)mode;
	}
	return REKINDLE_MODE_NONE;
}

static void tell_process(const struct process_record *from, struct rekindle_process_statistics *to)
{
	uint32_t i;

	memset(to, 0, sizeof(*to));
	to->pid = from->pid;
	to->mode = public_mode(from->mode);
	copy_text(to->reason, sizeof(to->reason), from->reason);
	to->device_bytes = from->device_bytes;
	to->allocations = from->allocations;
	to->phase_count = from->phase_count;
	for (i = 0; i < from->phase_count; i++)
		to->phases[i] = (struct rekindle_phase){
			.kind = public_phase(from->phases[i].kind),
			.start = from->phases[i].start,
			.duration = from->phases[i].duration,
			.bytes = from->phases[i].bytes,
		};
}

static void tell_run(const struct run_record *record, struct run_report *run_report,
		     struct rekindle_process_statistics *processes, uint32_t capacity)
{
	struct rekindle_statistics *statistics = &run_report->statistics;
	uint32_t i;

	statistics->succeeded = record->succeeded;
	statistics->start = record->start;
	statistics->duration = record->duration;
	statistics->overlap = record->overlap;
	statistics->device_bytes = record->device_bytes;
	statistics->image_bytes = record->image_bytes;
	statistics->linked_bytes = record->linked_bytes;
	statistics->resident_bytes = record->resident_bytes;
	statistics->pool_warm = record->pool.warm;
	statistics->simulated = record->pool.simulated;
	statistics->driver_version = record->pool.driver_version;
	copy_text(statistics->gpu_name, sizeof(statistics->gpu_name), record->pool.gpu_name);
	copy_text(statistics->failure, sizeof(statistics->failure), record->failure);
	run_report->errno_code = record->failure_code;
	run_report->phase = public_phase(record->failure_phase);
	if (record->succeeded)
		copy_text(run_report->note, sizeof(run_report->note), record->note);
	statistics->process_count = (uint32_t)record->process_count;
	for (i = 0; processes && i < statistics->process_count && i < capacity; i++)
		tell_process(&record->processes[i], &processes[i]);
}

static bool path_of(char *path, const char *work_directory, const char *name)
{
	return snprintf(path, PATH_MAX, "%s/%s", work_directory, name) < PATH_MAX;
}

static int read_report(const char *work_directory, struct run_report *run_report,
		       struct rekindle_process_statistics *processes, uint32_t capacity, struct error_text *error)
{
	struct run_record record;
	char path[PATH_MAX];
	int result;

	if (!path_of(path, work_directory, RUN_RECORD_FILE))
		return 0;
	result = run_record_read(path, &record, error);
	if (result)
		return result == -ENOENT ? 0 : result;
	run_report->present = record.dump == (run_report->statistics.kind == REKINDLE_RUN_CHECKPOINT);
	run_report->overwritten = !run_report->present;
	if (run_report->present)
		tell_run(&record, run_report, processes, capacity);
	run_record_free(&record);
	return 0;
}

void statistics_forget(const char *work_directory, int32_t kind)
{
	char path[PATH_MAX];

	if (path_of(path, work_directory, RUN_RECORD_FILE))
		unlink(path);
	if (path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "stats-dump" : "stats-restore"))
		unlink(path);
}

int statistics_collect(const char *work_directory, int32_t kind, struct run_report *run_report,
		       struct rekindle_process_statistics *processes, uint32_t capacity, struct error_text *error)
{
	int result;
	int criu_result;

	memset(run_report, 0, sizeof(*run_report));
	run_report->statistics.kind = kind;
	run_report->statistics.restore_threads = -1;
	result = read_report(work_directory, run_report, processes, capacity, error);
	criu_result = criu_statistics_read(work_directory, &run_report->statistics, error);
	if (!result && criu_result != -ENOENT)
		result = criu_result;
	return result;
}

/* A tree without CUDA has CRIU's statistics only, which CRIU writes at the end of a run that went well. */
static void take_from_criu(struct rekindle_statistics *statistics)
{
	uint64_t microseconds = statistics->kind == REKINDLE_RUN_CHECKPOINT
					? statistics->freezing_time + statistics->frozen_time
					: statistics->restore_time;

	statistics->succeeded = 1;
	statistics->duration = microseconds * 1000;
}

int rekindle_statistics_read(const char *work_directory, int32_t kind, struct rekindle_statistics *statistics,
			     struct rekindle_process_statistics *processes, uint32_t capacity,
			     struct rekindle_error *error)
{
	struct run_report run_report;
	struct criu_log_excerpt log;
	struct error_text text = {""};
	char path[PATH_MAX];
	bool has_criu_statistics;
	int result;

	if (!work_directory || !*work_directory || !statistics)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "work_directory and statistics may not be NULL.");
	if (kind != REKINDLE_RUN_CHECKPOINT && kind != REKINDLE_RUN_RESTORE)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "kind is %d: use an enum rekindle_run_kind.", kind);
	if (!path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "stats-dump" : "stats-restore"))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The path of the work folder %.200s... is too long.", work_directory);
	has_criu_statistics = !access(path, F_OK);
	result = statistics_collect(work_directory, kind, &run_report, processes, capacity, &text);
	if (result)
		return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
	if (!run_report.present && !has_criu_statistics)
		return report(error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
			      "The folder %.300s holds no statistics of a %s.", work_directory,
			      kind == REKINDLE_RUN_CHECKPOINT ? "checkpoint" : "restore");
	/* CRIU's own would pass for those of a run without any device memory. */
	if (run_report.overwritten)
		return report(
			error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
			"The folder %.300s holds the statistics of a %s, which have taken the place of the %s's: give "
			"each run a work folder of its own, or set REKINDLE_KEPT_STATISTICS.",
			work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "restore" : "checkpoint",
			kind == REKINDLE_RUN_CHECKPOINT ? "checkpoint" : "restore");
	if (!run_report.present)
		take_from_criu(&run_report.statistics);
	path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "dump.log" : "restore.log");
	criu_log_read(path, &log);
	copy_text(run_report.statistics.criu_version, sizeof(run_report.statistics.criu_version), log.version);
	if (kind == REKINDLE_RUN_RESTORE && log.reader_threads)
		run_report.statistics.restore_threads = log.reader_threads;
	run_report.statistics.host_bytes = criu_pages_bytes(work_directory);
	*statistics = run_report.statistics;
	return REKINDLE_OK;
}
