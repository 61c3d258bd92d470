/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/run/pool_run.h"
#include "report/kept_records.h"
#include "support/clock.h"
#include "support/log.h"

/* The part of the filling that CRIU's own work hid: from plugin init to the first process that wanted its memory. */
static uint64_t overlap(const struct run *run)
{
	uint64_t began, ended;

	if (!run->prefetch || run->stage != POOL_STAGE_RESTORE)
		return 0;
	prefetch_times(run->prefetch, &began, &ended);
	if (began < run->hook_time)
		began = run->hook_time;
	if (run->first_resume && ended > run->first_resume)
		ended = run->first_resume;
	return ended > began ? ended - began : 0;
}

/* A restore is over when its processes are back, however long CRIU then waits for their end. */
static uint64_t end_of_run(const struct run *run)
{
	return run->stage == POOL_STAGE_RESTORE && run->last_resume ? run->last_resume : monotonic_nanoseconds();
}

/* What went wrong first; where that was in CRIU, whatever is known of it. */
static void note_failure(const struct run *run, int criu_result, const char *criu_note, struct run_record *record)
{
	snprintf(record->failure, sizeof(record->failure), "%s", run->error.text);
	if (criu_result < 0 && !record->failure[0] && criu_note[0])
		snprintf(record->failure, sizeof(record->failure), "%s", criu_note);
	else if (criu_result < 0 && !record->failure[0])
		snprintf(record->failure, sizeof(record->failure), "%s; CRIU's log says why",
			 criu_result != -ECONNRESET ? "CRIU failed"
			 : run->client_stays	    ? "The connection to CRIU was lost"
						    : "CRIU died before the run was finished");
	record->failure_code = run->error_code ? run->error_code : criu_result;
	record->failure_phase = run->error_code ? run->error_phase : PHASE_CRIU;
}

static void note_pool(const struct run *run, struct run_record *record)
{
	struct pool_status status;

	pool_fill_status(run->pool, &status);
	record->pool.known = true;
	record->pool.simulated = status.simulated != 0;
	record->pool.driver_version = status.driver_version;
	record->pool.warm = run->warm && !run->started_by_us;
	record->pool.private_run = run->pool->private_run;
	record->pool.workers =
		run->parallel || run->stage == POOL_STAGE_DUMP ? (uint32_t)run->pool->settings.streams : 1;
	record->pool.chunk_bytes = run->pool->settings.chunk_bytes;
	snprintf(record->pool.gpu_name, sizeof(record->pool.gpu_name), "%s", run->gpu_name);
}

/* CRIU lets it go, or ends it, when it has heard of the end of the run. */
static void note_stand(const struct run_process *process, struct process_record *record)
{
	if (process->stands_from)
		process_record_phase(record, PHASE_STAND, process->stands_from,
				     monotonic_nanoseconds() - process->stands_from, 0);
}

static void note_processes(const struct run *run, struct run_record *record)
{
	size_t i;

	record->processes = calloc(run->process_count, sizeof(*record->processes));
	if (!record->processes)
		return;
	record->process_count = run->process_count;
	for (i = 0; i < run->process_count; i++) {
		const struct run_process *process = run->processes[i];

		record->processes[i] = process->record;
		record->processes[i].pid = process->pid;
		note_stand(process, &record->processes[i]);
		if (process->record.mode == POOL_MODE_NONE)
			continue;
		record->device_bytes += process->record.device_bytes;
		record->resident_bytes += process->resident_bytes;
		record->image_bytes += process->image_bytes;
		record->linked_bytes += process->linked_bytes;
	}
}

void run_note_statistics_file(struct run *run)
{
	struct stat status;

	run->statistics_file = 0;
	if (fstatat(run->work, RUN_RECORD_FILE, &status, AT_SYMLINK_NOFOLLOW))
		return;
	run->statistics_file = status.st_ino;
	run->statistics_time = status.st_mtim;
}

/* Each time it is a new file: see run_record_write(). */
static bool somebody_else_has_written(const struct run *run)
{
	struct stat status;

	return fstatat(run->work, RUN_RECORD_FILE, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (status.st_ino != run->statistics_file || status.st_mtim.tv_sec != run->statistics_time.tv_sec ||
		status.st_mtim.tv_nsec != run->statistics_time.tv_nsec);
}

void run_write_statistics(struct run *run, int criu_result, const char *criu_note)
{
	struct run_record record = {
		.dump = run->stage == POOL_STAGE_DUMP,
		.succeeded = criu_result >= 0 && !(run->error.text[0] && run->stage == POOL_STAGE_RESTORE),
		.start = run->hook_time,
		.duration = end_of_run(run) - run->hook_time,
		.overlap = overlap(run),
		.resident_bytes = run->parked_bytes,
	};
	int result;

	/* Its client lives, has lost this pool only, and has ended the run with another one, which knows how. */
	if (run->lost && somebody_else_has_written(run))
		return;
	if (!record.succeeded)
		note_failure(run, criu_result, criu_note, &record);
	snprintf(record.note, sizeof(record.note), "%s", criu_note);
	note_pool(run, &record);
	note_processes(run, &record);
	result = run_record_write(run->work, RUN_RECORD_OF_POOL, &record);
	run_note_statistics_file(run);
	if (result)
		log_warning("Could not write " RUN_RECORD_FILE ": %s", errno_text(-result));
	if (*run->pool->settings.kept_statistics) {
		result = kept_record_write(run->pool->settings.kept_statistics, &record, &run->kept);
		if (result)
			log_warning("Could not keep " RUN_RECORD_FILE " in %s: %s", run->pool->settings.kept_statistics,
				    errno_text(-result));
	}
	run_record_free(&record);
}

void run_after_reply(struct run *run)
{
	if (!run->report_due || run_is_working(run))
		return;
	run_write_statistics(run, run->error_code, "");
	run->report_due = false;
}
