/* SPDX-License-Identifier: MIT */
#include "api/failure.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "api/call/report.h"
#include "api/process_ids.h"
#include "process/process_tree.h"
#include "protocol/agent_protocol.h"

/* What CRIU says about causes that have a code of their own, or a remedy. */
static const struct {
	const char *text;
	int code;
	const char *advice;
} known_causes[] = {
	{"No space left on device", REKINDLE_ERROR_NO_SPACE, "make room on the disk"},
	{"Cannot allocate memory", REKINDLE_ERROR_NO_SPACE, "free memory"},
	{"Timeout reached", REKINDLE_ERROR_TIMEOUT, "allow more time (--timeout)"},
	{"TCP socket in image", REKINDLE_ERROR_CRIU_FAILED,
	 "restore it with the options of the dump: --tcp-established, --tcp-close, or the preset that has them"},
	{"--file-locks", REKINDLE_ERROR_CRIU_FAILED,
	 "give --file-locks, or the preset that has it, to dump and restore"},
	{"--shell-job", REKINDLE_ERROR_CRIU_FAILED, "give --shell-job to dump and restore"},
	{CRIU_LOG_NO_LOOPBACK, REKINDLE_ERROR_CRIU_FAILED, CRIU_LOG_NO_LOOPBACK_ADVICE},
};

/* Likewise, of the images that are read; elsewhere the same words mean other files. */
static const char *const broken_image[] = {"Magic doesn't match for", "Unexpected EOF on"};

/* Of the agent's file, which each process of a checkpoint has mapped: missing, or another build's. */
static const char other_agent[] = "/" AGENT_LIBRARY;

struct cause {
	char text[512];
	int code;
	const char *advice;
};

/* The text becomes the whole line around what was found in it. */
static void take_line(const struct criu_run *run, const char *found, struct cause *cause)
{
	while (found > run->log.lines && found[-1] != '\n')
		found--;
	snprintf(cause->text, sizeof(cause->text), "%.*s", (int)strcspn(found, "\n"), found);
	criu_log_strip(cause->text);
}

/* The line that names a known cause, or else the first error: what follows it in the log is mostly its consequence. */
static void find_cause(const struct criu_run *run, struct cause *cause)
{
	const char *found = NULL;
	size_t i;

	copy_text(cause->text, sizeof(cause->text),
		  run->log.first_error[0] ? run->log.first_error : "it gave no reason");
	cause->code = REKINDLE_ERROR_CRIU_FAILED;
	cause->advice = "see the log";
	for (i = 0; !found && i < sizeof(known_causes) / sizeof(known_causes[0]); i++) {
		found = strstr(run->log.lines, known_causes[i].text);
		if (!found)
			continue;
		cause->code = known_causes[i].code;
		cause->advice = known_causes[i].advice;
		take_line(run, found, cause);
	}
	if (run->restore && !found && (found = strstr(run->log.lines, other_agent))) {
		cause->code = REKINDLE_ERROR_INCOMPATIBLE;
		cause->advice = "a process comes back with that very file of the agent only: put it there again";
		take_line(run, found, cause);
	}
	for (i = 0; run->restore && !found && i < sizeof(broken_image) / sizeof(broken_image[0]); i++) {
		found = strstr(run->log.lines, broken_image[i]);
		if (!found)
			continue;
		cause->code = REKINDLE_ERROR_CORRUPT_IMAGE;
		cause->advice = "the images are not complete: restore another copy, or take the checkpoint again";
		take_line(run, found, cause);
	}
}

void failure_add_log(const struct criu_run *run, struct rekindle_error *error)
{
	if (error)
		snprintf(error->criu_log, sizeof(error->criu_log), "%s", run->log.lines);
}

static int describe_cancelled(const struct criu_run *run, struct rekindle_error *error)
{
	const char *outcome = "the process runs as before";
	struct process_facts facts;

	if (run->restore)
		return report(error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
			      "The restore of %.300s was cancelled; it has changed no image, and no process is left.",
			      run->directory);
	if (process_facts_read(run->pid, &facts) || facts.ending)
		outcome = "the process has ended meanwhile";
	else if (run->left_behind)
		outcome = "the pool has not said in time that the process is as before: see its log";
	else if (strchr("Tt", facts.state) && !run->was_stopped)
		outcome = "the process stands still: the pool's log says why, and how to go on";
	return report(error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
		      "The checkpoint of process %d was cancelled; %s.", run->pid, outcome);
}

