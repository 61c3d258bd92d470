/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/process_tree.h"
#include "api/test_images.h"
#include "rekindle.h"
#include "support/clock.h"

/* Checkpoint and restore against a criu that is a script (tests/fake-criu.sh): arguments and every way to fail. */

struct fixture {
	char root[64];
	char plugin[96], images[96], work[96], arguments[96];
	pid_t target;
	struct rekindle_environment environment;
	struct rekindle_checkpoint_request dump;
	struct rekindle_restore_request restore;
	struct rekindle_error error;
};

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static void touch(const char *path)
{
	int file = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(file >= 0);
	close(file);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[128];

	assert_non_null(f);
	strcpy(f->root, "/tmp/rekindle-run-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	snprintf(f->plugin, sizeof(f->plugin), "%s/plugin", f->root);
	snprintf(f->images, sizeof(f->images), "%s/images", f->root);
	snprintf(f->work, sizeof(f->work), "%s/work", f->root);
	snprintf(f->arguments, sizeof(f->arguments), "%s/arguments", f->root);
	assert_int_equal(mkdir(f->plugin, 0700), 0);
	snprintf(path, sizeof(path), "%s/cuda_plugin.so", f->plugin);
	touch(path);
	setenv("REKINDLE_TEST_ARGUMENTS", f->arguments, 1);
	setenv("REKINDLE_TEST_CRIU", "ok", 1);
	setenv("REKINDLE_TEST_CRIU_VERSION", "4.2.1", 1);
	unsetenv("REKINDLE_TEST_CRIU_PATCHED");
	f->target = fork();
	if (!f->target)
		for (;;)
			pause();
	rekindle_environment_defaults(&f->environment);
	f->environment.criu = FAKE_CRIU;
	f->environment.plugin_directory = f->plugin;
	f->dump.structure_size = sizeof(f->dump);
	f->dump.pid = f->target;
	f->dump.directory = f->images;
	f->dump.work_directory = f->work;
	f->restore.structure_size = sizeof(f->restore);
	f->restore.directory = f->images;
	f->restore.work_directory = f->work;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	kill(f->target, SIGKILL);
	waitpid(f->target, NULL, 0);
	nftw(f->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static int dump(struct fixture *f, const char *behaviour)
{
	setenv("REKINDLE_TEST_CRIU", behaviour, 1);
	return rekindle_checkpoint(&f->environment, &f->dump, NULL, NULL, 0, &f->error);
}

static int restore(struct fixture *f, const char *behaviour, int32_t *pid)
{
	test_images_write(f->images, 1234);
	setenv("REKINDLE_TEST_CRIU", behaviour, 1);
	return rekindle_restore(&f->environment, &f->restore, pid, NULL, NULL, 0, &f->error);
}

/* The whole text of a file in memory that lives until the next call. */
static const char *text_of(const char *path)
{
	static char text[65536];
	int file = open(path, O_RDONLY);
	ssize_t got = file < 0 ? 0 : read(file, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	if (file >= 0)
		close(file);
	return text;
}

static bool passed(struct fixture *f, const char *arguments)
{
	return strstr(text_of(f->arguments), arguments);
}

static bool variable_is(struct fixture *f, const char *line)
{
	char path[128];

	snprintf(path, sizeof(path), "%s.env", f->arguments);
	return strstr(text_of(path), line);
}

static void wait_for(struct fixture *f, const char *suffix)
{
	char path[128];
	int i;

	snprintf(path, sizeof(path), "%s.%s", f->arguments, suffix);
	for (i = 0; i < 10000 && access(path, F_OK); i++)
		usleep(1000);
	assert_int_equal(access(path, F_OK), 0);
}

/* ---- what CRIU is started with ---- */

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
	assert_true(passed(f, "--restore-threads\n0\n--restore-hugepages\nalways\n"));
	f->environment.restore_threads = -1;
	f->environment.restore_hugepages = REKINDLE_HUGEPAGES_DEFAULT;
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
	assert_false(passed(f, "--restore-threads"));
	assert_false(passed(f, "--restore-hugepages"));
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

/* ---- failures of CRIU ---- */

static void a_failed_dump_tells_the_first_cause_and_the_log(void **state)
{
	struct fixture *f = *state;
	struct rekindle_statistics statistics;

	setenv("REKINDLE_TEST_CRIU", "fails", 1);
	assert_int_equal(rekindle_checkpoint(&f->environment, &f->dump, &statistics, NULL, 0, &f->error),
			 REKINDLE_ERROR_CRIU_FAILED);
	assert_int_equal(f->error.code, REKINDLE_ERROR_CRIU_FAILED);
	assert_int_equal(f->error.phase, REKINDLE_PHASE_CRIU);
	assert_non_null(strstr(f->error.message, "the first cause"));
	assert_non_null(strstr(f->error.message, "exit status 1"));
	assert_non_null(strstr(f->error.criu_log, "Dumping FAILED."));
	assert_false(statistics.succeeded);
	assert_string_equal(statistics.failure, f->error.message);
}

static void known_causes_have_codes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dump(f, "disk-full"), REKINDLE_ERROR_NO_SPACE);
	assert_int_equal(dump(f, "killed"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "signal 9"));
	assert_int_equal(dump(f, "no-log"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "libnet.so.1"));
	assert_int_equal(restore(f, "file-is-missing", NULL), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "Can't open file data/state"));
	assert_int_equal(restore(f, "image-is-broken", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_non_null(strstr(f->error.message, "core-7.img"));
	assert_int_equal(dump(f, "image-is-broken"), REKINDLE_ERROR_CRIU_FAILED);
}

static void a_process_that_is_left_without_its_gpu_is_a_failure(void **state)
{
	struct fixture *f = *state;

	/* Without the flag the process has ended, and its image is all that counts. */
	f->dump.flags = 0;
	assert_int_equal(dump(f, "gpu-left-behind"), REKINDLE_OK);
	f->dump.flags = REKINDLE_LEAVE_RUNNING;
	assert_int_equal(dump(f, "gpu-left-behind"), REKINDLE_ERROR_GPU);
	assert_non_null(strstr(f->error.message, "is complete"));
	assert_non_null(strstr(f->error.message, "The driver did not restore."));
}

static void a_failed_gpu_part_gives_code_phase_and_sentence(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(restore(f, "gpu-fails", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_int_equal(f->error.phase, REKINDLE_PHASE_PREFETCH);
	assert_string_equal(f->error.message, "Chunk 3 of allocation 1 in rekindle-pages-7.img is damaged.");
	assert_non_null(strstr(f->error.criu_log, "the plugin's words"));
}

static void a_failure_that_criu_ignores_is_one_and_leaves_no_process(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int32_t pid = 77;

	assert_int_equal(restore(f, "gpu-fails-unnoticed", &pid), REKINDLE_ERROR_GPU);
	assert_string_equal(f->error.message, "The driver did not restore.");
	assert_int_equal(f->error.phase, REKINDLE_PHASE_DRIVER_RESTORE);
	assert_int_equal(pid, 0);
	snprintf(path, sizeof(path), "%s.pid", f->arguments);
	assert_false(process_alive(atoi(text_of(path))));
}

static void a_restore_without_a_living_process_failed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(restore(f, "dead-after-restore", NULL), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "ended as soon as it ran"));
	assert_int_equal(restore(f, "no-pid", NULL), REKINDLE_ERROR_CRIU_FAILED);
}

static void old_statistics_are_not_taken_for_new_ones(void **state)
{
	struct fixture *f = *state;
	int32_t pid;

	assert_int_equal(restore(f, "gpu-fails", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_int_equal(restore(f, "ok", &pid), REKINDLE_OK);
	kill(pid, SIGKILL);
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

/* ---- wrong requests ---- */

static void wrong_processes_are_named(void **state)
{
	struct fixture *f = *state;
	struct rekindle_checkpoint_request *dump_request = &f->dump;
	pid_t zombie = fork();

	if (!zombie)
		_exit(0);
	waitid(P_PID, (id_t)zombie, NULL, WEXITED | WNOWAIT);
	dump_request->pid = zombie;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_NO_SUCH_PROCESS);
	assert_non_null(strstr(f->error.message, "has ended"));
	waitpid(zombie, NULL, 0);
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_NO_SUCH_PROCESS);
	assert_non_null(strstr(f->error.message, "no such process"));
	dump_request->pid = 1;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	dump_request->pid = -5;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	dump_request->pid = getpid();
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "calling process"));
	if (getppid() > 1) {
		dump_request->pid = getppid();
		assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	}
	assert_string_equal(text_of(f->arguments), "");
}

static void a_kernel_thread_is_refused(void **state)
{
	struct fixture *f = *state;
	struct process_facts facts;

	if (process_facts_read(2, &facts) || !facts.kernel_thread)
		skip(); /* in a pid namespace none is visible */
	f->dump.pid = 2;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "kernel"));
}

