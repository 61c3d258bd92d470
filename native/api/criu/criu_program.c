/* SPDX-License-Identifier: MIT */
#include "api/criu/criu_program.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/criu/child_process.h"
#include "api/criu/criu_log.h"
#include "support/layout.h"

#define OLDEST_MAJOR 4
#define OLDEST_MINOR 1
#define CACHE_ENTRIES 8

/* Where criu is installed when PATH, as that of a service often does, leaves out the system folders. */
static const char system_folders[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct cache_entry {
	struct criu_program program;
	struct timespec modified;
	ino_t inode;
	off_t size;
};

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cache_entry cache[CACHE_ENTRIES];
static unsigned int cache_next;

static bool is_program(const char *path, struct stat *status)
{
	return !stat(path, status) && S_ISREG(status->st_mode) && !access(path, X_OK);
}

static bool search(char *path, const char *folders, struct stat *status)
{
	while (folders && *folders) {
		size_t length = strcspn(folders, ":");

		if (length && snprintf(path, PATH_MAX, "%.*s/criu", (int)length, folders) < PATH_MAX &&
		    is_program(path, status))
			return true;
		folders += length + (folders[length] == ':');
	}
	return false;
}

static int find(char *path, const char *given, struct stat *status, struct rekindle_error *error)
{
	const char *origin = "";

	if (!given || !*given) {
		given = getenv("REKINDLE_CRIU");
		origin = " (from REKINDLE_CRIU)";
	}
	if ((!given || !*given) && layout_find(LAYOUT_CRIU, path) && is_program(path, status))
		return REKINDLE_OK;
	if (!given || !*given || !strcmp(given, "system") || !strcmp(given, "criu")) {
		if (search(path, getenv("PATH"), status) || search(path, system_folders, status))
			return REKINDLE_OK;
		return report(error, REKINDLE_ERROR_CRIU_NOT_FOUND, REKINDLE_PHASE_NONE,
			      "No criu program was found: install CRIU 4.1 or newer, put it into PATH or name it in "
			      "REKINDLE_CRIU.");
	}
	if (snprintf(path, PATH_MAX, "%s", given) >= PATH_MAX || !is_program(path, status))
		return report(error, REKINDLE_ERROR_CRIU_NOT_FOUND, REKINDLE_PHASE_NONE,
			      "%.300s%s is not a program that can be run: name a criu program, version 4.1 or newer.",
			      given, origin);
	return REKINDLE_OK;
}

static int run(const struct criu_program *program, const char *first, const char *second, char *output, size_t capacity,
	       struct error_text *text)
{
	char *arguments[] = {(char *)(uintptr_t)program->path, (char *)(uintptr_t)first, (char *)(uintptr_t)second,
			     NULL};
	const struct child_start start = {.program = program->path, .arguments = arguments, .variables = environ};

	return child_run(&start, output, capacity, text);
}

static int ask(struct criu_program *program, struct rekindle_error *error)
{
	struct error_text text = {"it printed no version"};
	static const char mark[] = "Version: ";
	unsigned int major = 0, minor = 0;
	const char *version;
	char output[32768];

	if (run(program, "--version", NULL, output, sizeof(output), &text) < 0 || !(version = strstr(output, mark)) ||
	    sscanf(version + strlen(mark), "%u.%u", &major, &minor) < 1)
		return report(error, REKINDLE_ERROR_CRIU_NOT_FOUND, REKINDLE_PHASE_NONE,
			      "%.200s does not run as a criu program (%.120s): name another one. It said: %.100s",
			      program->path, text.text, output);
	version += strlen(mark);
	snprintf(program->version, sizeof(program->version), "%.*s", (int)strcspn(version, " \n"), version);
	if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
		return report(error, REKINDLE_ERROR_INCOMPATIBLE, REKINDLE_PHASE_NONE,
			      "%.300s is CRIU %s; version %d.%d or newer is needed.", program->path, program->version,
			      OLDEST_MAJOR, OLDEST_MINOR);
	/* Usage goes to stdout and the exit status says nothing. */
	if (run(program, "restore", "--help", output, sizeof(output), &text) >= 0) {
		program->has_dump_threads = strstr(output, "--dump-threads");
		program->has_restore_threads = strstr(output, "--restore-threads");
		program->has_restore_hugepages = strstr(output, "--restore-thp");
	}
	return REKINDLE_OK;
}

static bool cached(struct criu_program *program, const struct stat *status)
{
	unsigned int i;

	for (i = 0; i < CACHE_ENTRIES; i++) {
		const struct cache_entry *entry = &cache[i];

		if (!strcmp(entry->program.path, program->path) && entry->inode == status->st_ino &&
		    entry->size == status->st_size && entry->modified.tv_sec == status->st_mtim.tv_sec &&
		    entry->modified.tv_nsec == status->st_mtim.tv_nsec) {
			*program = entry->program;
			return true;
		}
	}
	return false;
}

int criu_program_find(struct criu_program *program, const char *given, struct rekindle_error *error)
{
	struct cache_entry *entry;
	struct stat status;
	int result;

	memset(program, 0, sizeof(*program));
	result = find(program->path, given, &status, error);
	if (result)
		return result;
	/* Held while the program runs, so that many threads that begin at once ask it once. */
	pthread_mutex_lock(&cache_lock);
	if (!cached(program, &status)) {
		result = ask(program, error);
		if (!result) {
			entry = &cache[cache_next++ % CACHE_ENTRIES];
			entry->program = *program;
			entry->modified = status.st_mtim;
			entry->inode = status.st_ino;
			entry->size = status.st_size;
		}
	}
	pthread_mutex_unlock(&cache_lock);
	return result;
}

int criu_program_check(const struct criu_program *program, struct rekindle_error *error)
{
	struct error_text text = {""};
	char output[4096] = "";
	int status = run(program, "check", NULL, output, sizeof(output), &text);
	bool no_loopback = strstr(output, CRIU_LOG_NO_LOOPBACK);
	size_t length = strlen(output);

	if (status == 0)
		return REKINDLE_OK;
	while (length && output[length - 1] == '\n')
		output[--length] = '\0';
	report(error, REKINDLE_ERROR_CRIU_FAILED, REKINDLE_PHASE_CRIU,
	       "'criu check' fails with %.200s, version %s, on this kernel: %s. It said: %.200s", program->path,
	       program->version, no_loopback ? CRIU_LOG_NO_LOOPBACK_ADVICE : "use a newer CRIU",
	       no_loopback	       ? CRIU_LOG_NO_LOOPBACK
	       : status < 0	       ? text.text
	       : strrchr(output, '\n') ? strrchr(output, '\n') + 1
				       : output);
	if (error)
		snprintf(error->criu_log, sizeof(error->criu_log), "%s", output);
	return REKINDLE_ERROR_CRIU_FAILED;
}
