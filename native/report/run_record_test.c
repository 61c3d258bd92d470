/* SPDX-License-Identifier: MIT */
#include "report/run_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/pool_protocol.h"
#include "report/failure_report.h"

static char folder[64];
static char path[PATH_MAX];
static int descriptor;

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/rekindle-record-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/" RUN_RECORD_FILE, folder);
	descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return descriptor < 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	close(descriptor);
	return rmdir(folder);
}

static char *contents(const char *name)
{
	static char text[2][1 << 16];
	static int at;
	FILE *file = fopen(name, "r");
	size_t size;

	at = !at;
	assert_non_null(file);
	size = fread(text[at], 1, sizeof(text[at]) - 1, file);
	text[at][size] = '\0';
	fclose(file);
	return text[at];
}

/* Every member has a value of its own, and every phase that is timed stands in it. */
static void fill(struct run_record *record, struct process_record processes[3])
{
	static const struct run_record all = {
		.dump = true,
		.failure = "the sentence",
		.failure_code = -EIO,
		.failure_phase = PHASE_CRIU,
		.note = "a note",
		.start = 1000,
		.duration = 1001,
		.overlap = 1002,
		.device_bytes = 1003,
		.image_bytes = 1004,
		.linked_bytes = 1007,
		.resident_bytes = 1006,
		.pool = {.known = true,
			 .simulated = true,
			 .warm = true,
			 .driver_version = 12080,
			 .gpu_name = "a GPU",
			 .workers = 16,
			 .chunk_bytes = 16 << 20},
	};
	uint64_t at = 2000;

	*record = all;
	memset(processes, 0, 3 * sizeof(*processes));
	processes[0] =
		(struct process_record){.pid = 41, .mode = POOL_MODE_OFFLOAD, .device_bytes = 1005, .allocations = 7};
	processes[1] = (struct process_record){.pid = 42, .mode = POOL_MODE_NATIVE, .reason = "no agent"};
	processes[2] = (struct process_record){.pid = 43, .mode = POOL_MODE_NONE};
#define ADD(name, number, word)                                                                       \
	if (word) {                                                                                   \
		process_record_phase(&processes[0], PHASE_##name, at, 10 + (number), 100 + (number)); \
		at += 100;                                                                            \
	}
	PHASES(ADD)
#undef ADD
	record->processes = processes;
	record->process_count = 3;
}

/* Java reads the same file, see RunRecordTest. Where the schema has changed: run with REKINDLE_TEST_GOLDEN=write. */
static void the_golden_file_is_what_is_written(void **state)
{
	struct process_record processes[3];
	struct run_record record;
	FILE *golden;

	(void)state;
	fill(&record, processes);
	assert_int_equal(run_record_write(descriptor, RUN_RECORD_OF_POOL, &record), 0);
	if (getenv("REKINDLE_TEST_GOLDEN")) {
		golden = fopen(GOLDEN, "w");
		assert_non_null(golden);
		fputs(contents(path), golden);
		fclose(golden);
	}
	assert_string_equal(contents(path), contents(GOLDEN));
}

static void what_is_written_is_read(void **state)
{
	struct process_record processes[3];
	struct run_record record, read;
	struct error_text error;
	uint32_t i;

	(void)state;
	fill(&record, processes);
	assert_int_equal(run_record_write(descriptor, RUN_RECORD_OF_POOL, &record), 0);
	assert_int_equal(run_record_read(path, &read, &error), 0);
	assert_true(read.dump);
	assert_false(read.succeeded);
	assert_string_equal(read.failure, record.failure);
	assert_int_equal(read.failure_code, record.failure_code);
	assert_int_equal(read.failure_phase, record.failure_phase);
	assert_string_equal(read.note, record.note);
	assert_memory_equal(&read.start, &record.start, 5 * sizeof(read.start));
	assert_memory_equal(&read.pool, &record.pool, sizeof(read.pool));
	/* That without CUDA is left out. */
	assert_int_equal(read.process_count, 2);
	for (i = 0; i < 2; i++)
		assert_memory_equal(&read.processes[i], &processes[i], sizeof(processes[i]));
	run_record_free(&read);
}

/* Somebody who may write into the folder must not choose what root overwrites. */
static void what_bears_the_temporary_name_is_not_written_to(void **state)
{
	struct run_record record = {.failure = "the pool is gone"};
	char other[PATH_MAX];
	int file;

	(void)state;
	snprintf(other, sizeof(other), "%s/other", folder);
	file = openat(descriptor, "other", O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(file, "precious", 8), 8);
	close(file);
	assert_int_equal(linkat(descriptor, "other", descriptor, RUN_RECORD_OF_POOL, 0), 0);
	assert_int_equal(run_record_write(descriptor, RUN_RECORD_OF_POOL, &record), 0);
	assert_string_equal(contents(other), "precious");
	assert_non_null(strstr(contents(path), "the pool is gone"));
	assert_int_equal(unlinkat(descriptor, "other", 0), 0);
}

static void nothing_is_said_of_a_pool_that_nobody_asked(void **state)
{
	struct run_record record = {.failure = "the pool is gone"};
	struct error_text error;

	(void)state;
	assert_int_equal(run_record_write(descriptor, RUN_RECORD_OF_POOL, &record), 0);
	assert_null(strstr(contents(path), "simulated"));
	assert_int_equal(run_record_read(path, &record, &error), 0);
	assert_false(record.pool.known);
	assert_false(record.dump);
}

static void no_time_of_a_phase_is_lost(void **state)
{
	struct process_record process = {.pid = 1};
	uint64_t duration = 0, bytes = 0;
	uint32_t i;

	(void)state;
	for (i = 0; i < 3 * RECORD_PHASES_MAX; i++)
		process_record_phase(&process, i % 2 ? PHASE_LOCK : PHASE_MAP, i, 1, 2);
	process_record_phase(&process, PHASE_VERIFY, i, 1, 2);
	process_record_phase(&process, PHASE_WAIT, i, 1, 2);
	assert_int_equal(process.phase_count, RECORD_PHASES_MAX);
	for (i = 0; i < process.phase_count; i++) {
		duration += process.phases[i].duration;
		bytes += process.phases[i].bytes;
	}
	assert_int_equal(duration, 3 * RECORD_PHASES_MAX + 2);
	assert_int_equal(bytes, 2 * duration);
	assert_int_equal(process.phases[RECORD_PHASES_MAX - 1].kind, PHASE_WAIT);
}

static void write_text(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void a_newer_schema_is_refused_and_an_older_file_is_read(void **state)
{
	struct error_text error;
	struct run_record record;
	char text[128];

	(void)state;
	assert_int_equal(run_record_read(path, &record, &error), -ENOENT);
	snprintf(text, sizeof(text), "{ \"kind\": \"restore\", \"schema\": %d, \"version\": \"9.9\" }",
		 RUN_RECORD_SCHEMA + 1);
	write_text(text);
	assert_int_equal(run_record_read(path, &record, &error), -EPROTO);
	assert_non_null(strstr(error.text, "9.9"));
	write_text("{ \"kind\": \"restore\", \"succeeded\": true, \"processes\": [ { \"pid\": 3, \"phases\": ["
		   "{ \"phase\": \"of another time\", \"start\": 1 }, { \"phase\": \"map\", \"start\": 2 } ] } ] }");
	assert_int_equal(run_record_read(path, &record, &error), 0);
	assert_int_equal(record.process_count, 1);
	assert_int_equal(record.processes[0].phase_count, 1);
	assert_int_equal(record.processes[0].phases[0].kind, PHASE_MAP);
	run_record_free(&record);
	write_text("[");
	assert_int_equal(run_record_read(path, &record, &error), -EBADMSG);
}

static void a_failure_without_a_pool_is_read_like_any_other(void **state)
{
	struct run_record record;
	struct error_text error;

	(void)state;
	failure_report_write(descriptor, POOL_STAGE_RESTORE, 1, -EBUSY, "it said \"no\"\tand \\ left");
	assert_int_equal(run_record_read(path, &record, &error), 0);
	assert_false(record.dump);
	assert_false(record.succeeded);
	assert_int_equal(record.failure_code, -EBUSY);
	assert_string_equal(record.failure, "it said \"no\"?and \\ left");
	assert_int_equal(record.start, 1);
	assert_true(record.duration > 0);
	assert_int_equal(record.process_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_golden_file_is_what_is_written),
		TEST(what_is_written_is_read),
		TEST(what_bears_the_temporary_name_is_not_written_to),
		TEST(nothing_is_said_of_a_pool_that_nobody_asked),
		TEST(a_failure_without_a_pool_is_read_like_any_other),
		TEST(no_time_of_a_phase_is_lost),
		TEST(a_newer_schema_is_refused_and_an_older_file_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
