/* SPDX-License-Identifier: MIT */
#include "api/criu/run_criu.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/call/operation.h"
#include "api/call/report.h"
#include "api/criu/child_process.h"
#include "api/criu/orphans.h"
#include "api/criu/progress.h"
#include "process/process_tree.h"
#include "support/clock.h"

#define TICK_MS 20
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

static void add_dump_threads(struct arguments *arguments, const struct criu_run *run)
{
	const struct run_environment *environment = run->environment;

	if (environment->criu.has_dump_threads && environment->restore_threads >= 0)
		add_pair(arguments, "--dump-threads",
			 number(arguments, "%u", (unsigned int)environment->restore_threads));
}

static void add_restore_options(struct arguments *arguments, struct criu_run *run)
{
	static const char *const modes[] = {NULL, "advised", "always", "never"};
	const struct run_environment *environment = run->environment;

	run->restore_threads = -1;
	if (environment->criu.has_restore_threads && environment->restore_threads >= 0) {
		run->restore_threads = environment->restore_threads;
		add_pair(arguments, "--restore-threads", number(arguments, "%u", (unsigned int)run->restore_threads));
	}
	if (environment->criu.has_restore_hugepages && modes[environment->restore_hugepages])
		add_pair(arguments, "--restore-thp", modes[environment->restore_hugepages]);
}

static void make_arguments(struct arguments *arguments, struct criu_run *run)
{
	add_pair(arguments, "criu", run->restore ? "restore" : "dump");
	if (run->restore) {
		add(arguments, "--restore-detached");
		add_pair(arguments, "--pidfile", run->pid_path);
		add_restore_options(arguments, run);
	} else {
		add_pair(arguments, "--tree", number(arguments, "%u", (unsigned int)run->pid));
		if (run->timeout_seconds)
			add_pair(arguments, "--timeout", number(arguments, "%u", run->timeout_seconds));
		add_dump_threads(arguments, run);
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

static bool waits_for_lock(const struct pool_progress *now)
{
	return now->phase == REKINDLE_PHASE_LOCK;
}

/*
 * Ends a dump so that the tree goes on. The pool ends its part in order, with the threads held, as soon as it is asked. It
 * cannot break off the driver's lock, but tasks are at most stopped by ptrace then, and killing CRIU resumes them. Later
 * their registers may be CRIU's, and a killed CRIU would leave them broken: there, its writes are made to fail, and it
 * takes its own way out.
 */
static void cancel_dump(const struct child_process *child, const struct progress_file *progress)
{
	struct pool_progress now = progress_read(progress);

	child_forbid_writes(child);
	progress_cancel(progress);
	if (!waits_for_lock(&now))
		return;
	kill(child->pid, SIGSTOP);
	process_wait_stopped(child->pid);
	now = progress_read(progress);
	kill(child->pid, waits_for_lock(&now) ? SIGKILL : SIGCONT);
}

static bool has_variable(pid_t pid, const char *variable)
{
	char path[64];
	char *entry = NULL;
	size_t capacity = 0;
	bool found = false;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	stream = fopen(path, "re");
	while (stream && !found && getdelim(&entry, &capacity, '\0', stream) > 0)
		found = !strcmp(entry, variable);
	if (stream)
		fclose(stream);
	free(entry);
	return found;
}

/*
 * The pool that CRIU's plugin starts for a run is nobody's child, and so this program's where it inherits those; and with
 * the death of a pool its guardian, which no program starts for itself.
 */
static void expect_orphans(const struct criu_run *run)
{
	struct process_facts *children;
	size_t count;
	size_t i;

	if (!orphans_come_here())
		return;
	children = process_children(getpid(), &count);
	for (i = 0; i < count; i++)
		if (!strcmp(children[i].name, "rekindle-guard") ||
		    (!strcmp(children[i].name, "rekindled") &&
		     has_variable(children[i].process, run->environment->mark)))
			orphans_expect(&children[i], false);
	free(children);
}

/*
 * CRIU was killed in a dump: the pool notices and brings everything back. Returns whether it says that it is done. The
 * operator's time limit counts from the last progress.
 */
static bool wait_until_back(const struct criu_run *run, const struct progress_file *progress)
{
	uint64_t limit = run->environment->timeout_seconds * 1000000000ull;
	uint64_t last = monotonic_nanoseconds();
	struct pool_progress now = progress_read(progress);
	struct pool_progress before = now;

	while (now.phase && !now.ended && process_alive(run->pid)) {
		if (monotonic_nanoseconds() - last > limit)
			return false;
		usleep(2000);
		expect_orphans(run);
		now = progress_read(progress);
		if (memcmp(&now, &before, sizeof(now)))
			last = monotonic_nanoseconds();
		before = now;
	}
	return true;
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

	while (!(ended = child_wait(child, run->operation || orphans_come_here() ? TICK_MS : -1))) {
		tell_progress(run, progress);
		expect_orphans(run);
		if (!operation_cancelled(run->operation))
			continue;
		cancelling = true;
		if (run->restore)
			process_tree_kill(child->pid, true);
		else
			cancel_dump(child, progress);
	}
	expect_orphans(run);
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
		run->left_behind = !wait_until_back(run, progress);
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
	struct process_facts facts;
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
		result = report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
		goto out;
	}
	/* What an earlier run left must not be taken for this one's. */
	unlink(run->log_path);
	result = progress_open(&progress, run->work_directory, run_environment_name(run->environment), &text);
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
	run->criu_born = process_facts_read(child.pid, &facts) ? 0 : facts.start_time;
	result = watch(run, &child, &progress, error);
out:
	child_free(&child);
	progress_close(&progress);
	free(arguments);
	return result;
}
