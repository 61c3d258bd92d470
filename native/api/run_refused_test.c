/* SPDX-License-Identifier: MIT */
#include "api/run_test_support.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process_tree.h"
#include "api/test_images.h"

/* What is wrong before criu is started is refused by name. */

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
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "/proc/none/images cannot be made there"));
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

/* Smaller or larger: of another header, whose members may stand elsewhere. */
static void structures_of_another_header_are_refused(void **state)
{
	struct fixture *f = *state;
	uint32_t *const sizes[] = {&f->dump.structure_size, &f->environment.structure_size};
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		*sizes[i] -= 8;
		assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(f->error.message, "with the header of library version"));
		*sizes[i] += 16;
		assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
		*sizes[i] -= 8;
	}
	f->restore.structure_size += 8;
	assert_int_equal(restore(f, "ok", NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "struct rekindle_restore_request"));
	f->restore.structure_size -= 8;
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
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
	f->dump.flags = REKINDLE_TCP_ESTABLISHED | REKINDLE_TCP_CLOSE;
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "choose one"));
	f->dump.flags = 0;
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

/* CRIU would write its log over an image that it is about to read. */
static void a_log_in_the_place_of_an_image_is_refused(void **state)
{
	static const char *const names[] = {
		"pages-1.img",	 "rekindle-checkpoint.img", "rekindle-pages-7.img", "stats-restore",
		"rekindled.log", "rekindle.progress",	    ".rekindle-lock",	    "..",
		"parent"};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		f->dump.log_file = f->restore.log_file = names[i];
		assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(f->error.message, "the checkpoint's own files"));
		assert_int_equal(restore(f, "ok", NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
	}
	assert_string_equal(text_of(f->arguments), "");
}

/* Each of them by itself, with a sentence that names it and says why. */
static void assert_arguments_refused(struct fixture *f, const char *const *refused, size_t count, const char *why)
{
	size_t i;

	f->dump.argument_count = 1;
	for (i = 0; i < count; i++) {
		f->dump.arguments = &refused[i];
		assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(f->error.message, refused[i]));
		assert_non_null(strstr(f->error.message, why));
	}
	assert_string_equal(text_of(f->arguments), "");
}

static void arguments_are_refused_or_passed_on(void **state)
{
	static const char *const given_by_the_library[] = {
		"--help", "-h",	       "-V",	  "-D",	 "-D/elsewhere",   "-lR", "--tree", "--images-dir=/x",
		"--imag", "--pidfile", "--log-f", "-t1", "--leave-running"};
	static const char *const without_pages[] = {"--page-server", "--page", "--stream", "--lazy-pages"};
	static const char *const passed_on[] = {"-v", "4",	     "-vt", "--external", "dev[1:3]:hd",
						"-l", "--timeout=5", "-",   "-x/t"};
	struct fixture *f = *state;
	size_t i;

	assert_arguments_refused(f, given_by_the_library, sizeof(given_by_the_library) / sizeof(char *),
				 "by the library itself");
	assert_arguments_refused(f, without_pages, sizeof(without_pages) / sizeof(char *), "out of the folder");
	for (i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++) {
		f->dump.arguments = &passed_on[i];
		assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	}
}

/* Writes into a mapping without room behind it would end this process. */
static int dump_without_room(struct fixture *f)
{
	char path[128], block[4096] = {1};
	int file;

	if (mkdir(f->work, 0700))
		return 3;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", f->work, "tmpfs", 0, "size=32k"))
		return 77;
	snprintf(path, sizeof(path), "%s/all", f->work);
	file = open(path, O_WRONLY | O_CREAT, 0600);
	while (write(file, block, sizeof(block)) > 0)
		;
	if (dump(f, "ok") != REKINDLE_ERROR_NO_SPACE)
		return 1;
	snprintf(path, sizeof(path), "%s/rekindle.progress", f->work);
	return access(path, F_OK) ? 0 : 2;
}

static void a_full_disk_is_named(void **state)
{
	struct fixture *f = *state;
	pid_t child = fork();
	int status;

	if (!child)
		_exit(dump_without_room(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
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
	assert_non_null(strstr(f->error.message, "use a newer CRIU"));
	setenv("REKINDLE_TEST_CRIU", "no-loopback", 1);
	assert_int_equal(rekindle_check(&f->environment, &f->error), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "Network is unreachable"));
	assert_non_null(strstr(f->error.message, "'ip link set lo up'"));
	assert_null(strstr(f->error.message, "newer CRIU"));
}

static void a_wrong_part_hides_no_other(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];

	f->environment.plugin_directory = f->root;
	assert_int_equal(rekindle_find_part(&f->environment, REKINDLE_PART_PLUGIN, path, sizeof(path), &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_find_part(&f->environment, REKINDLE_PART_CRIU, path, sizeof(path), &f->error),
			 REKINDLE_OK);
	assert_string_equal(path, FAKE_CRIU);
	f->environment.plugin_directory = f->plugin;
	f->environment.criu = "/nonexistent/criu";
	assert_int_equal(rekindle_find_part(&f->environment, REKINDLE_PART_CRIU, path, sizeof(path), &f->error),
			 REKINDLE_ERROR_CRIU_NOT_FOUND);
	assert_int_equal(rekindle_find_part(&f->environment, REKINDLE_PART_PLUGIN, path, sizeof(path), &f->error),
			 REKINDLE_OK);
}

static void note_warning(int32_t level, const char *line, void *context)
{
	if (level == REKINDLE_LOG_WARNING && strstr(line, "/run/criu.kdat"))
		*(bool *)context = true;
}

/* In a mount namespace of its own: what the machine has in /run is not the test's. */
static int check_twice(struct fixture *f)
{
	bool warned = false;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL))
		return 77;
	rekindle_set_log(note_warning, &warned, REKINDLE_LOG_WARNING);
	if (rekindle_check(&f->environment, &f->error) || !warned)
		return 1;
	warned = false;
	touch("/run/criu.kdat");
	return rekindle_check(&f->environment, &f->error) || warned ? 2 : 0;
}

static void a_check_warns_where_criu_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	if (geteuid())
		skip();
	child = fork();
	if (!child)
		_exit(check_twice(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wrong_processes_are_named),
		TEST(a_kernel_thread_is_refused),
		TEST(wrong_folders_are_named),
		TEST(a_damaged_inventory_is_corrupt),
		TEST(structures_of_another_header_are_refused),
		TEST(wrong_values_are_named),
		TEST(a_log_in_the_place_of_an_image_is_refused),
		TEST(arguments_are_refused_or_passed_on),
		TEST(a_full_disk_is_named),
		TEST(a_missing_or_old_criu_is_named),
		TEST(a_wrong_part_hides_no_other),
		TEST(a_check_warns_where_criu_keeps_nothing),
	};

	return RUN_TESTS(tests);
}
