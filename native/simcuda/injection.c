/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "simcuda/functions.h"
#include "simcuda/simcuda.h"
#include "support/clock.h"

/*
 * Rules read "name=CODE" (fail with that result), "name=CODE!" (and break the current context's device for good, see
 * device_break), "name=5ms" / "name=200us" (delay) or "name=held" (until the rules change; a file "*.held" beside the
 * control file says that a call has come that far, "*.held.2" that another one has, and so on), each with "@N" for
 * the Nth call only, or "name=20us+" (a delay during which no other thread of the process gets through one of those,
 * as calls of a real driver have: for benchmarks); commas and line ends separate them. REKINDLE_SIMCUDA_FAIL and
 * REKINDLE_SIMCUDA_DELAY hold such rules, and so does the file that REKINDLE_SIMCUDA_CONTROL names, which is read
 * again whenever it changes: the only way to reach a process that was restored. A rule set is never changed once it
 * is visible, so looking rules up takes no lock.
 */

#define RULES_MAX 64

struct rule {
	char name[56];
	CUresult failure;
	bool breaks;
	uint64_t delay_nanoseconds;
	bool alone; /* the delay */
	bool held;
	unsigned int only_call; /* 0: every call */
	_Atomic unsigned int calls;
};

struct rule_set {
	uint64_t number; /* of those that this process has read */
	unsigned int count;
	struct timespec file_time;
	off_t file_size;
	ino_t file_inode;
	struct rule rules[RULES_MAX];
};

static _Atomic(struct rule_set *) current_rules;

static void report(const char *rule)
{
	fprintf(stderr,
		"SIMULATED GPU: the injection rule \"%s\" is not NAME=CODE[!][@N], NAME=DELAY(ms|us)[@N|+] or NAME=held[@N]; ignored\n",
		rule);
}

static bool is_known(const char *name)
{
#define NAMES(name, symbol, version, kind, arguments) #name, #symbol,
	static const char *const names[] = {SIMCUDA_FUNCTIONS(NAMES)};
#undef NAMES

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

/* What the number is of. Returns what follows. */
static char *take_unit(struct rule *rule, unsigned long number, char *unit)
{
	if (!strncmp(unit, "ms", 2)) {
		rule->delay_nanoseconds = number * 1000000u;
		return unit + 2;
	}
	if (!strncmp(unit, "us", 2)) {
		rule->delay_nanoseconds = number * 1000u;
		return unit + 2;
	}
	rule->failure = (CUresult)number;
	rule->breaks = *unit == '!';
	return unit + rule->breaks;
}

static void add_rule(struct rule_set *set, const char *text)
{
	struct rule *rule = &set->rules[set->count];
	const char *equals = strchr(text, '=');
	unsigned long number;
	char *end;

	if (!equals || equals == text || (size_t)(equals - text) >= sizeof(rule->name) || set->count == RULES_MAX) {
		report(text);
		return;
	}
	memset(rule, 0, sizeof(*rule));
	number = strtoul(equals + 1, &end, 10);
	if (!strncmp(equals + 1, "held", 4)) {
		rule->held = true;
		end += 4;
	} else if (end == equals + 1) {
		goto bad;
	}
	memcpy(rule->name, text, (size_t)(equals - text));
	if (!is_known(rule->name)) {
		/* A test that injects nothing would pass whatever the code does. */
		fprintf(stderr, "SIMULATED GPU: the injection rule \"%s\" names no function of this driver\n", text);
		abort();
	}
	if (!rule->held)
		end = take_unit(rule, number, end);
	if (*end == '+') {
		rule->alone = rule->delay_nanoseconds != 0;
		end++;
	}
	if (*end == '@') {
		rule->only_call = (unsigned int)strtoul(end + 1, &end, 10);
		if (rule->only_call == 0)
			goto bad;
	}
	if (*end)
		goto bad;
	set->count++;
	return;
bad:
	report(text);
}

static void add_rules(struct rule_set *set, const char *text)
{
	char copy[8192], *rest, *rule;

	if (!text)
		return;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *comment = strchr(copy, '#'); comment; comment = strchr(comment, '#'))
		memset(comment, ' ', strcspn(comment, "\n"));
	for (rule = strtok_r(copy, ", \t\r\n", &rest); rule; rule = strtok_r(NULL, ", \t\r\n", &rest))
		add_rule(set, rule);
}

static void add_rules_of_file(struct rule_set *set, const char *path)
{
	char text[8192];
	ssize_t length;
	int descriptor = open(path, O_RDONLY | O_CLOEXEC);

	if (descriptor < 0)
		return;
	length = read(descriptor, text, sizeof(text) - 1);
	close(descriptor);
	if (length < 0)
		return;
	text[length] = '\0';
	add_rules(set, text);
}

