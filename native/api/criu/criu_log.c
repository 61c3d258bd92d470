/* SPDX-License-Identifier: MIT */
#include "api/criu/criu_log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/call/report.h"
#include "support/plain_text.h"
#include "support/regular_file.h"

#define EXCERPT_LINES 32

/*
 * A line of CRIU reads "(00.012345)    123: Error (criu/mem.c:12): what happened". Returns what happened, or NULL where
 * the line is no error line.
 */
static const char *error_text_of(const char *line)
{
	const char *text = strstr(line, "Error (");

	if (!text)
		return NULL;
	text = strstr(text, "): ");
	return text ? text + 3 : NULL;
}

void criu_log_strip(char *line)
{
	const char *text = error_text_of(line);

	if (text)
		memmove(line, text, strlen(text) + 1);
}

/* CRIU logs it as an error and goes on: in a container that may not raise its limits it is in every log. */
static bool is_harmless(const char *text)
{
	return !strncmp(text, "rlimit: Can't setup RLIMIT_NOFILE", 33);
}

static bool is_from_plugin(const char *text)
{
	return !strncmp(text, "cuda_plugin: ", 13) || !strncmp(text, "rekindle: ", 10);
}

static void take_version(const char *line, struct criu_log_excerpt *excerpt)
{
	const char *version = strstr(line, "Version: ");

	if (version && !excerpt->version[0])
		snprintf(excerpt->version, sizeof(excerpt->version), "%.*s", (int)strcspn(version + 9, " \n"),
			 version + 9);
}

/* "page-readers: Read 4096 pages of pages-1.img in 8 pieces with 2 threads", from log level 3 on. */
static void take_readers(const char *line, struct criu_log_excerpt *excerpt)
{
	const char *text = strstr(line, "page-readers: Read ");
	int threads;

	if (text && sscanf(text, "page-readers: Read %*u pages of %*s in %*u pieces with %d threads", &threads) == 1 &&
	    threads > excerpt->reader_threads)
		excerpt->reader_threads = threads;
}

/* Joins the last lines that fit; ring[(count - 1) % EXCERPT_LINES] is the newest. */
static void join_lines(char *const ring[], size_t count, struct criu_log_excerpt *excerpt)
{
	size_t available = count < EXCERPT_LINES ? count : EXCERPT_LINES;
	size_t kept = 0;
	size_t used = 0;
	size_t i;

	while (kept < available) {
		size_t length = strlen(ring[(count - 1 - kept) % EXCERPT_LINES]) + 1;

		if (used + length > sizeof(excerpt->lines))
			break;
		used += length;
		kept++;
	}
	excerpt->lines[0] = '\0';
	used = 0;
	for (i = count - kept; i < count; i++)
		used += (size_t)snprintf(excerpt->lines + used, sizeof(excerpt->lines) - used, "%s%s", used ? "\n" : "",
					 ring[i % EXCERPT_LINES]);
}

static void take_error(const char *text, struct criu_log_excerpt *excerpt)
{
	if (!excerpt->first_error[0])
		copy_text(excerpt->first_error, sizeof(excerpt->first_error), text);
	copy_text(excerpt->last_error, sizeof(excerpt->last_error), text);
	if (is_from_plugin(text))
		copy_text(excerpt->plugin_error, sizeof(excerpt->plugin_error), strstr(text, ": ") + 2);
}

static int parse_stream(FILE *stream, bool only_marked, struct criu_log_excerpt *excerpt)
{
	char *ring[EXCERPT_LINES] = {NULL};
	size_t count = 0;
	char *line = NULL;
	size_t capacity = 0;
	ssize_t length;
	size_t i;
	int result = 0;

	memset(excerpt, 0, sizeof(*excerpt));
	while ((length = getline(&line, &capacity, stream)) >= 0) {
		const char *text;
		char **slot = &ring[count % EXCERPT_LINES];

		while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
			line[--length] = '\0';
		plain_text(line, capacity); /* CRIU names files and programs as they are */
		take_version(line, excerpt);
		take_readers(line, excerpt);
		text = error_text_of(line);
		if (!text && !only_marked && line[0])
			text = line;
		if (!text || is_harmless(text))
			continue;
		take_error(text, excerpt);
		free(*slot);
		*slot = strdup(line);
		if (!*slot) {
			result = -ENOMEM;
			goto out;
		}
		count++;
	}
	join_lines(ring, count, excerpt);
out:
	for (i = 0; i < EXCERPT_LINES; i++)
		free(ring[i]);
	free(line);
	return result;
}

int criu_log_read(const char *path, struct criu_log_excerpt *excerpt)
{
	int file = regular_file_open(path), result;
	FILE *stream = file < 0 ? NULL : fdopen(file, "r");

	memset(excerpt, 0, sizeof(*excerpt));
	if (!stream) {
		result = file < 0 ? file : -errno;
		if (file >= 0)
			close(file);
		return result;
	}
	result = parse_stream(stream, true, excerpt);
	fclose(stream);
	return result;
}

void criu_log_parse(const char *text, size_t length, struct criu_log_excerpt *excerpt)
{
	FILE *stream = length ? fmemopen((void *)(uintptr_t)text, length, "r") : NULL;

	memset(excerpt, 0, sizeof(*excerpt));
	if (!stream)
		return;
	parse_stream(stream, false, excerpt);
	fclose(stream);
}
