/* SPDX-License-Identifier: MIT */
#include "tests/steps/step.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/steps/raw_calls.h"

#define COUNTERS_MAX 512
#define AGENT_THREAD "rekindle-"	      /* the agent's threads; all others of the application do not count */
#define SCRIPT_ACTION "CRTOOLS_SCRIPT_ACTION" /* what CRIU tells an action script, and nobody else */
#define AGENT_LEFT_ALONE_MS 300

enum role { ROLE_NONE, ROLE_CRIU, ROLE_TASK, ROLE_POOL, ROLE_GUARDIAN, ROLE_SEAL, ROLE_AGENT, ROLE_SCRIPT };

static const char *const role_names[] = {"", "criu", "task", "pool", "guardian", "seal", "agent", "script"};

struct plan {
	unsigned long generation, occurrence;
	long target;
	char images[256], role[16], fault[24], name[96];
};

struct counter {
	char name[96];
	unsigned long count;
};

static const char *folder; /* NULL: not wanted */
static enum role program_role;
static long program_pid, counted_pid;
static struct counter counters[COUNTERS_MAX];
static unsigned long counted_generation;
static atomic_flag counters_lock = ATOMIC_FLAG_INIT;
static __thread enum role thread_role __attribute__((tls_model("initial-exec")));

/* ---- files of the folder ---- */

