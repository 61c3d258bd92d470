/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/operation.h"
#include "api/call/report.h"
#include "api/call/request.h"
#include "api/criu/criu_images.h"
#include "api/criu/environment.h"
#include "api/criu/orphans.h"
#include "api/criu/run_criu.h"
#include "api/failure.h"
#include "api/inspect.h"
#include "api/statistics.h"
#include "process/process_tree.h"
#include "support/clock.h"
#include "support/log.h"

static int wrong_process(struct rekindle_error *error, int code, const char *sentence, int32_t pid)
{
	return report(error, code, REKINDLE_PHASE_NONE, "Process %d cannot be checkpointed: %s.", pid, sentence);
}

static int check_process(int32_t pid, bool *stopped, struct rekindle_error *error)
{
	struct process_facts facts;
	int result;

	if (pid < 2)
		return wrong_process(error, REKINDLE_ERROR_INVALID_ARGUMENT,
				     "name the root of a process tree, a number of 2 or more", pid);
	result = process_facts_read(pid, &facts);
	if (result == -ESRCH)
		return wrong_process(error, REKINDLE_ERROR_NO_SUCH_PROCESS, "there is no such process", pid);
	if (result)
		return wrong_process(error, code_of_errno(result), errno_text(-result), pid);
	*stopped = facts.state == 'T';
	if (facts.kernel_thread)
		return wrong_process(error, REKINDLE_ERROR_INVALID_ARGUMENT, "it is a thread of the kernel", pid);
	if (facts.is_thread)
		return wrong_process(error, REKINDLE_ERROR_INVALID_ARGUMENT,
				     "it is a thread: name the process that it belongs to", pid);
	if (facts.state == 'Z' || facts.state == 'X')
		return wrong_process(error, REKINDLE_ERROR_NO_SUCH_PROCESS, "it has ended and waits for its parent",
				     pid);
	if (process_descends_from(getpid(), pid))
		return wrong_process(error, REKINDLE_ERROR_INVALID_ARGUMENT,
				     "it is the calling process or one above it: checkpoint from outside its tree",
				     pid);
	return REKINDLE_OK;
}

static bool leaves_the_tree(const struct rekindle_checkpoint_request *request)
{
	return request->flags & (REKINDLE_LEAVE_RUNNING | REKINDLE_LEAVE_STOPPED);
}

/* What is configured is for trees that end. */
static int32_t effective_park(const struct rekindle_checkpoint_request *request)
{
	return request->park == REKINDLE_PARK_AS_CONFIGURED && leaves_the_tree(request) ? REKINDLE_PARK_FILE
											: request->park;
}

static int check_park(const struct rekindle_checkpoint_request *request, struct rekindle_error *error)
{
	if (request->park <= REKINDLE_PARK_FILE || !leaves_the_tree(request))
		return REKINDLE_OK;
	return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
		      "A tree that is left running or stopped keeps its device memory: leave out park.");
}

/* What was found out about the run goes into the caller's structures, also after a failure. */
static void finish_statistics(const struct criu_run *run, struct run_report *run_report, bool succeeded,
			      struct rekindle_statistics *statistics)
{
	struct rekindle_statistics *own = &run_report->statistics;

	own->kind = REKINDLE_RUN_CHECKPOINT;
	own->succeeded = succeeded;
	own->start = run->start;
	own->duration = monotonic_nanoseconds() - run->start;
	own->restore_threads = -1;
	own->host_bytes = succeeded ? criu_pages_bytes(run->directory) : 0;
	copy_text(own->criu_version, sizeof(own->criu_version), run->environment->criu.version);
	if (statistics)
		*statistics = *own;
}

/* The tree has ended. Its root is its parent's to wait for, and what was below it is nobody's any more. */
static void expect_ended(const struct process_facts *descendants, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		orphans_expect(&descendants[i], false);
	orphans_reap();
}

/* Of what was dumped into the folder last, all zero where nothing was. */
static struct stat inventory_of(const struct criu_run *run)
{
	struct stat status = {0};
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/inventory.img", run->directory);
	if (stat(path, &status))
		memset(&status, 0, sizeof(status));
	return status;
}

/* Its own configuration or an argument may have let criu do something else, which it says was a success. */
static bool nothing_was_dumped(const struct criu_run *run, const struct stat *before)
{
	struct stat now = inventory_of(run);

	return !now.st_ino ||
	       (now.st_dev == before->st_dev && now.st_ino == before->st_ino &&
		now.st_ctim.tv_sec == before->st_ctim.tv_sec && now.st_ctim.tv_nsec == before->st_ctim.tv_nsec);
}

