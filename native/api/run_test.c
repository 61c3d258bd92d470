/* SPDX-License-Identifier: MIT */
#include "api/run_test_support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/process_tree.h"
#include "api/test_images.h"

/* What criu is started with by a checkpoint and a restore, and what they answer. */

static bool variable_is(struct fixture *f, const char *line)
{
	char path[128];

	snprintf(path, sizeof(path), "%s.env", f->arguments);
	return strstr(text_of(path), line);
}

static void a_dump_passes_flags_and_folders(void **state)
{
	static const char *const more[] = {"--external", "mnt[]"};
	struct fixture *f = *state;
	struct rekindle_statistics statistics;
	char expected[256];

	f->dump.flags = REKINDLE_LEAVE_RUNNING | REKINDLE_SHELL_JOB | REKINDLE_TCP_ESTABLISHED | REKINDLE_FILE_LOCKS |
			REKINDLE_LINK_REMAP | REKINDLE_EXTERNAL_MASTERS | REKINDLE_EXTERNAL_UNIX_SOCKETS;
	f->dump.log_level = 2;
	f->dump.log_file = "my.log";
	f->dump.timeout_seconds = 77;
	f->dump.arguments = more;
	f->dump.argument_count = 2;
	assert_int_equal(rekindle_checkpoint(&f->environment, &f->dump, &statistics, NULL, 0, &f->error), REKINDLE_OK);
	snprintf(expected, sizeof(expected), "dump\n--tree\n%d\n--timeout\n77\n--images-dir\n%s\n--work-dir\n%s\n",
		 f->target, f->images, f->work);
	assert_true(passed(f, expected));
	assert_true(passed(f, "--log-file\nmy.log\n-v2\n--libdir\n"));
	assert_true(passed(f, "--leave-running\n--shell-job\n--tcp-established\n--file-locks\n--link-remap\n"
			      "--enable-external-masters\n--ext-unix-sk\n--external\nmnt[]\n"));
	assert_int_equal(statistics.kind, REKINDLE_RUN_CHECKPOINT);
	assert_true(statistics.succeeded);
	assert_true(statistics.duration > 0);
	assert_string_equal(statistics.criu_version, "4.2.1");
	assert_int_equal(statistics.restore_threads, -1);
}

static void a_restore_says_which_process_it_made(void **state)
{
	struct fixture *f = *state;
	struct rekindle_statistics statistics;
	int32_t pid = 0;

	test_images_write(f->images, 1234);
	assert_int_equal(rekindle_restore(&f->environment, &f->restore, &pid, &statistics, NULL, 0, &f->error),
			 REKINDLE_OK);
	assert_true(pid > 1 && process_alive(pid));
	kill(pid, SIGKILL);
	assert_true(passed(f, "restore\n--restore-detached\n--pidfile\n"));
	assert_false(passed(f, "--restore-threads"));
	assert_false(passed(f, "--leave-running"));
	assert_int_equal(statistics.restore_threads, -1);
	assert_int_equal(statistics.host_bytes, TEST_IMAGES_HOST_BYTES);
}

static void a_patched_criu_gets_threads_and_huge_pages(void **state)
{
	struct fixture *f = *state;
	char program[128];
	int32_t pid;

	/* Another path: what a program can do is asked once. */
	snprintf(program, sizeof(program), "%s/criu", f->root);
	assert_int_equal(symlink(FAKE_CRIU, program), 0);
	f->environment.criu = program;
	f->environment.restore_hugepages = REKINDLE_HUGEPAGES_ALWAYS;
	setenv("REKINDLE_TEST_CRIU_PATCHED", "1", 1);
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_true(passed(f, "--restore-threads\n0\n--restore-thp\nalways\n"));
	assert_false(passed(f, "--dump-threads"));
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_true(passed(f, "--dump-threads\n0\n"));
	assert_false(passed(f, "--restore-th"));
	f->environment.restore_threads = -1;
	f->environment.restore_hugepages = REKINDLE_HUGEPAGES_DEFAULT;
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_false(passed(f, "--restore-threads"));
	assert_false(passed(f, "--restore-thp"));
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_false(passed(f, "--dump-threads"));
}