static void wrong_folders_are_named(void **state)
{
	struct fixture *f = *state;
	char path[160];
	int32_t pid;

	snprintf(path, sizeof(path), "%s/file", f->root);
	touch(path);
	f->dump.directory = path;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "is a file"));
	f->dump.directory = NULL;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->dump.directory = "/proc/none/images";
	assert_int_not_equal(dump(f, "ok"), REKINDLE_OK);
	assert_non_null(strstr(f->error.message, "/proc/none/images"));
	f->restore.directory = f->plugin;
	assert_int_equal(rekindle_restore(&f->environment, &f->restore, &pid, NULL, NULL, 0, &f->error),
			 REKINDLE_ERROR_NO_IMAGE);
	assert_non_null(strstr(f->error.message, "holds no checkpoint"));
	f->restore.directory = "/nonexistent";
	assert_int_equal(rekindle_restore(&f->environment, &f->restore, &pid, NULL, NULL, 0, &f->error),
			 REKINDLE_ERROR_NO_IMAGE);
	f->restore.directory = path;
	assert_int_equal(rekindle_restore(&f->environment, &f->restore, &pid, NULL, NULL, 0, &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_string_equal(text_of(f->arguments), "");
}

static void a_damaged_inventory_is_corrupt(void **state)
{
	struct fixture *f = *state;
	char path[128];

	test_images_write(f->images, 1234);
	snprintf(path, sizeof(path), "%s/inventory.img", f->images);
	assert_int_equal(truncate(path, 6), 0);
	assert_int_equal(rekindle_restore(&f->environment, &f->restore, NULL, NULL, NULL, 0, &f->error),
			 REKINDLE_ERROR_CORRUPT_IMAGE);
}

static void wrong_values_are_named(void **state)
{
	struct fixture *f = *state;

	f->dump.structure_size--;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "structure_size"));
	f->dump.structure_size++;
	f->dump.flags = 1u << 30;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->dump.flags = 0;
	f->dump.log_file = "../x.log";
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->dump.log_file = NULL;
	f->dump.log_level = 5;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->dump.log_level = 0;
	f->dump.argument_count = 1;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->dump.argument_count = 0;
	f->environment.streams = 65;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "streams"));
	f->environment.streams = 0;
	f->environment.cuda_driver = "/nonexistent/libcuda.so.1";
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_NO_DRIVER);
	f->environment.cuda_driver = NULL;
	f->environment.configuration = "/nonexistent/rekindle.conf";
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->environment.configuration = NULL;
	f->environment.plugin_directory = f->root;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "cuda_plugin.so"));
	f->environment.plugin_directory = f->plugin;
	setenv("REKINDLE_CHUNKSIZE", "4M", 1);
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "REKINDLE_CHUNKSIZE"));
	unsetenv("REKINDLE_CHUNKSIZE");
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
}

