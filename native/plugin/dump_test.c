/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "plugin/dump.h"
#include "process/process_handle.h"
#include "support/clock.h"
#include "support/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The hooks of a dump, called as CRIU calls them, for a child that has the CUDA driver loaded and begins to use it when it
 * is told to. The pool is the real one, on the simulated driver.
 */

#define SECOND UINT64_C(1000000000)

struct shared {
	atomic_bool loaded, go, begun;
};

static struct shared *shared;
static pid_t child;
static char folder[] = "/tmp/dump-test-XXXXXX";
static int images = -1;
static char said[4096]; /* errors of the plugin */

/* What fails while a dump into a folder begins. */
static bool no_script;
static int no_memory_file, no_folder; /* errno codes */

/* What CRIU has for its plugins. */
int criu_get_image_dir(void);
int criu_get_image_dir(void)
{
	/* A dump makes it lead elsewhere, and each test is a CRIU of its own. */
	if (images < 0)
		images = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return images;
}

int add_inventory_plugin(const char *name);
int add_inventory_plugin(const char *name)
{
	(void)name;
	return 0;
}

int add_script(char *path);
int add_script(char *path)
{
	return no_script ? -1 : access(path, X_OK);
}

/* Linked with --wrap for each. */
int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags)
{
	errno = no_memory_file;
	return no_memory_file ? -1 : __real_memfd_create(name, flags);
}

int __real_mkdirat(int around, const char *name, mode_t mode);
int __wrap_mkdirat(int around, const char *name, mode_t mode);
int __wrap_mkdirat(int around, const char *name, mode_t mode)
{
	errno = no_folder;
	return no_folder ? -1 : __real_mkdirat(around, name, mode);
}

static void keep_error(enum log_level level, const char *line, void *context)
{
	(void)context;
	if (level == LOG_LEVEL_ERROR)
		snprintf(said, sizeof(said), "%.4095s", line);
}

static bool is_soon(const atomic_bool *condition)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

	while (!atomic_load(condition)) {
		if (monotonic_nanoseconds() > deadline)
			return false;
		usleep(500);
	}
	return true;
}

static _Noreturn void run_child(void)
{
	void *driver = dlopen(getenv("REKINDLE_CUDA_DRIVER"), RTLD_NOW);
	int (*init)(unsigned int) = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (driver)
		*(void **)&init = dlsym(driver, "cuInit");
	atomic_store(&shared->loaded, init != NULL);
	is_soon(&shared->go);
	if (!init || init(0))
		abort();
	atomic_store(&shared->begun, true);
	for (;;)
		pause();
}

/* pid: 0 for any. */
static int start_child_as(pid_t pid)
{
	struct clone_args arguments = {.exit_signal = SIGCHLD};

	if (pid) {
		arguments.set_tid = (uint64_t)(uintptr_t)&pid;
		arguments.set_tid_size = 1;
	}

	memset(shared, 0, sizeof(*shared));
	child = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (!child)
		run_child();
	return child > 0 && is_soon(&shared->loaded) ? 0 : -1;
}

static int start_child(void **state)
{
	(void)state;
	said[0] = '\0';
	if (images >= 0)
		close(images);
	images = -1;
	return start_child_as(0);
}

static int end_child(void **state)
{
	(void)state;
	if (child <= 0)
		return 0;
	kill(child, SIGKILL);
	return waitpid(child, NULL, __WALL) == child ? 0 : -1;
}

static void begin_cuda(void)
{
	atomic_store(&shared->go, true);
	assert_true(is_soon(&shared->begun));
}

static void hold(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
}

static void assert_said(const char *sentence)
{
	if (!strstr(said, sentence))
		fail_msg("\"%s\" does not say \"%s\"", said, sentence);
}

/* Between the first hook and the stop: its memory would be missing in the image. */
static void cuda_that_begins_in_the_middle_is_refused(void **state)
{
	(void)state;
	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(dump_pause_devices(child), 0);
	begin_cuda();
	hold(child);
	assert_int_equal(dump_checkpoint_devices(child), -1);
	assert_said("began to use CUDA while the dump began: dump it again");
	dump_end(-1);
}

static void a_driver_that_is_not_used_is_no_matter(void **state)
{
	(void)state;
	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(dump_pause_devices(child), 0);
	hold(child);
	assert_int_equal(dump_checkpoint_devices(child), 0);
	dump_end(-1);
	assert_string_equal(said, "");
}