static bool is_current(const struct rule_set *set, const struct stat *file)
{
	return set && set->file_time.tv_sec == file->st_mtim.tv_sec &&
	       set->file_time.tv_nsec == file->st_mtim.tv_nsec && set->file_size == file->st_size &&
	       set->file_inode == file->st_ino;
}

/* Old sets stay mapped: another thread may be reading one, and they are few. */
static struct rule_set *load_rules(struct rule_set *old, const char *path, const struct stat *file)
{
	struct rule_set *set = mmap(NULL, sizeof(*set), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (set == MAP_FAILED)
		return old;
	set->number = old ? old->number + 1 : 0;
	set->file_time = file->st_mtim;
	set->file_size = file->st_size;
	set->file_inode = file->st_ino;
	add_rules(set, getenv("REKINDLE_SIMCUDA_FAIL"));
	add_rules(set, getenv("REKINDLE_SIMCUDA_DELAY"));
	if (path)
		add_rules_of_file(set, path);
	if (atomic_compare_exchange_strong(&current_rules, &old, set))
		return set;
	munmap(set, sizeof(*set));
	return old;
}

/* Where a test preloads native/tests/steps: each call is a step of it, which may have to fail. */
extern int rekindle_test_step(const char *name) __attribute__((weak));

static struct rule_set *rules_in_force(void)
{
	const char *path = getenv("REKINDLE_SIMCUDA_CONTROL");
	struct rule_set *set = atomic_load(&current_rules);
	struct stat file = {0};

	if (path && stat(path, &file))
		memset(&file, 0, sizeof(file));
	return is_current(set, &file) ? set : load_rules(set, path, &file);
}

struct injected injection_for_call(const char *name, const char *symbol)
{
	struct rule_set *set = rules_in_force();
	struct injected injected = {0};

	if (rekindle_test_step && rekindle_test_step(symbol))
		injected.failure = CUDA_ERROR_UNKNOWN;
	for (unsigned int i = 0; set && i < set->count; i++) {
		struct rule *rule = &set->rules[i];

		if (strcmp(rule->name, name) && strcmp(rule->name, symbol))
			continue;
		if (atomic_fetch_add(&rule->calls, 1) + 1 != rule->only_call && rule->only_call)
			continue;
		if (rule->failure)
			injected.failure = rule->failure;
		injected.breaks |= rule->breaks;
		if (rule->held)
			injected.delay_nanoseconds = DELAY_HELD | set->number;
		else if (rule->alone)
			injected.alone_nanoseconds += rule->delay_nanoseconds;
		else if (!(injected.delay_nanoseconds & DELAY_HELD))
			injected.delay_nanoseconds += rule->delay_nanoseconds;
	}
	return injected;
}

void sleep_nanoseconds(uint64_t nanoseconds)
{
	struct timespec rest = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
				.tv_nsec = (long)(nanoseconds % 1000000000u)};

	while (nanoseconds && nanosleep(&rest, &rest) && errno == EINTR)
		;
}

static bool are_in_force(uint64_t number)
{
	struct rule_set *set = rules_in_force();

	return set && set->number == number;
}

/* Beside the control file, for whoever waits until a call, or so many, have come this far. Takes no descriptor. */
static void say_that_it_is_held(void)
{
	const char *path = getenv("REKINDLE_SIMCUDA_CONTROL");
	char name[PATH_MAX];
	int number = 1, length;

	if (!path)
		return;
	do {
		length = number == 1 ? snprintf(name, sizeof(name), "%s.held", path)
				     : snprintf(name, sizeof(name), "%s.held.%d", path, number);
		number++;
	} while (length < (int)sizeof(name) && mknod(name, S_IFREG | 0600, 0) && errno == EEXIST);
}

void spend_delay(uint64_t nanoseconds)
{
	if (!(nanoseconds & DELAY_HELD)) {
		sleep_nanoseconds(nanoseconds);
		return;
	}
	if (are_in_force(nanoseconds & ~DELAY_HELD))
		say_that_it_is_held();
	while (are_in_force(nanoseconds & ~DELAY_HELD))
		sleep_nanoseconds(1000000);
}

/* What was slept too long is taken off the next one: of microseconds that is more than they are. */
void sleep_alone(uint64_t nanoseconds)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t surplus;
	uint64_t began;

	if (!nanoseconds)
		return;
	pthread_mutex_lock(&lock);
	began = monotonic_nanoseconds();
	if (nanoseconds > surplus)
		sleep_nanoseconds(nanoseconds - surplus);
	surplus = surplus + (monotonic_nanoseconds() - began);
	surplus = surplus > nanoseconds ? surplus - nanoseconds : 0;
	pthread_mutex_unlock(&lock);
}

static __thread uint64_t stream_delay;

void set_stream_delay(uint64_t nanoseconds)
{
	stream_delay = nanoseconds;
}

uint64_t take_stream_delay(void)
{
	uint64_t nanoseconds = stream_delay;

	stream_delay = 0;
	return nanoseconds;
}
