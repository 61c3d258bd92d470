/* SPDX-License-Identifier: MIT */
/* Constructors of libraries, which run under the loader's lock, may use the driver in any way: the agent deadlocks with none. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver/cuda_abi.h"

#define DEADLOCK_SECONDS 20

/* For the library's constructor. */
__attribute__((visibility("default"))) void (*constructor_work)(void);

/* The agent's, as a program linked with the driver calls them. */
__attribute__((weak)) CUresult cuInit(unsigned int flags);
__attribute__((weak)) CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address);

static void *open_library(void *path)
{
	return dlopen(path ? path : LIBRARY, RTLD_NOW);
}

/* The agent looks for the driver once in a process, so each case is a child. A deadlock ends it by a signal. */
static void run(void (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the other tests in the child */
		alarm(DEADLOCK_SECONDS);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fail_msg("deadlock");
	assert_int_equal(status, 0);
}

/* Something is done with the result: after a tail call the loader would take another object for the caller. */
static void *volatile found;

static void look_up(void *scope, const char *name)
{
	found = dlsym(scope, name);
}

static void require(bool holds, int code)
{
	if (!holds)
		_exit(code);
}

/* ---- a look-up outside of the constructor has begun when it makes its own ---- */

static atomic_bool constructor_runs;
static const char *wanted;
static void *wanted_in;

static bool waits(pid_t thread)
{
	char path[64], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
	file = fopen(path, "r");
	require(file, 10);
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return strtol(text, NULL, 10) == SYS_futex;
}

static void look_up_after_the_main_thread(void)
{
	atomic_store(&constructor_runs, true);
	/* In the loader's lock, which this thread holds. */
	while (!waits(getpid()))
		usleep(1000);
	look_up(wanted_in, wanted);
}

static void look_up_twice(void *in, const char *name)
{
	pthread_t thread;

	/* Else the agent would wait for the loader before it comes to what is tested. */
	look_up(RTLD_DEFAULT, "puts");
	wanted_in = in;
	wanted = name;
	constructor_work = look_up_after_the_main_thread;
	require(!pthread_create(&thread, NULL, open_library, NULL), 11);
	while (!atomic_load(&constructor_runs))
		usleep(1000);
	look_up(wanted_in, wanted);
	pthread_join(thread, NULL);
}

static void with_the_default_scope(void)
{
	look_up_twice(RTLD_DEFAULT, "cuMemAlloc_v2");
}

static void with_the_next_object(void)
{
	look_up_twice(RTLD_NEXT, "cuMemAlloc_v2");
}

static void with_a_handle(void)
{
	look_up_twice(dlopen("libcuda.so.1", RTLD_NOW), "cuMemAlloc_v2");
}

static void with_a_driver_in_another_scope(void)
{
	require(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), 12);
	look_up_twice(RTLD_DEFAULT, "cuMemFree_v2");
}

static void both_may_look_up_at_once(void **state)
{
	(void)state;
	run(with_the_default_scope);
	run(with_the_next_object);
	run(with_a_handle);
	run(with_a_driver_in_another_scope);
}

/* ---- a constructor that waits for a thread which calls the driver ---- */

static void *call_driver(void *unused)
{
	CUdeviceptr base;
	size_t bytes;

	(void)unused;
	/* Any result will do: the agent has had to ask the driver. */
	cuMemGetAddressRange_v2(&base, &bytes, 4096);
	return NULL;
}

static void wait_for_a_call(void)
{
	pthread_t thread;

	require(!pthread_create(&thread, NULL, call_driver, NULL), 13);
	pthread_join(thread, NULL);
}

static void call_in_a_thread(void)
{
	require(dlopen("libcuda.so.1", RTLD_NOW), 14);
	require(cuInit(0) == CUDA_SUCCESS, 15);
	constructor_work = wait_for_a_call;
	require(open_library(NULL), 16);
}

static void a_constructor_may_wait_for_a_call(void **state)
{
	(void)state;
	run(call_in_a_thread);
}

/* ---- everything at once ---- */

#define LIBRARIES 4
#define LOOKING_THREADS 4

static atomic_bool done;

static void look_up_everywhere(void)
{
	look_up(RTLD_DEFAULT, "cuMemAlloc_v2");
	look_up(RTLD_NEXT, "cuMemAlloc_v2");
	look_up(RTLD_DEFAULT, "cuNoSuchFunction");
	look_up(RTLD_NEXT, "malloc");
}

static void *look_up_until_done(void *unused)
{
	(void)unused;
	do
		look_up_everywhere();
	while (!atomic_load(&done));
	return NULL;
}

static void copy_file(const char *from, const char *to)
{
	char command[1024];

	snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	require(!system(command), 17);
}

static void look_up_in_many_threads(void)
{
	char folder[] = "/tmp/rekindle-agent-test-XXXXXX", paths[LIBRARIES][64];
	pthread_t opening[LIBRARIES], looking[LOOKING_THREADS];
	int index;

	require(mkdtemp(folder), 18);
	for (index = 0; index < LIBRARIES; index++) {
		snprintf(paths[index], sizeof(paths[index]), "%s/%d.so", folder, index);
		copy_file(LIBRARY, paths[index]);
	}
	constructor_work = look_up_everywhere;
	for (index = 0; index < LOOKING_THREADS; index++)
		require(!pthread_create(&looking[index], NULL, look_up_until_done, NULL), 19);
	for (index = 0; index < LIBRARIES; index++)
		require(!pthread_create(&opening[index], NULL, open_library, paths[index]), 20);
	/* The driver comes while others look for it. */
	require(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL), 21);
	for (index = 0; index < LIBRARIES; index++)
		pthread_join(opening[index], NULL);
	atomic_store(&done, true);
	for (index = 0; index < LOOKING_THREADS; index++)
		pthread_join(looking[index], NULL);
	for (index = 0; index < LIBRARIES; index++)
		unlink(paths[index]);
	rmdir(folder);
	/* All have found the same. */
	require(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") == dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuMemAlloc_v2"), 22);
}

static void many_threads_and_constructors(void **state)
{
	int round;

	(void)state;
	for (round = 0; round < 10; round++)
		run(look_up_in_many_threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_may_look_up_at_once),
		cmocka_unit_test(a_constructor_may_wait_for_a_call),
		cmocka_unit_test(many_threads_and_constructors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
