/* SPDX-License-Identifier: MIT */
#include "api/failure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/report.h"

/* What CRIU says about causes that have a code of their own. */
static const struct {
	const char *text;
	int code;
	const char *advice;
} known_causes[] = {
	{ "No space left on device", REKINDLE_ERROR_NO_SPACE, "make room on the disk" },
	{ "Cannot allocate memory", REKINDLE_ERROR_NO_SPACE, "free memory" },
	{ "Timeout reached", REKINDLE_ERROR_TIMEOUT, "allow more time with timeout_seconds" },
	{ "File exists", REKINDLE_ERROR_CRIU_FAILED, "a process of the image's id may still run: end it first" },
	{ "Unable to open", REKINDLE_ERROR_CORRUPT_IMAGE, "the images are not complete: take the checkpoint again" },
	{ "Operation not permitted", REKINDLE_ERROR_PERMISSION, "run as root" },
	{ "--shell-job", REKINDLE_ERROR_CRIU_FAILED, "use the shell job flag on checkpoint and restore" },
};

static const char *cause_of(const struct criu_run *run, int *code)
{
	size_t i;

	for (i = 0; i < sizeof(known_causes) / sizeof(known_causes[0]); i++) {
		if (!strstr(run->log.first_error, known_causes[i].text))
			continue;
		*code = known_causes[i].code;
		return known_causes[i].advice;
	}
	*code = REKINDLE_ERROR_CRIU_FAILED;
	return "see the log";
}

void failure_add_log(const struct criu_run *run, struct rekindle_error *error)
{
	if (error)
		copy_text(error->criu_log, sizeof(error->criu_log), run->log.lines);
}

static int describe_cancelled(const struct criu_run *run, struct rekindle_error *error)
{
	if (run->restore)
		return report(error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
			      "The restore of %.300s was cancelled; the image is whole and no process is left.",
			      run->directory);
	return report(error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
		      "The checkpoint of process %d was cancelled; the process goes on, and %.300s holds no checkpoint.",
		      run->pid, run->directory);
}

static int describe_criu(const struct criu_run *run, struct rekindle_error *error)
{
	char ending[64];
	const char *advice;
	int code;

	if (run->exit_status > 128)
		snprintf(ending, sizeof(ending), "was ended by signal %d", run->exit_status - 128);
	else
		snprintf(ending, sizeof(ending), "failed with exit status %d", run->exit_status);
	advice = cause_of(run, &code);
	if (run->restore)
		return report(error, code, REKINDLE_PHASE_CRIU, "criu restore of %.120s %s: %.180s (%s; log: %.100s)",
			      run->directory, ending, run->log.first_error[0] ? run->log.first_error : "it gave no reason",
			      advice, run->log_path);
	return report(error, code, REKINDLE_PHASE_CRIU, "criu dump of process %d %s: %.220s (%s; log: %.120s)", run->pid,
		      ending, run->log.first_error[0] ? run->log.first_error : "it gave no reason", advice,
		      run->log_path);
}

static int code_of_report(const struct run_report *run_report)
{
	/* Before anything was copied the only file that can be missing is the driver's library. */
	if (run_report->errno_code == -ENOENT && run_report->phase <= REKINDLE_PHASE_START)
		return REKINDLE_ERROR_NO_DRIVER;
	return run_report->errno_code ? code_of_errno(run_report->errno_code) : REKINDLE_ERROR_GPU;
}

int failure_describe(const struct criu_run *run, const struct run_report *run_report, struct rekindle_error *error)
{
	const struct rekindle_statistics *statistics = &run_report->statistics;
	int code;

	if (run->cancelled) {
		code = describe_cancelled(run, error);
	} else if (run_report->present && !statistics->succeeded && statistics->failure[0]) {
		code = code_of_report(run_report);
		report(error, code, run_report->phase, "%s", statistics->failure);
	} else if (run->log.plugin_error[0]) {
		code = report(error, REKINDLE_ERROR_GPU, REKINDLE_PHASE_NONE, "%s", run->log.plugin_error);
	} else {
		code = describe_criu(run, error);
	}
	failure_add_log(run, error);
	return code;
}
