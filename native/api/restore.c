/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/criu_images.h"
#include "api/environment.h"
#include "api/failure.h"
#include "api/operation.h"
#include "api/process_tree.h"
#include "api/report.h"
#include "api/request.h"
#include "api/run_criu.h"
#include "api/statistics.h"
#include "support/clock.h"
#include "support/log.h"

static int check_image(const char *directory, struct rekindle_error *error)
{
	struct criu_checkpoint checkpoint;
	struct error_text text = {""};
	int result = criu_checkpoint_read(directory, &checkpoint, &text);

	if (result)
		return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
	criu_checkpoint_free(&checkpoint);
	return REKINDLE_OK;
}

/* Takes the pid that CRIU has written, and the file away. 0 where CRIU did not get that far. */
static pid_t take_pid(const char *path)
{
	FILE *stream = fopen(path, "re");
	int pid = 0;

	if (!stream)
		return 0;
	if (fscanf(stream, "%d", &pid) != 1)
		pid = 0;
	fclose(stream);
	unlink(path);
	return pid;
}

/*
 * CRIU up to 4.2 says success when a plugin's last hook failed. So its word is not enough: the GPU part has to have
 * succeeded, and the process has to live.
 */
static int judge(const struct criu_run *run, const struct run_report *run_report, pid_t pid,
		 struct rekindle_error *error)
{
	int result;

	if (run->exit_status || (run_report->present && !run_report->statistics.succeeded))
		return failure_describe(run, run_report, error);
	if (pid <= 0) {
		result = report(error, REKINDLE_ERROR_CRIU_FAILED, REKINDLE_PHASE_CRIU,
				"criu restore of %.300s succeeded but did not say which process it made.",
				run->directory);
	} else if (!process_alive(pid)) {
		result = report(error, REKINDLE_ERROR_CRIU_FAILED, REKINDLE_PHASE_CRIU,
				"The restored process %d ended as soon as it ran%s%.200s: see the log %.150s.", pid,
				run->log.plugin_error[0] ? ": " : "", run->log.plugin_error, run->log_path);
	} else {
		return REKINDLE_OK;
	}
	failure_add_log(run, error);
	return result;
}

static void finish_statistics(const struct criu_run *run, struct run_report *run_report, int result,
			      const struct rekindle_error *error, struct rekindle_statistics *statistics)
{
	struct rekindle_statistics *own = &run_report->statistics;

	own->kind = REKINDLE_RUN_RESTORE;
	own->succeeded = !result;
	own->start = run->start;
	own->duration = monotonic_nanoseconds() - run->start;
	own->restore_threads = run->restore_threads;
	own->host_bytes = criu_pages_bytes(run->directory);
	copy_text(own->criu_version, sizeof(own->criu_version), run->environment->criu.version);
	if (result)
		copy_text(own->failure, sizeof(own->failure), error->message);
	if (statistics)
		*statistics = *own;
}

static int execute(struct criu_run *run, int32_t *pid, struct rekindle_statistics *statistics,
		   struct rekindle_process_statistics *processes, uint32_t capacity, struct rekindle_error *error)
{
	struct run_report run_report = {.present = false};
	struct error_text text = {""};
	pid_t root;
	int result;

	statistics_forget(run->work_directory, REKINDLE_RUN_RESTORE);
	result = criu_run_execute(run, error);
	if (result)
		return result;
	root = take_pid(run->pid_path);
	if (statistics_collect(run->work_directory, REKINDLE_RUN_RESTORE, &run_report, processes, capacity, &text))
		log_warning("%s", text.text);
	result = judge(run, &run_report, root, error);
	/* Only after exit status 0 is the pid surely the restored tree's: after a failure CRIU has killed it, and the
	 * number may be another's by now. */
	if (result && root > 1 && !run->exit_status)
		process_tree_kill(root, true);
	if (!result)
		*pid = root;
	criu_run_last_progress(run, !result, run_report.statistics.device_bytes);
	finish_statistics(run, &run_report, result, error, statistics);
	return result;
}

int rekindle_restore(const struct rekindle_environment *environment, const struct rekindle_restore_request *request,
		     int32_t *pid, struct rekindle_statistics *statistics,
		     struct rekindle_process_statistics *processes, uint32_t capacity, struct rekindle_error *error)
{
	struct criu_run run = {.restore = true, .start = monotonic_nanoseconds()};
	struct run_environment resolved;
	struct rekindle_error own_error;
	int32_t own_pid;
	int result;

	if (!error)
		error = &own_error;
	if (!pid)
		pid = &own_pid;
	*pid = 0;
	if (statistics)
		memset(statistics, 0, sizeof(*statistics));
	result = request_check(request, request ? request->structure_size : 0, sizeof(*request),
			       "rekindle_restore_request", error);
	if (result)
		return result;
	result = request_check_common(request->flags, request->argument_count, request->arguments, error);
	if (result)
		return result;
	if (!operation_begin(request->operation))
		return request_operation_busy(error);
	result = run_environment_resolve(&resolved, environment, error);
	if (result)
		goto out;
	run.environment = &resolved;
	run.flags = request->flags;
	run.log_level = request->log_level;
	run.argument_count = request->argument_count;
	run.arguments = request->arguments;
	run.operation = request->operation;
	result = environment_check_privileges(error);
	if (!result)
		result = criu_run_prepare(&run, request->directory, request->work_directory, request->log_file, error);
	if (!result)
		result = check_image(run.directory, error);
	if (!result)
		result = execute(&run, pid, statistics, processes, capacity, error);
	run_environment_free(&resolved);
out:
	operation_end(request->operation);
	return result;
}
