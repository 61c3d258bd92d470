/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/test_images.h"
#include "rekindle.h"

static char folder[64];

static const char report_text[] =
	"{ \"kind\": \"restore\", \"succeeded\": true, \"start\": 100, \"duration\": 2000, \"overlap\": 700,"
	"  \"device_bytes\": 8589934593, \"image_bytes\": 4096, \"pool_warm\": true, \"simulated\": true,"
	"  \"driver_version\": 13000, \"gpu_name\": \"SIMULATED GPU\", \"a newer member\": [1, {}],"
	"  \"processes\": ["
	"    { \"pid\": 10, \"mode\": \"offload\", \"reason\": \"\", \"device_bytes\": 8589934592, \"allocations\": 4,"
	"      \"phases\": [ { \"phase\": \"prefetch\", \"start\": 110, \"duration\": 900, \"bytes\": 8589934591,"
	"                    \"gigabytes_per_second\": 9.5 },"
	"                  { \"phase\": \"a newer phase\", \"start\": 1, \"duration\": 2 },"
	"                  { \"phase\": \"map\", \"start\": 1500, \"duration\": 15, \"bytes\": 0 } ] },"
	"    { \"pid\": 11, \"mode\": \"native\", \"reason\": \"no agent\" } ] }";

static void write_report(const char *text)
{
	char path[128];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/stats-rekindle.json", folder);
	stream = fopen(path, "w");
	assert_non_null(stream);
	fputs(text, stream);
	fclose(stream);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/rekindle-statistics-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void a_report_is_read(void **state)
{
	struct rekindle_process_statistics processes[2];
	struct rekindle_statistics statistics;
	struct rekindle_error error;

	(void)state;
	write_report(report_text);
	test_images_write_statistics(folder);
	test_images_write(folder, 10);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, processes, 2, &error), 0);
	assert_true(statistics.succeeded);
	assert_int_equal(statistics.start, 100);
	assert_int_equal(statistics.duration, 2000);
	assert_int_equal(statistics.overlap, 700);
	assert_int_equal(statistics.device_bytes, 8589934593);
	assert_int_equal(statistics.image_bytes, 4096);
	assert_int_equal(statistics.host_bytes, TEST_IMAGES_HOST_BYTES);
	assert_true(statistics.pool_warm);
	assert_true(statistics.simulated);
	assert_int_equal(statistics.driver_version, 13000);
	assert_int_equal(statistics.pages_restored, 3);
	assert_string_equal(statistics.gpu_name, "SIMULATED GPU");
	assert_int_equal(statistics.process_count, 2);
	assert_int_equal(processes[0].pid, 10);
	assert_int_equal(processes[0].mode, REKINDLE_MODE_OFFLOAD);
	assert_int_equal(processes[0].device_bytes, 8589934592);
	assert_int_equal(processes[0].allocations, 4);
	assert_int_equal(processes[0].phase_count, 2);
	assert_int_equal(processes[0].phases[0].kind, REKINDLE_PHASE_PREFETCH);
	assert_int_equal(processes[0].phases[0].start, 110);
	assert_int_equal(processes[0].phases[0].duration, 900);
	assert_int_equal(processes[0].phases[0].bytes, 8589934591);
	assert_int_equal(processes[0].phases[1].kind, REKINDLE_PHASE_MAP);
	assert_int_equal(processes[0].phases[1].start, 1500);
	assert_int_equal(processes[0].phases[1].duration, 15);
	assert_int_equal(processes[0].phases[1].bytes, 0);
	assert_int_equal(processes[1].mode, REKINDLE_MODE_NATIVE);
	assert_string_equal(processes[1].reason, "no agent");
}

static void little_room_takes_the_first_processes(void **state)
{
	struct rekindle_process_statistics processes[2];
	struct rekindle_statistics statistics;

	(void)state;
	write_report(report_text);
	memset(processes, 0x5a, sizeof(processes));
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, processes, 1, NULL), 0);
	assert_int_equal(statistics.process_count, 2);
	assert_int_equal(processes[0].pid, 10);
	assert_int_equal(processes[1].pid, 0x5a5a5a5a);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 9, NULL), 0);
}

static void a_tree_without_cuda_has_criu_statistics_only(void **state)
{
	struct rekindle_statistics statistics;

	(void)state;
	test_images_write_statistics(folder);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_CHECKPOINT, &statistics, NULL, 0, NULL), 0);
	assert_true(statistics.succeeded);
	assert_int_equal(statistics.process_count, 0);
	assert_int_equal(statistics.pages_written, 6);
	assert_true(statistics.frozen_time > 0);
	assert_int_equal(statistics.duration, (statistics.freezing_time + statistics.frozen_time) * 1000);
}

/* Not a checkpoint without device memory: that of one is not known any more. */
static void statistics_that_a_restore_has_replaced_are_not_known(void **state)
{
	struct rekindle_statistics statistics;
	struct rekindle_error error;

	(void)state;
	test_images_write_statistics(folder);
	write_report(report_text);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_CHECKPOINT, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_NO_IMAGE);
	assert_non_null(
		strstr(error.message, "the statistics of a restore, which have taken the place of the checkpoint's"));
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, &error), 0);
}

