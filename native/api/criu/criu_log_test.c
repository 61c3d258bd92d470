/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/criu/criu_log.h"

static const char failed_log[] =
	"(00.000000) Version: 4.2.1 (gitid 0)\n"
	"(00.000100) Warn  (criu/log.c:203): The early log isn't empty\n"
	"(00.000001) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
	"(00.004000) 123: Error (criu/sk-unix.c:894): unix: External socket is used\n"
	"(00.005000) Error (cuda_plugin.c:90): cuda_plugin: The pool ended in the middle of a copy.\n"
	"(00.006000) Error (criu/cr-dump.c:2128): Dumping FAILED.";

static void write_log(char *path, const char *text, size_t length)
{
	int file;

	strcpy(path, "/tmp/rekindle-criu-log-XXXXXX");
	file = mkstemp(path);
	assert_true(file >= 0);
	assert_int_equal(write(file, text, length), (ssize_t)length);
	close(file);
}

static void finds_first_last_and_plugin_error(void **state)
{
	struct criu_log_excerpt excerpt;
	char path[64];

	(void)state;
	write_log(path, failed_log, strlen(failed_log));
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_string_equal(excerpt.version, "4.2.1");
	assert_string_equal(excerpt.first_error, "unix: External socket is used");
	assert_string_equal(excerpt.last_error, "Dumping FAILED.");
	assert_string_equal(excerpt.plugin_error, "The pool ended in the middle of a copy.");
	assert_null(strstr(excerpt.lines, "early log"));
	assert_null(strstr(excerpt.lines, "rlimit"));
	assert_int_equal(excerpt.lines[strlen(excerpt.lines) - 1], '.');
}

/* A program's name and its files' names are in CRIU's log as they are. */
static void names_cannot_move_a_terminal(void **state)
{
	static const char log[] = "(00.004000) Error (criu/files.c:1): Can't open \x1b[2Jfile\xff of pr\rogram\n";
	struct criu_log_excerpt excerpt;
	char path[64];

	(void)state;
	write_log(path, log, strlen(log));
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_string_equal(excerpt.last_error, "Can't open ?[2Jfile? of pr?ogram");
	assert_non_null(strstr(excerpt.lines, "Can't open ?[2Jfile? of pr?ogram"));
}

static void finds_how_many_threads_read(void **state)
{
	static const char log[] =
		"(00.010000)   1300: page-readers: Read 12 pages of pages-2.img in 1 pieces with 1 threads\n"
		"(00.020000)   1300: page-readers: Read 4096 pages of pages-1.img in 8 pieces with 3 threads\n"
		"(00.020100)   1301: page-readers: Read 8 pages of pages-3.img in 1 pieces with 1 threads\n";
	struct criu_log_excerpt excerpt;
	char path[64];

	(void)state;
	write_log(path, log, strlen(log));
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_int_equal(excerpt.reader_threads, 3);
	write_log(path, failed_log, strlen(failed_log));
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_int_equal(excerpt.reader_threads, 0);
}

static void keeps_the_last_whole_lines_of_a_long_log(void **state)
{
	struct criu_log_excerpt excerpt;
	static char text[400000];
	size_t length = 0;
	char path[64];
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "(00.%06d) Error (a.c:1): number %d %0300d\n", i, i, 7);
	write_log(path, text, length);
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_non_null(strstr(excerpt.first_error, "number 0 "));
	assert_non_null(strstr(excerpt.lines, "number 999 "));
	assert_int_equal(strncmp(excerpt.lines, "(00.", 4), 0);
	assert_true(strlen(excerpt.lines) < sizeof(excerpt.lines));
	assert_true(strlen(excerpt.lines) > sizeof(excerpt.lines) - 800);
}

static void a_line_longer_than_the_excerpt_is_left_out(void **state)
{
	struct criu_log_excerpt excerpt;
	static char text[10000];
	char path[64];
	int length = snprintf(text, sizeof(text), "Error (a.c:1): %06000d\n", 1);

	(void)state;
	write_log(path, text, (size_t)length);
	assert_int_equal(criu_log_read(path, &excerpt), 0);
	unlink(path);
	assert_string_equal(excerpt.lines, "");
	assert_int_equal(strlen(excerpt.first_error), sizeof(excerpt.first_error) - 1);
}

static void unmarked_text_counts_where_it_is_asked_for(void **state)
{
	struct criu_log_excerpt excerpt;
	const char *text = "criu: error while loading shared libraries: libnet.so.1\n";

	(void)state;
	criu_log_parse(text, strlen(text), &excerpt);
	assert_string_equal(excerpt.first_error, "criu: error while loading shared libraries: libnet.so.1");
	criu_log_parse("", 0, &excerpt);
	assert_string_equal(excerpt.lines, "");
}

static void a_missing_log_is_an_empty_excerpt(void **state)
{
	struct criu_log_excerpt excerpt;

	(void)state;
	assert_int_equal(criu_log_read("/nonexistent/dump.log", &excerpt), -ENOENT);
	assert_string_equal(excerpt.lines, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_first_last_and_plugin_error),
		cmocka_unit_test(names_cannot_move_a_terminal),
		cmocka_unit_test(finds_how_many_threads_read),
		cmocka_unit_test(keeps_the_last_whole_lines_of_a_long_log),
		cmocka_unit_test(a_line_longer_than_the_excerpt_is_left_out),
		cmocka_unit_test(unmarked_text_counts_where_it_is_asked_for),
		cmocka_unit_test(a_missing_log_is_an_empty_excerpt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
