/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "plugin/restore.h"
#include "process/restored_tree.h"
#include "support/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
 * Each test runs a process in the place of CRIU: it has a child of two threads, which has a child and a grandchild, holds
 * all of their threads as CRIU does when it calls the hooks, and calls them.
 */

#define SECOND UINT64_C(1000000000)
#define PROCESSES 3

struct shared {
	_Atomic(pid_t) processes[PROCESSES]; /* each one's id, once it runs */
	_Atomic(pid_t) thread;		     /* of the first one, beside its main thread */
	_Atomic unsigned long steps[PROCESSES];
	int pidfds[PROCESSES]; /* in the process in CRIU's place */
	bool ended[PROCESSES]; /* as that one saw it before its end */
	int hook_results[PROCESSES];
};

static struct shared *shared;
static char folder[] = "/tmp/restore-test-XXXXXX";

/* What CRIU has for its plugins. */
int criu_get_image_dir(void);
int criu_get_image_dir(void)
{
	static int images = -1;

	if (images < 0)
		images = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return images;
}

static void count(unsigned int index)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (;;) {
		atomic_fetch_add(&shared->steps[index], 1);
		nanosleep(&pause, NULL);
	}
}

static void *second_thread(void *unused)
{
	atomic_store(&shared->thread, gettid());
	for (;;)
		pause();
	return unused;
}

/* Makes it look like one that uses CUDA. */
static void map_cuda_library(void)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "%s/libcuda.so.1", folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, 4096) || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED)
		abort();
	close(file);
}

static _Noreturn void run_tree(bool second_has_cuda)
{
	pthread_t thread;

	if (!fork()) {
		if (!fork()) {
			atomic_store(&shared->processes[2], getpid());
			count(2);
		}
		if (second_has_cuda)
			map_cuda_library();
		atomic_store(&shared->processes[1], getpid());
		count(1);
	}
	pthread_create(&thread, NULL, second_thread, NULL);
	atomic_store(&shared->processes[0], getpid());
	count(0);
	abort();
}

static pid_t wait_for_id(_Atomic(pid_t) *id)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

	while (!atomic_load(id)) {
		if (monotonic_nanoseconds() > deadline)
			_exit(100);
		usleep(200);
	}
	return *id;
}

static void hold(pid_t thread)
{
	int status;

	if (ptrace(PTRACE_SEIZE, thread, NULL, PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) ||
	    waitpid(thread, &status, __WALL) != thread)
		_exit(101);
}

static void let_go(void)
{
	for (unsigned int index = 0; index < PROCESSES; index++)
		if (ptrace(PTRACE_DETACH, shared->processes[index], NULL, NULL))
			_exit(102);
	if (ptrace(PTRACE_DETACH, shared->thread, NULL, NULL))
		_exit(103);
}

static void start_tree(bool second_has_cuda)
{
	if (!fork())
		run_tree(second_has_cuda);
	for (unsigned int index = 0; index < PROCESSES; index++) {
		pid_t pid = wait_for_id(&shared->processes[index]);

		shared->pidfds[index] = (int)syscall(SYS_pidfd_open, pid, 0);
		hold(pid);
	}
	hold(wait_for_id(&shared->thread));
}

/* A traced one that has ended may still be a zombie; then its tracer has its status. */
static bool has_ended(unsigned int index)
{
	siginfo_t info = {0};

	return syscall(SYS_pidfd_send_signal, shared->pidfds[index], 0, NULL, 0) ||
	       (!waitid(P_PID, (id_t)shared->processes[index], &info, WEXITED | WNOWAIT | WNOHANG | __WALL) &&
		info.si_pid == shared->processes[index]);
}

/* Runs the function in CRIU's place. Returns its status as waitpid gives it. */
static int run_criu(void (*criu)(void))
{
	int status = -1;
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		criu();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Ended and reaped: the test is the reaper of what is left of them. */
static bool are_gone(void)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

	for (unsigned int index = 0; index < PROCESSES; index++) {
		while (!kill(shared->processes[index], 0)) {
			if (monotonic_nanoseconds() > deadline)
				return false;
			waitpid(-1, NULL, WNOHANG);
			usleep(1000);
		}
	}
	return true;
}

static int end_tree(void **state)
{
	(void)state;
	for (unsigned int index = 0; index < PROCESSES; index++)
		if (shared->processes[index] > 0)
			kill(shared->processes[index], SIGKILL);
	return are_gone() ? 0 : -1;
}

static void show_both(struct restored_tree *tree)
{
	struct error_text error;

	for (unsigned int index = 0; index < PROCESSES; index++) {
		if (restored_tree_is_complete(tree) != (index == 0 && !tree->count))
			_exit(104);
		if (restored_tree_show(tree, shared->processes[index], &error))
			_exit(105);
	}
	if (!restored_tree_is_complete(tree) || tree->count != PROCESSES)
		_exit(106);
}

