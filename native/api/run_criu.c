/* SPDX-License-Identifier: MIT */
#include "api/run_criu.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/child_process.h"
#include "api/operation.h"
#include "api/process_tree.h"
#include "api/progress.h"
#include "api/report.h"
#include "support/clock.h"

#define TICK_MS 20
/* Bringing device memory back after a cancelled dump takes the copy's time at most; the pool bounds its own steps. */
#define BACK_AGAIN_MS 60000
#define FIXED_ARGUMENTS 48

struct arguments {
	char *entries[FIXED_ARGUMENTS];
	char numbers[4][16];
	size_t count;
	size_t number_count;
};

static void add(struct arguments *arguments, const char *text)
{
	arguments->entries[arguments->count++] = (char *)(uintptr_t)text;
}

static void add_pair(struct arguments *arguments, const char *option, const char *value)
{
	add(arguments, option);
	add(arguments, value);
}

static const char *number(struct arguments *arguments, const char *format, unsigned int value)
{
	char *text = arguments->numbers[arguments->number_count++];

	snprintf(text, sizeof(arguments->numbers[0]), format, value);
	return text;
}

static void add_flags(struct arguments *arguments, const struct criu_run *run)
{
	static const struct {
		uint32_t flag;
		const char *option;
	} options[] = {
		{REKINDLE_LEAVE_STOPPED, "--leave-stopped"},
		{REKINDLE_SHELL_JOB, "--shell-job"},
		{REKINDLE_TCP_ESTABLISHED, "--tcp-established"},
		{REKINDLE_FILE_LOCKS, "--file-locks"},
		{REKINDLE_LINK_REMAP, "--link-remap"},
		{REKINDLE_EXTERNAL_MASTERS, "--enable-external-masters"},
		{REKINDLE_EXTERNAL_UNIX_SOCKETS, "--ext-unix-sk"},
		{REKINDLE_TCP_CLOSE, "--tcp-close"},
	};
	size_t i;

	if (run->flags & REKINDLE_LEAVE_RUNNING && !run->restore)
		add(arguments, "--leave-running");
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (run->flags & options[i].flag)
			add(arguments, options[i].option);
}

static void add_memory_options(struct arguments *arguments, struct criu_run *run)
{
	static const char *const modes[] = {NULL, "advised", "always", "never"};
	const struct run_environment *environment = run->environment;

	run->restore_threads = -1;
	if (environment->criu.has_restore_threads && environment->restore_threads >= 0) {
		run->restore_threads = environment->restore_threads;
		add_pair(arguments, "--restore-threads", number(arguments, "%u", (unsigned int)run->restore_threads));
	}
	if (environment->criu.has_restore_hugepages && modes[environment->restore_hugepages])
		add_pair(arguments, "--restore-hugepages", modes[environment->restore_hugepages]);
}

static void make_arguments(struct arguments *arguments, struct criu_run *run)
{
	add_pair(arguments, "criu", run->restore ? "restore" : "dump");
	if (run->restore) {
		add(arguments, "--restore-detached");
		add_pair(arguments, "--pidfile", run->pid_path);
		add_memory_options(arguments, run);
	} else {
		add_pair(arguments, "--tree", number(arguments, "%u", (unsigned int)run->pid));
		if (run->timeout_seconds)
			add_pair(arguments, "--timeout", number(arguments, "%u", run->timeout_seconds));
	}
	add_pair(arguments, "--images-dir", run->directory);
	add_pair(arguments, "--work-dir", run->work_directory);
	add_pair(arguments, "--log-file", strrchr(run->log_path, '/') + 1);
	add(arguments, number(arguments, "-v%u", run->log_level ? (unsigned int)run->log_level : 4));
	add_pair(arguments, "--libdir", run->environment->plugin_directory);
	add_flags(arguments, run);
}

/* Fixed arguments, then the caller's, then NULL. The array is to be freed, not what it points to. */
static char **join_arguments(const struct arguments *fixed, const struct criu_run *run)
{
	char **all = calloc(fixed->count + run->argument_count + 1, sizeof(char *));
	uint32_t i;

	if (!all)
		return NULL;
	memcpy(all, fixed->entries, fixed->count * sizeof(char *));
	for (i = 0; i < run->argument_count; i++)
		all[fixed->count + i] = (char *)(uintptr_t)run->arguments[i];
	return all;
}

/* Waits until a signalled child has stopped (or ended). */
static void wait_until_stopped(pid_t pid)
{
	struct process_facts facts;
	int i;

	for (i = 0; i < 1000; i++) {
		if (process_facts_read(pid, &facts) || strchr("TZX", facts.state))
			return;
		usleep(100);
	}
}

static bool waits_for_pool(const struct pool_progress *now)
{
	return now->phase == REKINDLE_PHASE_LOCK ||
	       (now->phase == REKINDLE_PHASE_COPY_OUT && now->bytes_done < now->bytes_total);
}

/*
 * Ends a dump so that the tree goes on. While CRIU waits for the pool the tasks are merely stopped by ptrace, and killing
 * CRIU resumes them. Later their registers may be CRIU's, and a killed CRIU would leave them broken: there, its writes
 * are made to fail instead, and it takes its own way out.
 */