static void path_of(const char *name, char *path)
{
	snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

static void write_file(const char *name, int flags, const char *text)
{
	char path[PATH_MAX];
	long file;

	path_of(name, path);
	file = RAW(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
	if (file < 0)
		return;
	RAW(SYS_write, file, text, strlen(text));
	RAW(SYS_close, file);
}

static bool read_file(const char *name, char *text, size_t size)
{
	char path[PATH_MAX];
	long file, length;

	path_of(name, path);
	file = RAW(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	length = RAW(SYS_read, file, text, size - 1);
	RAW(SYS_close, file);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return true;
}

static bool file_exists(const char *name)
{
	char path[PATH_MAX];

	path_of(name, path);
	return RAW(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static bool read_plan(struct plan *plan)
{
	char text[1024];

	return read_file("plan", text, sizeof(text)) &&
	       sscanf(text, "%lu %255s %ld %15s %lu %23s %95[^\n]", &plan->generation, plan->images, &plan->target,
		      plan->role, &plan->occurrence, plan->fault, plan->name) == 7;
}

static long read_pid(const char *name)
{
	char text[32];

	return read_file(name, text, sizeof(text)) ? strtol(text, NULL, 10) : 0;
}

/* ---- who we are ---- */

static enum role role_of_program(void)
{
	static const struct {
		const char *program;
		enum role role;
	} roles[] = {{"criu", ROLE_CRIU},
		     {"rekindled", ROLE_POOL},
		     {"rekindle-guard", ROLE_GUARDIAN},
		     {"rekindle-seal", ROLE_SEAL}};
	const char *preloaded = getenv("LD_PRELOAD");

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(program_invocation_short_name, roles[i].program))
			return roles[i].role;
	if (getenv(SCRIPT_ACTION))
		return ROLE_SCRIPT;
	return preloaded && strstr(preloaded, "rekindle-preload") ? ROLE_AGENT : ROLE_NONE;
}

static __attribute__((constructor)) void begin(void)
{
	char text[32];

	folder = getenv("REKINDLE_TEST_STEPS");
	if (!folder)
		return;
	program_pid = counted_pid = RAW(SYS_getpid);
	program_role = role_of_program();
	snprintf(text, sizeof(text), "%ld", program_pid);
	if (program_role == ROLE_CRIU)
		write_file("pid.criu", O_TRUNC, text);
	else if (program_role == ROLE_POOL)
		write_file("pid.pool", O_TRUNC, text);
	else if (program_role == ROLE_SCRIPT && step(getenv(SCRIPT_ACTION)))
		RAW(SYS_exit_group, 1);
}

static enum role role_here(void)
{
	char name[16] = "";

	if (!folder)
		return ROLE_NONE;
	if (program_role == ROLE_CRIU)
		return RAW(SYS_getpid) == program_pid ? ROLE_CRIU : ROLE_TASK;
	if (program_role != ROLE_AGENT)
		return program_role;
	if (thread_role == ROLE_NONE && RAW(SYS_gettid) != RAW(SYS_getpid) && RAW(SYS_prctl, PR_GET_NAME, name) == 0 &&
	    !strncmp(name, AGENT_THREAD, strlen(AGENT_THREAD)))
		thread_role = ROLE_AGENT;
	return thread_role;
}

bool steps_count_here(void)
{
	return role_here() != ROLE_NONE;
}

/* CRIU's own images are many; any of them stands for the others. A GPU image has another id each time. */
static void simplify(char *name)
{
	char *file = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	char *end = strrchr(file, '.');

	bool unfinished = end && !strcmp(end, ".tmp");

	if (!strncmp(file, "rekindle-pages-", strlen("rekindle-pages-")))
		strcpy(file, unfinished ? "data.tmp" : "data");
	else if (!strncmp(file, "rekindle-N-", strlen("rekindle-N-")))
		strcpy(file, unfinished ? "manifest.tmp" : "manifest");
	else if (end && !strcmp(end, ".img") && !strstr(file, "rekindle"))
		strcpy(file, "CRIU's image");
}

bool step_file_name(const char *path, char *name, unsigned int size)
{
	struct plan plan;
	size_t length, used = 0;

	if (!folder || !read_plan(&plan))
		return false;
	length = strlen(plan.images);
	if (strncmp(path, plan.images, length) || path[length] != '/' || strstr(path, ".log"))
		return false;
	path += length + 1;
	while (*path && used + 1 < size) {
		if (*path >= '0' && *path <= '9') {
			name[used++] = 'N';
			path += strspn(path, "0123456789");
		} else {
			name[used++] = *path++;
		}
	}
	name[used] = '\0';
	if (used + sizeof("CRIU's image") < size)
		simplify(name);
	return true;
}

/* ---- counting ---- */

static unsigned long count(const char *name, unsigned long generation)
{
	unsigned long result = 0;
	long pid = RAW(SYS_getpid);

	if (program_role != ROLE_AGENT && pid != counted_pid) {
		/* A child: whoever held the lock is not in it. */
		atomic_flag_clear(&counters_lock);
		counted_pid = pid;
		memset(counters, 0, sizeof(counters));
	}
	while (atomic_flag_test_and_set(&counters_lock))
		;
	if (counted_generation != generation) {
		memset(counters, 0, sizeof(counters));
		counted_generation = generation;
	}
	for (size_t i = 0; i < COUNTERS_MAX && !result; i++) {
		if (!counters[i].name[0])
			snprintf(counters[i].name, sizeof(counters[i].name), "%s", name);
		if (!strcmp(counters[i].name, name))
			result = ++counters[i].count;
	}
	atomic_flag_clear(&counters_lock);
	return result;
}

/* ---- striking ---- */

static bool kill_process(long pid, int signal)
{
	return pid > 0 && RAW(SYS_kill, pid, signal) == 0;
}

/* Returns what step() is to return. */
static int strike(const struct plan *plan, enum role role)
{
	long criu = read_pid("pid.criu"), pool = read_pid("pid.pool");
	const char *fault = plan->fault;
	bool done = true;
	int result = 0;

	if (!strcmp(fault, "fail") || !strcmp(fault, "pool-fail"))
		result = EIO;
	else if (!strcmp(fault, "lost"))
		result = STEP_LOST;
	if (!strcmp(fault, "hang"))
		write_file("hang", 0, "");
	else if (!strcmp(fault, "full"))
		write_file("full", 0, "");
	else if (!strcmp(fault, "criu"))
		done = kill_process(criu, 0);
	else if (!strcmp(fault, "pool") || !strcmp(fault, "pool-fail") || !strcmp(fault, "stop-pool"))
		done = file_exists("pid.pool") && kill_process(pool, 0);
	else if (!strcmp(fault, "both") || !strcmp(fault, "all"))
		done = file_exists("pid.pool") && kill_process(pool, 0);
	else if (!strcmp(fault, "target"))
		done = kill_process(plan->target, 0);
	else if (!strcmp(fault, "agent-ends") || !strcmp(fault, "agent-hangs"))
		write_file(fault, 0, "");
	write_file("reached", O_TRUNC, done ? "done" : "nobody there");

	/* The last one may be ourselves. */
	if (!strcmp(fault, "target"))
		kill_process(plan->target, SIGKILL);
	else if (!strcmp(fault, "stop-pool"))
		kill_process(pool, SIGSTOP);
	else if (!strcmp(fault, "both")) {
		kill_process(role == ROLE_POOL ? criu : pool, SIGKILL);
		kill_process(role == ROLE_POOL ? pool : criu, SIGKILL);
	} else if (!strcmp(fault, "all")) {
		const long own = role == ROLE_POOL ? pool : role == ROLE_AGENT ? plan->target : criu;
		const long victims[] = {pool, plan->target, criu};

		for (size_t i = 0; i < sizeof(victims) / sizeof(victims[0]); i++)
			if (victims[i] != own)
				kill_process(victims[i], SIGKILL);
		kill_process(own, SIGKILL);
	} else if (!strcmp(fault, "pool") || !strcmp(fault, "pool-fail"))
		kill_process(pool, SIGKILL);
	else if (!strcmp(fault, "criu"))
		kill_process(criu, SIGKILL);
	else if (!strcmp(fault, "self"))
		kill_process(RAW(SYS_getpid), SIGKILL);
	return result;
}

static bool claim(void)
{
	char path[PATH_MAX];
	long file;

	path_of("reached", path);
	file = RAW(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (file < 0)
		return false;
	RAW(SYS_close, file);
	return true;
}

static void wait_while(const char *file)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	while (file_exists(file))
		RAW(SYS_nanosleep, &pause, NULL);
}

/* The agent's thread as the fault wants it. */
static void end_or_hang(void)
{
	if (file_exists("agent-ends"))
		RAW(SYS_exit, 0);
	wait_while("agent-hangs");
}

/* Whoever comes after the one that was killed finds it in the middle of its work. */
static void stay_at_work(void)
{
	const struct timespec pause = {.tv_nsec = AGENT_LEFT_ALONE_MS * 1000000};

	RAW(SYS_nanosleep, &pause, NULL);
}

static int any_step(const char *name, bool writes)
{
	enum role role = role_here();
	struct plan plan;
	char line[160];
	unsigned long occurrence;
	int saved = errno, result = 0;

	if (role == ROLE_NONE || !read_plan(&plan))
		return 0;
	if (role == ROLE_AGENT)
		end_or_hang();
	occurrence = count(name, plan.generation);
	snprintf(line, sizeof(line), "%s %lu %s\n", role_names[role], occurrence, name);
	write_file("record", O_APPEND, line);
	if (strcmp(plan.fault, "record") && occurrence == plan.occurrence && !strcmp(plan.name, name) &&
	    !strcmp(plan.role, role_names[role]) && claim()) {
		result = strike(&plan, role);
		wait_while("hang");
		if (role == ROLE_AGENT) {
			end_or_hang();
			stay_at_work();
		}
	}
	if (writes && !result && file_exists("full"))
		result = ENOSPC;
	errno = saved;
	return result;
}

int step(const char *name)
{
	return any_step(name, false);
}

int step_that_writes(const char *name)
{
	return any_step(name, true);
}

__attribute__((visibility("default"))) int rekindle_test_step(const char *name)
{
	return any_step(name, false);
}