/* The restorer does not say which id. One is free again a moment after whoever had it has ended. */
static bool thread_id_in_use(const struct criu_run *run, struct rekindle_error *error)
{
	if (!run->restore || !strstr(run->log.lines, "Unable to create a thread: -17"))
		return false;
	report(error, REKINDLE_ERROR_PID_IN_USE, REKINDLE_PHASE_CRIU,
	       "criu restore of %.120s failed: the id of one of its threads is in use by another process, or by nobody "
	       "any more: try it again (log: %.100s)",
	       run->directory, run->log_path);
	return true;
}

/*
 * CRIU could not have an id: "Can't fork for 123: File exists". It is free again where whoever had it has just ended.
 * REKINDLE_OK where that was not it.
 */
static int id_in_use(const struct criu_run *run, struct rekindle_error *error)
{
	const char *found = run->restore ? strstr(run->log.lines, "Can't fork for ") : NULL;
	char holder[256], why[32];
	int id, code;

	if (!found || sscanf(found, "Can't fork for %d: %31[^\n]", &id, why) != 2 || strcmp(why, "File exists"))
		return REKINDLE_OK;
	code = process_id_holder(id, holder, sizeof(holder));
	return report(error, code, REKINDLE_PHASE_CRIU,
		      "criu restore of %.120s failed: the process id %d is in use by %s (log: %.100s)", run->directory,
		      id, holder[0] ? holder : "nobody any more: try it again", run->log_path);
}

static int describe_criu(const struct criu_run *run, struct rekindle_error *error)
{
	struct cause cause;
	char ending[64];

	if (run->exit_status > 128)
		snprintf(ending, sizeof(ending), "was ended by signal %d", run->exit_status - 128);
	else
		snprintf(ending, sizeof(ending), "failed with exit status %d", run->exit_status);
	find_cause(run, &cause);
	if (run->restore)
		return report(error, cause.code, REKINDLE_PHASE_CRIU,
			      "criu restore of %.120s %s: %.180s (%s; log: %.100s)", run->directory, ending, cause.text,
			      cause.advice, run->log_path);
	return report(error, cause.code, REKINDLE_PHASE_CRIU, "criu dump of process %d %s: %.220s (%s; log: %.120s)",
		      run->pid, ending, cause.text, cause.advice, run->log_path);
}

/* Did the pool fail, or does it merely report that CRIU did? */
static bool is_of_pool(const struct run_report *run_report)
{
	const struct rekindle_statistics *statistics = &run_report->statistics;

	return run_report->present && !statistics->succeeded && statistics->failure[0] &&
	       run_report->phase != REKINDLE_PHASE_CRIU;
}

static int code_of_report(const struct run_report *run_report)
{
	return run_report->errno_code ? code_of_errno(run_report->errno_code) : REKINDLE_ERROR_GPU;
}

int failure_describe(const struct criu_run *run, const struct run_report *run_report, struct rekindle_error *error)
{
	const struct rekindle_statistics *statistics = &run_report->statistics;
	int code;

	if (run->cancelled) {
		code = describe_cancelled(run, error);
	} else if (is_of_pool(run_report)) {
		code = code_of_report(run_report);
		report(error, code, run_report->phase, "%s", statistics->failure);
	} else if ((code = id_in_use(run, error))) {
		/* Said. */
	} else if (thread_id_in_use(run, error)) {
		code = REKINDLE_ERROR_PID_IN_USE;
	} else if (run->log.plugin_error[0]) {
		code = report(error, REKINDLE_ERROR_GPU, REKINDLE_PHASE_NONE, "%s", run->log.plugin_error);
	} else {
		code = describe_criu(run, error);
	}
	failure_add_log(run, error);
	return code;
}
