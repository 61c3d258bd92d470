/* SPDX-License-Identifier: MIT */
#include "report/kept_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], folder[96];

static int set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/rekindle-kept-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(folder, sizeof(folder), "%s/kept", top);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The names in the folder, in their order; to be freed by free_names. */
static int names(struct dirent ***entries)
{
	int count = scandir(folder, entries, is_visible, alphasort);

	assert_true(count >= 0);
	return count;
}

static void free_names(struct dirent **entries, int count)
{
	while (count)
		free(entries[--count]);
	free(entries);
}

static void a_record_stays_and_is_read(void **state)
{
	struct process_record process = {.pid = 815, .mode = POOL_MODE_OFFLOAD, .device_bytes = 24 << 20};
	struct run_record record = {.succeeded = true, .processes = &process, .process_count = 1}, read;
	struct kept_record kept = {""}, another = {""};
	struct dirent **entries;
	struct error_text error;
	char path[PATH_MAX];
	int count;

	(void)state;
	assert_int_equal(kept_record_write(folder, &record, &kept), 0);
	record.dump = true;
	assert_int_equal(kept_record_write(folder, &record, &another), 0);
	count = names(&entries);
	assert_int_equal(count, 2);
	assert_non_null(strstr(entries[0]->d_name, "-restore-815"));
	assert_non_null(strstr(entries[1]->d_name, "-checkpoint-815"));
	snprintf(path, sizeof(path), "%s/%s/" RUN_RECORD_FILE, folder, entries[0]->d_name);
	assert_int_equal(run_record_read(path, &read, &error), 0);
	assert_false(read.dump);
	assert_int_equal(read.processes[0].device_bytes, process.device_bytes);
	run_record_free(&read);
	free_names(entries, count);
}

/* A restore is written down when its processes are back, and again when CRIU has ended. */
static void a_run_has_one_record(void **state)
{
	struct process_record process = {.pid = 815, .mode = POOL_MODE_OFFLOAD};
	struct run_record record = {.succeeded = true, .processes = &process, .process_count = 1}, read;
	struct kept_record kept = {""};
	struct error_text error;
	struct dirent **entries;
	char path[PATH_MAX];
	int count;

	(void)state;
	assert_int_equal(kept_record_write(folder, &record, &kept), 0);
	record.succeeded = false;
	assert_int_equal(kept_record_write(folder, &record, &kept), 0);
	count = names(&entries);
	assert_int_equal(count, 1);
	snprintf(path, sizeof(path), "%s/%s/" RUN_RECORD_FILE, folder, entries[0]->d_name);
	assert_int_equal(run_record_read(path, &read, &error), 0);
	assert_false(read.succeeded);
	run_record_free(&read);
	free_names(entries, count);
}

static void make(const char *name)
{
	char path[PATH_MAX];
	int file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/%s/" RUN_RECORD_FILE, folder, name);
	file = open(path, O_WRONLY | O_CREAT, 0644);
	assert_true(file >= 0);
	close(file);
}

static void the_oldest_go_and_no_others(void **state)
{
	struct run_record record = {.succeeded = true};
	struct kept_record kept = {""};
	struct dirent **entries;
	char name[96];
	int count;

	(void)state;
	assert_int_equal(mkdir(folder, 0755), 0);
	for (int i = 0; i < KEPT_RECORDS_MAX + 2; i++) {
		snprintf(name, sizeof(name), "20200101T%06d.000000-restore-1", i);
		make(name);
	}
	make("0-mine");
	assert_int_equal(kept_record_write(folder, &record, &kept), 0);
	count = names(&entries);
	assert_int_equal(count, KEPT_RECORDS_MAX + 1);
	assert_string_equal(entries[0]->d_name, "0-mine");
	assert_string_equal(entries[1]->d_name, "20200101T000003.000000-restore-1");
	assert_non_null(strstr(entries[count - 1]->d_name, "-restore-0"));
	free_names(entries, count);
}

static void a_folder_that_cannot_be_made_is_said(void **state)
{
	struct run_record record = {.succeeded = true};
	struct kept_record kept = {""};

	(void)state;
	assert_int_equal(kept_record_write("/nonexistent/kept", &record, &kept), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_record_stays_and_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_run_has_one_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_oldest_go_and_no_others, set_up, tear_down),
		cmocka_unit_test(a_folder_that_cannot_be_made_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