static void a_missing_or_old_criu_is_named(void **state)
{
	struct fixture *f = *state;
	char program[128];

	f->environment.criu = "/nonexistent/criu";
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_CRIU_NOT_FOUND);
	f->environment.criu = "/bin/true";
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_CRIU_NOT_FOUND);
	snprintf(program, sizeof(program), "%s/old", f->root);
	assert_int_equal(symlink(FAKE_CRIU, program), 0);
	f->environment.criu = program;
	setenv("REKINDLE_TEST_CRIU_VERSION", "4.0", 1);
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INCOMPATIBLE);
	assert_non_null(strstr(f->error.message, "4.0"));
	f->environment.criu = FAKE_CRIU;
	assert_int_equal(rekindle_check(&f->environment, &f->error), REKINDLE_OK);
	setenv("REKINDLE_TEST_CRIU", "check-fails", 1);
	assert_int_equal(rekindle_check(&f->environment, &f->error), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "vDSO"));
}

/* ---- cancellation and progress ---- */

struct observed {
	uint64_t done, total;
	int32_t phase;
	unsigned int calls;
};

static void observe(uint64_t bytes_done, uint64_t bytes_total, int32_t phase, void *context)
{
	struct observed *observed = context;

	observed->calls++;
	if (bytes_total) {
		observed->done = bytes_done;
		observed->total = bytes_total;
		observed->phase = phase;
	}
}

struct canceller {
	struct fixture *fixture;
	struct rekindle_operation *operation;
};

