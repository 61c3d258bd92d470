/* SPDX-License-Identifier: MIT */
#include "settings/settings.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings/device_map.h"
#include "settings/file_trust.h"

#define DEFAULT_CONFIGURATION "/etc/rekindle.conf"
#define SECTION "rekindle"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

enum kind { KIND_SWITCH, KIND_NUMBER, KIND_SIZE, KIND_PATH };

struct setting {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t lowest, highest, multiple; /* numbers and sizes */
	size_t capacity;		    /* paths */
	bool may_be_empty;		    /* paths */
	bool absolute;			    /* paths: of a file that processes with other current folders share */
};

#define SWITCH(name, member, ...) {name, KIND_SWITCH, offsetof(struct settings, member), 0, 1, 1, 0, false, false},
#define NUMBER(name, member, lowest, highest, ...) \
	{name, KIND_NUMBER, offsetof(struct settings, member), lowest, highest, 1, 0, false, false},
#define SIZE(name, member, lowest, highest, multiple, ...) \
	{name,                                             \
	 KIND_SIZE,                                        \
	 offsetof(struct settings, member),                \
	 (lowest) * MIB,                                   \
	 (highest) * MIB,                                  \
	 (multiple) ? (multiple) * MIB : 1,                \
	 0,                                                \
	 false,                                            \
	 false},
#define PATH(name, member, capacity, may_be_empty, absolute, ...) \
	{name, KIND_PATH, offsetof(struct settings, member), 0, 0, 0, capacity, may_be_empty, absolute},

static const struct setting known_settings[] = {SETTINGS(SWITCH, NUMBER, SIZE, PATH)};
#define SETTING_COUNT (sizeof(known_settings) / sizeof(known_settings[0]))

/* Names of other parts, which this one neither reads nor complains about. A name that ends in _ stands for a family. */
static const char *const other_names[] = {
	"REKINDLE_CONFIGURATION", /* this file's own */
	"REKINDLE_SEAL_ORDER",	  /* from the plugin to rekindle-seal */
	"REKINDLE_SIMCUDA_",	  /* the simulated driver */
	"REKINDLE_AGENT",	  /* the preloaded agent */
	"REKINDLE_AGENT_MINIMUM", "REKINDLE_AGENT_IO_URING",
	"REKINDLE_CRIU",    /* which criu to run: C API, tests, scripts */
	"REKINDLE_LIBRARY", /* which librekindle.so: Java */
	"REKINDLE_HOME",    /* where Rekindle is installed: Java, scripts */
	"REKINDLE_BUILD_",  /* build and demonstration scripts */
	"REKINDLE_DEMO_",   /* demonstration */
	"REKINDLE_TEST_",   /* tests */
};

/* Which setting came from where; the environment wins whatever the order of the file. */
struct loading {
	struct settings *settings;
	const char *path;
	bool ring_given;
	int code;
	int line;
	bool too_long;
	FILE *file;
	struct error_text *error;
};

static const struct setting *find_setting(const char *name)
{
	for (size_t index = 0; index < SETTING_COUNT; index++)
		if (!strcmp(known_settings[index].name, name))
			return &known_settings[index];
	return NULL;
}

static bool belongs_to_another_part(const char *name)
{
	for (size_t index = 0; index < sizeof(other_names) / sizeof(other_names[0]); index++) {
		size_t length = strlen(other_names[index]);

		if (other_names[index][length - 1] == '_' ? !strncmp(name, other_names[index], length)
							  : !strcmp(name, other_names[index]))
			return true;
	}
	return false;
}

/* "12", or with sizes "12K", "12M", "12G". No sign, no blanks, no overflow. */
static int parse_number(const char *text, bool with_unit, uint64_t *number)
{
	uint64_t value = 0, unit = 1;
	const char *at = text;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return -ERANGE;
	if (with_unit && *at) {
		switch (*at++) {
		case 'K':
		case 'k':
			unit = KIB;
			break;
		case 'M':
		case 'm':
			unit = MIB;
			break;
		case 'G':
		case 'g':
			unit = GIB;
			break;
		default:
			return -EINVAL;
		}
	}
	if (*at)
		return -EINVAL;
	return __builtin_mul_overflow(value, unit, number) ? -ERANGE : 0;
}

static void describe_size(uint64_t bytes, char *text, size_t capacity)
{
	if (bytes % GIB == 0)
		snprintf(text, capacity, "%" PRIu64 "G", bytes / GIB);
	else
		snprintf(text, capacity, "%" PRIu64 "M", bytes / MIB);
}

/* A name without a slash is searched for, where that is allowed. */
static bool is_relative(const struct setting *setting, const char *value)
{
	return *value && *value != '/' && (setting->absolute || strchr(value, '/'));
}