static void settings_reach_criu_alone(void **state)
{
	struct fixture *f = *state;

	setenv("CRIU_CUDA_STREAMS", "2", 1);
	setenv("LD_PRELOAD", "", 1);
	f->environment.streams = 7;
	f->environment.context_pool = 1;
	f->environment.parallel_restore = 0;
	f->environment.checksums = 0;
	f->environment.pool_socket = "/tmp/a.sock";
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_true(variable_is(f, "CRIU_CUDA_STREAMS=7\n"));
	assert_false(variable_is(f, "CRIU_CUDA_STREAMS=2\n"));
	assert_true(variable_is(f, "CRIU_CUDA_CONTEXT_POOL=1\n"));
	assert_true(variable_is(f, "CRIU_CUDA_PARALLEL_RESTORE=0\n"));
	assert_true(variable_is(f, "REKINDLE_CHECKSUMS=0\n"));
	assert_true(variable_is(f, "REKINDLE_POOL_SOCKET=/tmp/a.sock\n"));
	assert_false(variable_is(f, "LD_PRELOAD="));
	assert_string_equal(getenv("CRIU_CUDA_STREAMS"), "2");
	unsetenv("CRIU_CUDA_STREAMS");
	unsetenv("LD_PRELOAD");
}

/* With one variable more and one less: of one of the two nothing of what malloc gave is left over. */
static void everything_that_can_be_chosen_reaches_criu(void **state)
{
	struct fixture *f = *state;
	char configuration[128];
	int more;

	snprintf(configuration, sizeof(configuration), "%s/settings.conf", f->root);
	touch(configuration);
	f->environment.streams = 7;
	f->environment.context_pool = 1;
	f->environment.parallel_restore = 0;
	f->environment.checksums = 0;
	f->environment.pool_socket = "/tmp/a.sock";
	f->environment.cuda_driver = "libcuda.so.1";
	f->environment.configuration = configuration;
	f->dump.park = REKINDLE_PARK_DEVICE;
	f->dump.parent = "none";
	for (more = 0; more <= 1; more++) {
		if (more)
			setenv("REKINDLE_TEST_MORE", "1", 1);
		assert_int_equal(dump(f, "ok"), REKINDLE_OK);
		assert_true(variable_is(f, "REKINDLE_CUDA_DRIVER=libcuda.so.1\n"));
		assert_true(variable_is(f, "REKINDLE_CONFIGURATION=/tmp/rekindle-run-"));
		assert_true(variable_is(f, "REKINDLE_PARK=device\n"));
		assert_true(variable_is(f, "REKINDLE_PARENT=none\n"));
	}
	unsetenv("REKINDLE_TEST_MORE");
}

/* It keeps its device memory itself: nothing could stay for the next restore. */
static void a_tree_that_is_left_running_is_not_parked(void **state)
{
	struct fixture *f = *state;

	setenv("REKINDLE_PARK", "device", 1);
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_true(variable_is(f, "REKINDLE_PARK=device\n"));
	f->dump.flags = REKINDLE_LEAVE_RUNNING;
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_true(variable_is(f, "REKINDLE_PARK=file\n"));
	assert_false(variable_is(f, "REKINDLE_PARK=device\n"));
	unsetenv("REKINDLE_PARK");
}

