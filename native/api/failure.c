/* SPDX-License-Identifier: MIT */
#include "api/failure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/report.h"

/* What CRIU says about causes that have a code of their own, or a remedy. */
static const struct {
	const char *text;
	int code;
	const char *advice;
} known_causes[] = {
	{"No space left on device", REKINDLE_ERROR_NO_SPACE, "make room on the disk"},
	{"Cannot allocate memory", REKINDLE_ERROR_NO_SPACE, "free memory"},
	{"Timeout reached", REKINDLE_ERROR_TIMEOUT, "allow more time with timeout_seconds"},
	{"Can't fork for", REKINDLE_ERROR_CRIU_FAILED, "does a process of that id still run? End it first"},
	{"--shell-job", REKINDLE_ERROR_CRIU_FAILED, "use the shell job flag on checkpoint and restore"},
};

/* Likewise, of the images that are read; elsewhere the same words mean other files. */
static const char *const broken_image[] = {"Magic doesn't match for", "Unexpected EOF on"};

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
		copy_text(error->criu_log, sizeof(error->criu_log), run->log.lines);
}

static int describe_cancelled(const struct criu_run *run, struct rekindle_error *error)
{
	if (run->restore)
		return report(error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
			      "The restore of %.300s was cancelled; the image is whole and no process is left.",
			      run->directory);
	return report(
		error, REKINDLE_ERROR_CANCELLED, REKINDLE_PHASE_NONE,
		"The checkpoint of process %d was cancelled; the process goes on, and %.300s holds no checkpoint.",
		run->pid, run->directory);
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
	} else if (is_of_pool(run_report)) {
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