static int bad_value(struct error_text *error, const struct setting *setting, const char *value, const char *where)
{
	char lowest[24], highest[24], multiple[24];

	switch (setting->kind) {
	case KIND_SWITCH:
		return fail(error, -EINVAL, "%s=%s (%s) is not valid: set it to 0 or 1", setting->name, value, where);
	case KIND_NUMBER:
		return fail(error, -EINVAL, "%s=%s (%s) is not valid: set it to a number from %" PRIu64 " to %" PRIu64,
			    setting->name, value, where, setting->lowest, setting->highest);
	case KIND_SIZE:
		describe_size(setting->lowest, lowest, sizeof(lowest));
		describe_size(setting->highest, highest, sizeof(highest));
		describe_size(setting->multiple, multiple, sizeof(multiple));
		if (setting->multiple > 1)
			return fail(error, -EINVAL,
				    "%s=%s (%s) is not valid: set it to a size from %s to %s, a multiple of %s",
				    setting->name, value, where, lowest, highest, multiple);
		return fail(error, -EINVAL, "%s=%s (%s) is not valid: set it to a size from %s to %s", setting->name,
			    value, where, lowest, highest);
	case KIND_PATH:
		break;
	}
	if (!*value)
		return fail(error, -EINVAL, "%s (%s) is empty: set it to a path, or leave it out", setting->name,
			    where);
	if (is_relative(setting, value))
		return fail(error, -EINVAL,
			    "%s=%s (%s) is not valid: set it to an absolute path, as CRIU changes to its work folder",
			    setting->name, value, where);
	return fail(error, -EINVAL, "%s (%s) is too long: it has at most %zu characters", setting->name, where,
		    setting->capacity - 1);
}

static int set_value(struct settings *settings, const struct setting *setting, const char *value, const char *where,
		     struct error_text *error)
{
	char *member = (char *)settings + setting->offset;
	uint64_t number = 0;

	if (setting->kind == KIND_PATH) {
		size_t length = strlen(value);

		if ((!length && !setting->may_be_empty) || length >= setting->capacity || is_relative(setting, value))
			return bad_value(error, setting, value, where);
		memcpy(member, value, length + 1);
		return 0;
	}
	if (parse_number(value, setting->kind == KIND_SIZE, &number) || number < setting->lowest ||
	    number > setting->highest || number % setting->multiple)
		return bad_value(error, setting, value, where);
	if (setting->kind == KIND_SWITCH)
		*(bool *)member = number != 0;
	else if (setting->kind == KIND_NUMBER)
		*(unsigned int *)member = (unsigned int)number;
	else
		*(size_t *)member = (size_t)number;
	return 0;
}

static int unknown_name(struct error_text *error, const char *name, const char *where)
{
	return fail(error, -EINVAL, "%s (%s) is not a setting of Rekindle: correct the name or remove it", name, where);
}

/* For inih: 1 goes on, 0 stops counting this line as good. Only the first mistake is kept. */
static int take_entry(void *context, const char *section, const char *name, const char *value)
{
	struct loading *loading = context;
	const struct setting *setting;

	if (loading->code)
		return 0;
	if (strcmp(section, SECTION)) {
		loading->code = fail(loading->error, -EINVAL,
				     "%s has %s in section [%s]: settings stand in section [" SECTION "]",
				     loading->path, name, section);
		return 0;
	}
	setting = find_setting(name);
	if (!setting)
		loading->code = unknown_name(loading->error, name, loading->path);
	else
		loading->code = set_value(loading->settings, setting, value, loading->path, loading->error);
	if (setting && !strcmp(setting->name, "REKINDLE_RING_SIZE"))
		loading->ring_given = true;
	return loading->code == 0;
}

/* inih cuts a line that is longer than its buffer into two; a path cut in two must not pass for a short one. */
static char *read_line(char *line, int capacity, void *context)
{
	struct loading *loading = context;

	if (loading->too_long || !fgets(line, capacity, loading->file))
		return NULL;
	loading->line++;
	if (!strchr(line, '\n') && !feof(loading->file)) {
		loading->too_long = true;
		return NULL;
	}
	return line;
}

static int load_file(struct loading *loading, bool must_exist)
{
	int code, line;

	loading->file = file_trust_open(loading->path, &code, loading->error);
	if (!loading->file)
		return code == -ENOENT && !must_exist ? 0 : code;
	line = ini_parse_stream(read_line, loading, take_entry, loading);
	if (!loading->code && loading->too_long)
		loading->code =
			fail(loading->error, -EINVAL, "%s line %d is too long: set it in the environment instead",
			     loading->path, loading->line);
	else if (!loading->code && ferror(loading->file))
		loading->code = fail(loading->error, -EINVAL,
				     "cannot read the settings file %s: it is no readable file", loading->path);
	else if (!loading->code && line)
		loading->code = fail(loading->error, -EINVAL,
				     "%s line %d is not a [section], a name = value or a comment", loading->path, line);
	fclose(loading->file);
	return loading->code;
}