static int execute(struct criu_run *run, struct rekindle_statistics *statistics,
		   struct rekindle_process_statistics *processes, uint32_t capacity, struct rekindle_error *error)
{
	struct run_report run_report = {.present = false};
	struct error_text text = {""};
	struct process_facts *descendants = NULL;
	struct stat before = inventory_of(run);
	size_t count = 0;
	int result;

	statistics_forget(run->work_directory, REKINDLE_RUN_CHECKPOINT);
	if (orphans_come_here())
		descendants = process_descendants(run->pid, &count);
	result = criu_run_execute(run, error);
	if (!result && !run->exit_status && !(run->flags & (REKINDLE_LEAVE_RUNNING | REKINDLE_LEAVE_STOPPED)))
		expect_ended(descendants, count);
	free(descendants);
	if (result)
		return result;
	if (statistics_collect(run->work_directory, REKINDLE_RUN_CHECKPOINT, &run_report, processes, capacity, &text))
		log_warning("%s", text.text);
	if (run->exit_status || (run_report.present && !run_report.statistics.succeeded))
		result = failure_describe(run, &run_report, error);
	else if (nothing_was_dumped(run, &before))
		result = report(
			error, REKINDLE_ERROR_CRIU_FAILED, REKINDLE_PHASE_CRIU,
			"criu ended well, but has written no checkpoint into %.200s: look at criu's configuration "
			"files and the arguments given to it (log: %.200s)",
			run->directory, run->log_path);
	else if (run_report.note[0] && (run->flags & (REKINDLE_LEAVE_RUNNING | REKINDLE_LEAVE_STOPPED)))
		result = report(error, REKINDLE_ERROR_GPU, REKINDLE_PHASE_DRIVER_RESTORE,
				"The checkpoint in %.200s is complete, but process %d was left without its GPU: end it "
				"and restore it from there (%.300s)",
				run->directory, run->pid, run_report.note);
	criu_run_last_progress(run, !result, run_report.statistics.device_bytes);
	finish_statistics(run, &run_report, !result, statistics);
	if (result && statistics && error)
		copy_text(statistics->failure, sizeof(statistics->failure), error->message);
	return result;
}

int rekindle_checkpoint(const struct rekindle_environment *environment,
			const struct rekindle_checkpoint_request *request, struct rekindle_statistics *statistics,
			struct rekindle_process_statistics *processes, uint32_t capacity, struct rekindle_error *error)
{
	struct criu_run run = {.restore = false, .start = monotonic_nanoseconds()};
	struct run_environment resolved;
	struct rekindle_error own_error;
	int result;

	if (!error)
		error = &own_error;
	if (statistics)
		memset(statistics, 0, sizeof(*statistics));
	result = request_check(request, request ? request->structure_size : 0, sizeof(*request),
			       "rekindle_checkpoint_request", error);
	if (result)
		return result;
	result = request_check_dump(request->flags, request->argument_count, request->arguments, error);
	if (!result)
		result = check_park(request, error);
	if (!result)
		result = check_process(request->pid, &run.was_stopped, error);
	if (result)
		return result;
	if (!operation_begin(request->operation))
		return request_operation_busy(error);
	result = run_environment_resolve(&resolved, environment, error);
	if (result)
		goto out;
	run.pid = request->pid;
	run.environment = &resolved;
	run.flags = request->flags;
	run.log_level = request->log_level;
	run.timeout_seconds = request->timeout_seconds;
	run.argument_count = request->argument_count;
	run.arguments = request->arguments;
	run.operation = request->operation;
	result = run_environment_choose_park(&resolved, effective_park(request), error);
	if (!result)
		result = run_environment_choose_parent(&resolved, request->parent, error);
	if (!result)
		result = environment_check_privileges(error);
	if (!result)
		result = criu_run_prepare(&run, request->directory, request->work_directory, request->log_file, error);
	if (!result)
		result = criu_run_check_folder(&run, error);
	if (!result)
		result = inspect_before_dump(&run, environment, error);
	if (!result)
		result = execute(&run, statistics, processes, capacity, error);
	run_environment_free(&resolved);
out:
	operation_end(request->operation);
	return result;
}
