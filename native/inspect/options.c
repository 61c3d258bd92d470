/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/inspection.h"

#define DEFAULT_GHOST_BYTES ((uint64_t)1 << 20)

/* An abbreviation that CRIU would not take allows nothing there, as it refuses the command line. */
static bool is_option(const char *given, size_t length, const char *name)
{
	return length && !strncmp(name, given, length);
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t bytes = strtoull(text, &end, 10);

	switch (toupper((unsigned char)*end)) {
	case 'K':
		return bytes << 10;
	case 'M':
		return bytes << 20;
	case 'G':
		return bytes << 30;
	default:
		return bytes;
	}
}

static void allow_external(struct inspection_options *options, const char *value)
{
	options->external_files = true;
	options->terminals |= value && !strncmp(value, "tty[", 4);
	options->unix_sockets |= value && !strncmp(value, "unix[", 5);
}

/* Of several places the most that one allows counts: a dump is not to be refused by mistake. */
static void take_option(struct inspection_options *options, const char *given, const char *value)
{
	size_t length = strcspn(given, "=");

	if (given[length] == '=')
		value = given + length + 1;
	if (is_option(given, length, "tcp-established") || is_option(given, length, "tcp-close"))
		options->connections = true;
	else if (is_option(given, length, "link-remap"))
		options->links = true;
	else if (is_option(given, length, "shell-job"))
		options->shell_job = true;
	else if (is_option(given, length, "orphan-pts-master"))
		options->terminals = true;
	else if (is_option(given, length, "file-locks"))
		options->file_locks = true;
	else if (is_option(given, length, "ext-unix-sk"))
		options->datagrams = true;
	else if (is_option(given, length, "inherit-fd") ||
		 (is_option(given, length, "external") && !(value && !strncmp(value, "mnt[", 4))))
		allow_external(options, value);
	else if (is_option(given, length, "ghost-limit") && value && parse_size(value) > options->ghost_bytes)
		options->ghost_bytes = parse_size(value);
}

/* A line of such a file is an option without its dashes, a blank or tabulator, and perhaps a value; # is a comment. */
static void read_file(struct inspection_options *options, const char *path)
{
	char *line = NULL;
	size_t capacity = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	while (getline(&line, &capacity, file) >= 0) {
		char *rest = NULL, *name, *value;

		line[strcspn(line, "#\n")] = '\0';
		name = strtok_r(line, " \t", &rest);
		value = name ? strtok_r(NULL, " \t", &rest) : NULL;
		if (name)
			take_option(options, name, value);
	}
	free(line);
	fclose(file);
}

void inspection_options_read(struct inspection_options *options, const char *const *arguments, size_t count,
			     const char *home, const char *configuration)
{
	char path[PATH_MAX];

	*options = (struct inspection_options){.known = true, .ghost_bytes = DEFAULT_GHOST_BYTES};
	read_file(options, "/etc/criu/default.conf");
	if (home && snprintf(path, sizeof(path), "%s/.criu/default.conf", home) < (int)sizeof(path))
		read_file(options, path);
	if (configuration)
		read_file(options, configuration);
	for (size_t i = 0; i < count; i++) {
		const char *next = i + 1 < count ? arguments[i + 1] : NULL;

		/* Perhaps with others in one word. */
		if (arguments[i][0] == '-' && arguments[i][1] != '-') {
			options->shell_job |= strchr(arguments[i], 'j') != NULL;
			options->file_locks |= strchr(arguments[i], 'l') != NULL;
			options->datagrams |= strchr(arguments[i], 'x') != NULL;
		} else if (!strcmp(arguments[i], "--config") && next)
			read_file(options, next);
		else if (!strncmp(arguments[i], "--config=", 9))
			read_file(options, arguments[i] + 9);
		else if (!strncmp(arguments[i], "--", 2))
			take_option(options, arguments[i] + 2, next);
	}
}