static void a_choice_of_gpus_reaches_criu(void **state)
{
	struct fixture *f = *state;
	int32_t pid;

	setenv("REKINDLE_DEVICE_MAP", "2", 1);
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_true(variable_is(f, "REKINDLE_DEVICE_MAP=2\n"));
	f->restore.device_map = "0=1,1=0";
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_true(variable_is(f, "REKINDLE_DEVICE_MAP=0=1,1=0\n"));
	assert_false(variable_is(f, "REKINDLE_DEVICE_MAP=2\n"));
	f->restore.device_map = "";
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_true(variable_is(f, "REKINDLE_DEVICE_MAP=\n"));
	unsetenv("REKINDLE_DEVICE_MAP");
	f->restore.device_map = "1";
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_true(variable_is(f, "REKINDLE_DEVICE_MAP=1\n"));
	f->restore.device_map = "0=first";
	assert_int_equal(restore(f, "ok", NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "device_map 0=first is not valid: \"0=first\""));
}

static void files_are_found_from_the_callers_folder(void **state)
{
	char before[256], expected[512];
	struct fixture *f = *state;
	FILE *file;

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(f->root), 0);
	file = fopen("settings.conf", "w");
	assert_non_null(file);
	fputs("[rekindle]\nREKINDLE_TIMEOUT=17\n", file);
	fclose(file);
	f->environment.configuration = "./settings.conf";
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	snprintf(expected, sizeof(expected), "REKINDLE_CONFIGURATION=%s/settings.conf\n", f->root);
	assert_true(variable_is(f, expected));
	assert_int_equal(chdir(before), 0);
}

static void old_statistics_are_not_taken_for_new_ones(void **state)
{
	struct fixture *f = *state;
	struct rekindle_statistics statistics;
	int32_t pid;

	/* CRIU's own, too. */
	assert_int_equal(dump(f, "gpu-fails"), REKINDLE_ERROR_CORRUPT_IMAGE);
	test_images_write_statistics(f->work);
	setenv("REKINDLE_TEST_CRIU", "ok", 1);
	assert_int_equal(rekindle_checkpoint(&f->environment, &f->dump, &statistics, NULL, 0, &f->error), REKINDLE_OK);
	assert_string_equal(statistics.failure, "");
	assert_int_equal(statistics.pages_written, 0);
	test_images_write_statistics(f->work);
	assert_int_equal(restore(f, "gpu-fails", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
}

/* The guardian of a pool that was killed comes to the first process of a container, and ends when its work is done. */
static void a_guardian_without_its_pool_stays_no_zombie(void **state)
{
	struct fixture *f = *state;
	char path[128];
	pid_t guardian;
	int i;

	snprintf(path, sizeof(path), "%s.programs", f->arguments);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(dump(f, "guardian-left-behind"), REKINDLE_OK);
	snprintf(path, sizeof(path), "%s.pid", f->arguments);
	guardian = (pid_t)atoi(text_of(path));
	assert_true(guardian > 0);
	for (i = 0; i < 30000 && !kill(guardian, 0); i++)
		usleep(1000);
	assert_int_equal(kill(guardian, 0), -1);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void null_for_everything_optional(void **state)
{
	struct fixture *f = *state;

	f->dump.work_directory = NULL;
	setenv("REKINDLE_TEST_CRIU", "fails", 1);
	assert_int_equal(rekindle_checkpoint(&f->environment, &f->dump, NULL, NULL, 0, NULL),
			 REKINDLE_ERROR_CRIU_FAILED);
	assert_int_equal(rekindle_checkpoint(NULL, NULL, NULL, NULL, 0, NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_restore(NULL, NULL, NULL, NULL, NULL, 0, NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_dump_passes_flags_and_folders),
		TEST(a_restore_says_which_process_it_made),
		TEST(a_patched_criu_gets_threads_and_huge_pages),
		TEST(settings_reach_criu_alone),
		TEST(everything_that_can_be_chosen_reaches_criu),
		TEST(a_tree_that_is_left_running_is_not_parked),
		TEST(a_choice_of_gpus_reaches_criu),
		TEST(files_are_found_from_the_callers_folder),
		TEST(old_statistics_are_not_taken_for_new_ones),
		TEST(a_guardian_without_its_pool_stays_no_zombie),
		TEST(null_for_everything_optional),
	};

	return RUN_TESTS(tests);
}