static void criu_that_dies_after_the_first_hook(void)
{
	struct restored_tree tree = {.count = 0};
	struct error_text error;

	start_tree(false);
	if (restored_tree_show(&tree, shared->processes[0], &error))
		_exit(105);
	raise(SIGKILL);
}

static void what_criu_still_holds_dies_with_it(void **state)
{
	unsigned long steps[PROCESSES];
	int status;

	(void)state;
	status = run_criu(criu_that_dies_after_the_first_hook);
	assert_true(WIFSIGNALED(status));
	for (unsigned int index = 0; index < PROCESSES; index++)
		steps[index] = shared->steps[index];
	assert_true(are_gone());
	/* Not one more step. */
	for (unsigned int index = 0; index < PROCESSES; index++)
		assert_int_equal(shared->steps[index], steps[index]);
}

static void criu_that_ends_well(void)
{
	struct restored_tree tree = {.count = 0};

	start_tree(false);
	show_both(&tree);
	let_go();
	restored_tree_free(&tree);
}

static void what_criu_has_let_go_lives_on(void **state)
{
	unsigned long steps[PROCESSES];

	(void)state;
	assert_int_equal(run_criu(criu_that_ends_well), 0);
	usleep(50000);
	for (unsigned int index = 0; index < PROCESSES; index++) {
		uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

		steps[index] = shared->steps[index];
		while (shared->steps[index] < steps[index] + 20 && monotonic_nanoseconds() < deadline)
			usleep(1000);
		assert_true(shared->steps[index] >= steps[index] + 20);
	}
}

static void criu_whose_second_process_fails(void)
{
	start_tree(true);
	if (restore_begin(false))
		_exit(107);
	shared->hook_results[0] = restore_resume_devices_late(shared->processes[0]);
	for (unsigned int index = 0; index < PROCESSES; index++)
		shared->ended[index] = has_ended(index);
	/* CRIU up to 4.2 goes on after a hook that failed, lets go and ends well. */
	for (unsigned int index = 1; index < PROCESSES; index++)
		shared->hook_results[index] = restore_resume_devices_late(shared->processes[index]);
	restore_end(0);
}

static void a_failure_ends_every_process_and_criu_with_1(void **state)
{
	int status;

	(void)state;
	setenv("REKINDLE_POOL_PROGRAM", "/nonexistent/rekindled", 1);
	status = run_criu(criu_whose_second_process_fails);
	unsetenv("REKINDLE_POOL_PROGRAM");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	/* The first hook is for the whole tree. */
	for (unsigned int index = 0; index < PROCESSES; index++) {
		assert_int_equal(shared->hook_results[index], -1);
		assert_true(shared->ended[index]);
	}
	assert_true(are_gone());
}

static void criu_whose_first_process_fails(void)
{
	pid_t second;

	start_tree(false);
	if (restore_begin(false))
		_exit(107);
	/* As if it had not been found below the first one. */
	second = shared->processes[1];
	shared->processes[1] = 0x3fffffff;
	shared->hook_results[0] = restore_resume_devices_late(0x3ffffffe);
	shared->processes[1] = second;
	shared->hook_results[1] = restore_resume_devices_late(second);
	shared->ended[1] = has_ended(1);
	restore_end(0);
}

static void what_is_shown_after_a_failure_is_ended_too(void **state)
{
	int status;

	(void)state;
	status = run_criu(criu_whose_first_process_fails);
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(shared->hook_results[0], -1);
	assert_int_equal(shared->hook_results[1], -1);
	assert_true(shared->ended[1]);
}

static void criu_that_restores_well(void)
{
	start_tree(false);
	if (restore_begin(false))
		_exit(107);
	for (unsigned int index = 0; index < PROCESSES; index++)
		shared->hook_results[index] = restore_resume_devices_late(shared->processes[index]);
	let_go();
	restore_end(0);
}

static void a_success_is_one(void **state)
{
	(void)state;
	assert_int_equal(run_criu(criu_that_restores_well), 0);
	assert_int_equal(shared->hook_results[0], -ENOTSUP);
	assert_int_equal(shared->hook_results[1], -ENOTSUP);
	assert_int_equal(kill(shared->processes[0], 0), 0);
}

static int set_up(void **state)
{
	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || !mkdtemp(folder) || chdir(folder))
		return -1;
	setenv("REKINDLE_CONFIGURATION", "/dev/null", 1);
	setenv("REKINDLE_POOL_SOCKET", "/nonexistent/pool.sock", 1);
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#define TEST(function) cmocka_unit_test_teardown(function, end_tree)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_criu_still_holds_dies_with_it),
		TEST(what_criu_has_let_go_lives_on),
		TEST(a_failure_ends_every_process_and_criu_with_1),
		TEST(what_is_shown_after_a_failure_is_ended_too),
		TEST(a_success_is_one),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