static void missing_or_damaged_statistics_are_errors(void **state)
{
	struct rekindle_statistics statistics;
	struct rekindle_error error;

	(void)state;
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_NO_IMAGE);
	/* A report of the other kind is none. */
	write_report(report_text);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_CHECKPOINT, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_NO_IMAGE);
	write_report("{ \"kind\": \"restore\", ");
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_int_equal(rekindle_statistics_read(folder, 9, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_statistics_read(NULL, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, &error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
}

/* What is not of the type that it should be counts as left out. */
static void wrong_types_are_survived(void **state)
{
	struct rekindle_process_statistics processes[2];
	struct rekindle_statistics statistics;

	(void)state;
	write_report("{ \"kind\": \"restore\", \"succeeded\": \"yes\", \"start\": [], \"failure\": 3, \"gpu_name\": {},"
		     "  \"processes\": [ 7, { \"pid\": \"x\", \"phases\": [ null, { \"phase\": 4 } ] } ] }");
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, processes, 2, NULL), 0);
	assert_false(statistics.succeeded);
	assert_int_equal(statistics.process_count, 2);
	assert_int_equal(processes[1].phase_count, 0);
}

static void sentences_cannot_move_a_terminal(void **state)
{
	struct rekindle_process_statistics processes[1];
	struct rekindle_statistics statistics;

	(void)state;
	write_report("{ \"kind\": \"restore\", \"failure\": \"\\u001b[2Jno\\n\", \"gpu_name\": \"\\u202egpu\","
		     "  \"processes\": [ { \"pid\": 1, \"reason\": \"\\u0007why\" } ] }");
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, processes, 1, NULL), 0);
	assert_string_equal(statistics.failure, "?[2Jno?");
	assert_string_equal(statistics.gpu_name, "???gpu");
	assert_string_equal(processes[0].reason, "?why");
}

/* Nobody will ever write it. */
static void a_fifo_is_not_waited_for(void **state)
{
	struct rekindle_statistics statistics;
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/stats-rekindle.json", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, NULL),
			 REKINDLE_ERROR_CORRUPT_IMAGE);
	unlink(path);
	snprintf(path, sizeof(path), "%s/stats-restore", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, NULL, 0, NULL),
			 REKINDLE_ERROR_CORRUPT_IMAGE);
}

/* As many phases as there is room for; those that are more are added to the first of their kind. */
static void all_phases_that_fit_are_kept(void **state)
{
	static const char *const names[] = {"lock",	"copy_out", "release", "driver_checkpoint",
					    "prefetch", "map",	    "wait",    "verify"};
	struct rekindle_process_statistics processes[1];
	struct rekindle_statistics statistics;
	uint64_t bytes = 0;
	char text[4096];
	int length, extra;
	int i;

	(void)state;
	for (extra = 0; extra < 2; extra++) {
		length = snprintf(text, sizeof(text),
				  "{ \"kind\": \"restore\", \"processes\": [ { \"pid\": 1, \"phases\": [");
		for (i = 0; i < REKINDLE_PHASES_MAX + extra; i++)
			length += snprintf(text + length, sizeof(text) - (size_t)length,
					   "%s{ \"phase\": \"%s\", \"start\": %d, \"duration\": %d, \"bytes\": %d }",
					   i ? "," : "", names[i % 8], 100 + i, 200 + i, 300 + i);
		snprintf(text + length, sizeof(text) - (size_t)length, "] } ] }");
		write_report(text);
		assert_int_equal(
			rekindle_statistics_read(folder, REKINDLE_RUN_RESTORE, &statistics, processes, 1, NULL), 0);
		assert_int_equal(processes[0].phase_count, REKINDLE_PHASES_MAX);
		for (i = extra; i < REKINDLE_PHASES_MAX; i++) {
			assert_int_equal(processes[0].phases[i].kind, processes[0].phases[i % 8].kind);
			assert_int_equal(processes[0].phases[i].start, 100 + i);
			assert_int_equal(processes[0].phases[i].duration, 200 + i);
			assert_int_equal(processes[0].phases[i].bytes, 300 + i);
		}
	}
	assert_int_equal(processes[0].phases[0].kind, REKINDLE_PHASE_LOCK);
	assert_int_equal(processes[0].phases[6].kind, REKINDLE_PHASE_WAIT);
	assert_int_equal(processes[0].phases[0].duration, 200 + 216);
	for (i = 0; i < REKINDLE_PHASES_MAX; i++)
		bytes += processes[0].phases[i].bytes;
	assert_int_equal(bytes, 17 * 300 + 16 * 17 / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_report_is_read),
		TEST(little_room_takes_the_first_processes),
		TEST(a_tree_without_cuda_has_criu_statistics_only),
		TEST(statistics_that_a_restore_has_replaced_are_not_known),
		TEST(missing_or_damaged_statistics_are_errors),
		TEST(wrong_types_are_survived),
		TEST(sentences_cannot_move_a_terminal),
		TEST(a_fifo_is_not_waited_for),
		TEST(all_phases_that_fit_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
