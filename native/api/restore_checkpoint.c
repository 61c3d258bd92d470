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
#include "api/process_ids.h"
#include "api/statistics.h"
#include "process/process_tree.h"
#include "support/clock.h"
#include "support/log.h"

static int read_image(const char *directory, struct criu_checkpoint *checkpoint, struct rekindle_error *error)
{
	struct error_text text = {""};
	int result = criu_checkpoint_read(directory, checkpoint, &text);

	return result ? report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text) : REKINDLE_OK;
}

/* What runs is waited for when it ends, where nobody else can. */
static void expect_tree(pid_t root)
{
	struct process_facts facts;
	struct process_facts *descendants;
	size_t count;
	size_t i;

	if (!orphans_come_here() || process_facts_read(root, &facts) || facts.parent != getpid())
		return;
	orphans_expect(&facts, true);
	descendants = process_descendants(root, &count);
	for (i = 0; i < count; i++)
		orphans_expect(&descendants[i], false);
	free(descendants);
}

/*
 * A restore that fails kills what it has made, and nobody waits for that. What is ours by id, by the time of its birth and
 * by name is no child that the program started itself. Its parent in the tree may not have ended with all its threads yet.
 */
static void expect_remains(const struct criu_run *run, const struct criu_checkpoint *checkpoint)
{
	struct process_facts facts;
	size_t i;

	for (i = 0; orphans_come_here() && checkpoint->shares_pid_namespace && i < checkpoint->process_count; i++) {
		const struct criu_process *process = &checkpoint->processes[i];

		if (!process_facts_read(process->pid, &facts) &&
		    (facts.parent == getpid() || facts.parent == process->parent_pid) && facts.ending &&
		    facts.start_time >= run->criu_born &&
		    (!strcmp(facts.name, "criu") || !strcmp(facts.name, process->name)))
			orphans_expect(&facts, false);
	}
	orphans_reap();
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

static int execute(struct criu_run *run, const struct criu_checkpoint *checkpoint, int32_t *pid,
		   struct rekindle_statistics *statistics, struct rekindle_process_statistics *processes,
		   uint32_t capacity, struct rekindle_error *error)
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
	if (result) {
		expect_remains(run, checkpoint);
	} else {
		expect_tree(root);
		*pid = root;
	}
	criu_run_last_progress(run, !result, run_report.statistics.device_bytes);
	finish_statistics(run, &run_report, result, error, statistics);
	return result;
}

int rekindle_restore(const struct rekindle_environment *environment, const struct rekindle_restore_request *request,
		     int32_t *pid, struct rekindle_statistics *statistics,
		     struct rekindle_process_statistics *processes, uint32_t capacity, struct rekindle_error *error)
{
	struct criu_run run = {.restore = true, .start = monotonic_nanoseconds()};
	struct criu_checkpoint checkpoint = {.processes = NULL};
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
	result = run_environment_choose_gpus(&resolved, request->device_map, error);
	if (!result)
		result = environment_check_privileges(error);
	if (!result)
		result = criu_run_prepare(&run, request->directory, request->work_directory, request->log_file, error);
	if (!result)
		result = criu_run_check_folder(&run, error);
	if (!result)
		result = read_image(run.directory, &checkpoint, error);
	if (!result)
		result = process_ids_check(&checkpoint, run.directory, error);
	if (!result)
		result = execute(&run, &checkpoint, pid, statistics, processes, capacity, error);
	criu_checkpoint_free(&checkpoint);
	run_environment_free(&resolved);
out:
	operation_end(request->operation);
	return result;
}