static void cancel_dump(const struct child_process *child, const struct progress_file *progress)
{
	struct pool_progress now = progress_read(progress);

	child_forbid_writes(child);
	if (!waits_for_pool(&now))
		return;
	kill(child->pid, SIGSTOP);
	wait_until_stopped(child->pid);
	now = progress_read(progress);
	kill(child->pid, waits_for_pool(&now) ? SIGKILL : SIGCONT);
}

/* CRIU was killed in a dump: the pool notices and brings everything back. */
static void wait_until_back(const struct criu_run *run, const struct progress_file *progress)
{
	uint64_t end = monotonic_nanoseconds() + BACK_AGAIN_MS * 1000000ull;
	struct pool_progress now = progress_read(progress);

	while (now.phase && !now.ended && monotonic_nanoseconds() < end && process_alive(run->pid)) {
		usleep(2000);
		now = progress_read(progress);
	}
}

static void tell_progress(struct criu_run *run, const struct progress_file *progress)
{
	struct pool_progress now = progress_read(progress);

	if (now.bytes_total) {
		run->bytes_done = now.bytes_done;
		run->bytes_total = now.bytes_total;
		run->phase = (int32_t)now.phase;
	}
	operation_progress(run->operation, now.bytes_done, now.bytes_total,
			   now.phase ? (int32_t)now.phase : REKINDLE_PHASE_CRIU);
}

void criu_run_last_progress(const struct criu_run *run, bool succeeded, uint64_t bytes)
{
	if (succeeded)
		operation_progress(run->operation, bytes, bytes, REKINDLE_PHASE_CRIU);
	else
		operation_progress(run->operation, run->bytes_done, run->bytes_total,
				   run->phase ? run->phase : REKINDLE_PHASE_CRIU);
}

static int wait_for_end(struct criu_run *run, const struct child_process *child, const struct progress_file *progress)
{
	bool cancelling = false;
	int ended;

	while (!(ended = child_wait(child, run->operation ? TICK_MS : -1))) {
		tell_progress(run, progress);
		if (!operation_cancelled(run->operation))
			continue;
		cancelling = true;
		if (run->restore)
			process_tree_kill(child->pid, true);
		else
			cancel_dump(child, progress);
	}
	run->cancelled = cancelling;
	return ended < 0 ? ended : 0;
}

static int watch(struct criu_run *run, struct child_process *child, const struct progress_file *progress,
		 struct rekindle_error *error)
{
	char output[4096];
	size_t length;
	int status = 0;
	int result = wait_for_end(run, child, progress);

	if (!result)
		result = child_reap(child, &status);
	if (result)
		return report(error, REKINDLE_ERROR_INTERNAL, REKINDLE_PHASE_CRIU,
			      "The end of criu could not be observed (%s): no other part of the program may wait for "
			      "all children.",
			      errno_text(-result));
	run->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (!run->exit_status)
		run->cancelled = false; /* it was faster */
	else if (!run->restore && WIFSIGNALED(status))
		wait_until_back(run, progress);
	length = child_output(child, output, sizeof(output));
	/* Before CRIU has opened its log, and where it never starts, its words are on stderr. */
	if ((criu_log_read(run->log_path, &run->log) || !run->log.lines[0]) && run->exit_status) {
		char version[sizeof(run->log.version)];

		copy_text(version, sizeof(version), run->log.version);
		criu_log_parse(output, length, &run->log);
		copy_text(run->log.version, sizeof(run->log.version), version);
	}
	return REKINDLE_OK;
}

int criu_run_execute(struct criu_run *run, struct rekindle_error *error)
{
	struct child_process child = {.pid = -1, .pidfd = -1, .output = -1};
	struct progress_file progress = {.shared = NULL};
	struct arguments fixed = {.count = 0};
	struct child_start start = {
		.program = run->environment->criu.path,
		.variables = run->environment->variables,
		.keep_terminal = run->flags & REKINDLE_SHELL_JOB,
	};
	struct error_text text = {""};
	char **arguments = NULL;
	int result;

	if (operation_cancelled(run->operation)) {
		run->cancelled = true;
		run->exit_status = 128 + SIGKILL;
		return REKINDLE_OK;
	}
	make_arguments(&fixed, run);
	arguments = join_arguments(&fixed, run);
	if (!arguments) {
		result = report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Memory is out.");
		goto out;
	}
	/* What an earlier run left must not be taken for this one's. */
	unlink(run->log_path);
	result = progress_open(&progress, run->work_directory, &text);
	if (result) {
		result = report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
		goto out;
	}
	start.arguments = arguments;
	result = child_start(&child, &start, &text);
	if (result) {
		result = report(error, REKINDLE_ERROR_CRIU_NOT_FOUND, REKINDLE_PHASE_NONE, "%s", text.text);
		goto out;
	}
	result = watch(run, &child, &progress, error);
out:
	child_free(&child);
	progress_close(&progress);
	free(arguments);
	return result;
}