static int load_environment(struct loading *loading)
{
	for (char **entry = environ; entry && *entry; entry++) {
		const char *equals = strchr(*entry, '=');
		const struct setting *setting;
		char name[64];
		size_t length = equals ? (size_t)(equals - *entry) : 0;
		int code;

		if (!equals || (strncmp(*entry, "REKINDLE_", 9) && strncmp(*entry, "CRIU_CUDA_", 10)))
			continue;
		if (length >= sizeof(name))
			length = sizeof(name) - 1; /* no setting is that long: unknown, named as far as it fits */
		memcpy(name, *entry, length);
		name[length] = '\0';
		if (belongs_to_another_part(name))
			continue;
		setting = find_setting(name);
		if (!setting)
			return unknown_name(loading->error, name, "in the environment");
		code = set_value(loading->settings, setting, equals + 1, "in the environment", loading->error);
		if (code)
			return code;
		if (!strcmp(setting->name, "REKINDLE_RING_SIZE"))
			loading->ring_given = true;
	}
	return 0;
}

static unsigned int default_streams(void)
{
	cpu_set_t cores;
	int count = 1;

	if (!sched_getaffinity(0, sizeof(cores), &cores))
		count = CPU_COUNT(&cores);
	return count > 16 ? 16 : (unsigned int)count;
}

static int check_device_map(const struct settings *settings, struct error_text *error)
{
	struct error_text why;
	struct device_map map;

	static_assert(sizeof(settings->device_map) == DEVICE_MAP_TEXT_MAX,
		      "the setting and the requests are of one size");
	if (device_map_parse(settings->device_map, &map, &why))
		return fail(error, -EINVAL, "REKINDLE_DEVICE_MAP=%.200s is not valid: %s", settings->device_map,
			    why.text);
	return 0;
}

static int check_park(const struct settings *settings, struct error_text *error)
{
	if (!strcmp(settings->park, PARK_FILE) || !strcmp(settings->park, PARK_DEVICE) ||
	    !strcmp(settings->park, PARK_PINNED) || !strcmp(settings->park, PARK_EPHEMERAL))
		return 0;
	return fail(error, -EINVAL,
		    "REKINDLE_PARK=%s is not valid: set it to " PARK_FILE ", " PARK_DEVICE ", " PARK_PINNED
		    " or " PARK_EPHEMERAL,
		    settings->park);
}

/* The folder of the dump is looked at in any case, so that nothing and none are different things. */
static int check_parent(const struct settings *settings, struct error_text *error)
{
	if (!*settings->parent || settings->parent[0] == '/' || !strcmp(settings->parent, PARENT_NONE))
		return 0;
	return fail(error, -EINVAL,
		    "REKINDLE_PARENT=%s is not valid: set it to the absolute path of a folder, or to " PARENT_NONE,
		    settings->parent);
}

int settings_load(struct settings *settings, const char *configuration_path, struct error_text *error)
{
	struct loading loading = {.settings = settings, .path = configuration_path, .error = error};
	bool must_exist;
	int code;

	*settings = (struct settings){
#define DEFAULT_SWITCH(name, member, otherwise, ...) .member = (otherwise),
#define DEFAULT_NUMBER(name, member, lowest, highest, otherwise, ...) .member = (otherwise),
#define DEFAULT_SIZE(name, member, lowest, highest, multiple, otherwise, ...) .member = (otherwise) * MIB,
#define DEFAULT_PATH(name, member, capacity, may_be_empty, absolute, otherwise, ...) .member = otherwise,
		SETTINGS(DEFAULT_SWITCH, DEFAULT_NUMBER, DEFAULT_SIZE, DEFAULT_PATH)};
	settings->streams = default_streams();
	if (!loading.path) {
		loading.path = getenv("REKINDLE_CONFIGURATION");
		if (loading.path && loading.path[0] != '/')
			return fail(error, -EINVAL,
				    "REKINDLE_CONFIGURATION=%s is not valid: set it to an absolute path, as CRIU "
				    "changes to its work folder",
				    loading.path);
	}
	must_exist = loading.path != NULL;
	if (!loading.path)
		loading.path = DEFAULT_CONFIGURATION;

	code = load_file(&loading, must_exist);
	if (!code)
		code = load_environment(&loading);
	if (!code)
		code = file_trust_check_code("REKINDLE_POOL_PROGRAM", settings->pool_program, error);
	if (!code)
		code = file_trust_check_code("REKINDLE_CUDA_DRIVER", settings->cuda_driver, error);
	if (!code)
		code = check_device_map(settings, error);
	if (!code)
		code = check_park(settings, error);
	if (!code)
		code = check_parent(settings, error);
	if (!code && !loading.ring_given)
		settings->ring_bytes = settings->streams * 8 * MIB;
	return code;
}