static void *cancel_when_ready(void *context)
{
	struct canceller *canceller = context;

	wait_for(canceller->fixture, "ready");
	usleep(50000);
	rekindle_operation_cancel(canceller->operation);
	return NULL;
}

static int cancelled_run(struct fixture *f, bool is_restore, const char *behaviour, struct observed *observed)
{
	struct canceller canceller = {f, rekindle_operation_create(observe, observed)};
	pthread_t thread;
	int result;

	f->dump.operation = f->restore.operation = canceller.operation;
	assert_int_equal(pthread_create(&thread, NULL, cancel_when_ready, &canceller), 0);
	result = is_restore ? restore(f, behaviour, NULL) : dump(f, behaviour);
	pthread_join(thread, NULL);
	rekindle_operation_destroy(canceller.operation);
	f->dump.operation = f->restore.operation = NULL;
	return result;
}

/* Processes with "300.NUMBER" in their command line; the pattern does not find the search itself. */
static unsigned int count_sleepers(int number)
{
	char command[256];
	unsigned int count = 0;
	FILE *stream;

	snprintf(command, sizeof(command), "grep -alzx '300[.]%d' /proc/[0-9]*/cmdline 2>/dev/null | wc -l", number);
	stream = popen(command, "r");
	assert_non_null(stream);
	assert_int_equal(fscanf(stream, "%u", &count), 1);
	pclose(stream);
	return count;
}

static void a_cancelled_restore_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};
	char mark[16];

	snprintf(mark, sizeof(mark), "%d", getpid());
	setenv("REKINDLE_TEST_MARK", mark, 1);
	assert_int_equal(cancelled_run(f, true, "slow-restore", &observed), REKINDLE_ERROR_CANCELLED);
	assert_int_equal(count_sleepers(getpid()), 0);
	assert_true(observed.calls > 1);
	assert_non_null(strstr(f->error.message, "cancelled"));
}

static void a_cancelled_dump_ends_by_itself_outside_the_copy(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};

	assert_int_equal(cancelled_run(f, false, "slow-dump", &observed), REKINDLE_ERROR_CANCELLED);
	assert_true(process_alive(f->target));
}

static void a_dump_cancelled_in_the_copy_waits_for_the_pool(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};
	char path[128];

	assert_int_equal(cancelled_run(f, false, "slow-copy", &observed), REKINDLE_ERROR_CANCELLED);
	snprintf(path, sizeof(path), "%s.back", f->arguments);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(observed.done, 1);
	assert_int_equal(observed.total, 2);
	assert_int_equal(observed.phase, REKINDLE_PHASE_COPY_OUT);
	snprintf(path, sizeof(path), "%s/rekindle.progress", f->work);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_cancellation_before_the_run_counts_once(void **state)
{
	struct fixture *f = *state;
	struct rekindle_operation *operation = rekindle_operation_create(NULL, NULL);

	f->dump.operation = operation;
	rekindle_operation_cancel(operation);
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_CANCELLED);
	assert_string_equal(text_of(f->arguments), "");
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	rekindle_operation_destroy(operation);
	rekindle_operation_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_dump_passes_flags_and_folders),
		TEST(a_restore_says_which_process_it_made),
		TEST(a_patched_criu_gets_threads_and_huge_pages),
		TEST(settings_reach_criu_alone),
		TEST(files_are_found_from_the_callers_folder),
		TEST(a_failed_dump_tells_the_first_cause_and_the_log),
		TEST(known_causes_have_codes),
		TEST(a_process_that_is_left_without_its_gpu_is_a_failure),
		TEST(a_failed_gpu_part_gives_code_phase_and_sentence),
		TEST(a_failure_that_criu_ignores_is_one_and_leaves_no_process),
		TEST(a_restore_without_a_living_process_failed),
		TEST(old_statistics_are_not_taken_for_new_ones),
		TEST(null_for_everything_optional),
		TEST(wrong_processes_are_named),
		TEST(a_kernel_thread_is_refused),
		TEST(wrong_folders_are_named),
		TEST(a_damaged_inventory_is_corrupt),
		TEST(wrong_values_are_named),
		TEST(a_missing_or_old_criu_is_named),
		TEST(a_cancelled_restore_leaves_nothing),
		TEST(a_cancelled_dump_ends_by_itself_outside_the_copy),
		TEST(a_dump_cancelled_in_the_copy_waits_for_the_pool),
		TEST(a_cancellation_before_the_run_counts_once),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "run_test needs root, as checkpoint and restore do\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