/* CRIU asks again for a process that it could not seize at once; a number that is another process's now is another one. */
static void a_process_is_found_again_and_no_other_one_is(void **state)
{
	struct process_handle handle;
	struct error_text error;
	pid_t before = child;

	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(dump_pause_devices(child), 0);
	assert_int_equal(process_handle_open(&handle, child, &error), -EBUSY);
	assert_int_equal(dump_pause_devices(child), 0);
	assert_int_equal(end_child(state), 0);
	/* Gone in between, it is none of ours. */
	assert_int_equal(dump_pause_devices(before), -ENOTSUP);
	if (start_child_as(before)) {
		dump_end(-1);
		skip(); /* needs root */
	}
	assert_int_equal(child, before);
	/* Nobody has it before the hook is called for it. */
	assert_int_equal(process_handle_open(&handle, child, &error), 0);
	process_handle_close(&handle);
	assert_int_equal(dump_pause_devices(child), 0);
	assert_int_equal(process_handle_open(&handle, child, &error), -EBUSY);
	dump_end(-1);
	/* The run is over, and others may have it. */
	assert_int_equal(process_handle_open(&handle, child, &error), 0);
	process_handle_close(&handle);
}

static void a_process_in_other_hands_is_left_alone(void **state)
{
	struct process_handle handle;
	struct error_text error;

	(void)state;
	assert_int_equal(process_handle_open(&handle, child, &error), 0);
	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(dump_pause_devices(child), -1);
	assert_said("is in the hands of another run");
	dump_end(-1);
	process_handle_close(&handle);
}

/* CRIU would dump what is left of it, and end in the middle of that. */
static void a_dump_of_what_has_ended_fails(void **state)
{
	pid_t before = child;

	assert_int_equal(end_child(state), 0);
	child = 0;
	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(dump_pause_devices(before), -1);
	assert_said("has ended");
	dump_end(-1);
}

static void write_older(void)
{
	static const char *const names[] = {"inventory.img", "pstree.img", "core-1.img", "pages-1.img",
					    "rekindle-checkpoint.img"};
	int file;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		file = open(names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_int_equal(write(file, "older", 5), 5);
		close(file);
	}
}

/* Also those of an earlier dump that a plain CRIU has made. */
static void assert_older(void)
{
	if (access("inventory.img", F_OK) || access("pstree.img", F_OK) || access("core-1.img", F_OK) ||
	    access("pages-1.img", F_OK) || access("rekindle-checkpoint.img", F_OK))
		fail_msg("the older checkpoint lost files after: %s", said);
}

static void refused_at_once(const char *sentence)
{
	assert_int_equal(dump_begin(), -1);
	assert_said(sentence);
	assert_older();
	no_script = false;
	no_memory_file = no_folder = 0;
}

/* Nothing is written yet, and nothing that lies there is the dump's to remove. */
static void what_cannot_begin_leaves_the_older_checkpoint(void **state)
{
	(void)state;
	write_older();
	no_folder = ENOSPC;
	refused_at_once("disk is full");
	no_folder = EDQUOT;
	refused_at_once("disk is full");
	no_memory_file = EMFILE;
	refused_at_once("memory file");
	no_script = true;
	refused_at_once("could not add the script rekindle-seal");
	/* What is in its way is not a folder, and what an earlier run has left cannot be undone. */
	close(open(".rekindle-new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	refused_at_once(".rekindle-new");
	assert_int_equal(unlink(".rekindle-new"), 0);
	close(open(".rekindle-older", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	refused_at_once(".rekindle-older");
	assert_int_equal(unlink(".rekindle-older"), 0);
	/* And one that begins leaves it as well. */
	if (dump_begin())
		fail_msg("%s", said);
	assert_int_equal(access(".rekindle-new", F_OK), 0);
	dump_end(-1);
	assert_int_equal(access(".rekindle-new", F_OK), -1);
	assert_older();
}

static int set_up(void **state)
{
	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || !mkdtemp(folder) || chdir(folder))
		return -1;
	setenv("REKINDLE_CONFIGURATION", "/dev/null", 1);
	setenv("REKINDLE_POOL_SOCKET", "/nonexistent/pool.sock", 1);
	log_set_sink(keep_error, NULL, LOG_LEVEL_INFO);
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start_child, end_child)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cuda_that_begins_in_the_middle_is_refused),     TEST(a_driver_that_is_not_used_is_no_matter),
		TEST(a_process_is_found_again_and_no_other_one_is),  TEST(a_process_in_other_hands_is_left_alone),
		TEST(what_cannot_begin_leaves_the_older_checkpoint), TEST(a_dump_of_what_has_ended_fails),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
