/* SPDX-License-Identifier: MIT */
#include "api/leases.h"
#include "rekindle.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Pools through the C API, on the simulated driver. */

#define MIB (1024u * 1024u)

struct fixture {
	char root[64], socket[96], file[96];
	struct rekindle_environment environment;
	struct rekindle_pool *pool;
	struct rekindle_error error;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->root, "/tmp/rekindle-pool-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	snprintf(f->socket, sizeof(f->socket), "%s/pool.sock", f->root);
	snprintf(f->file, sizeof(f->file), "%s/file", f->root);
	rekindle_environment_defaults(&f->environment);
	f->environment.pool_socket = f->socket;
	f->environment.streams = 2;
	f->environment.cuda_driver = getenv("REKINDLE_CUDA_DRIVER");
	assert_non_null(f->environment.cuda_driver);
	if (rekindle_pool_open(&f->environment, &f->pool, &f->error)) {
		fprintf(stderr, "%s\n", f->error.message);
		return -1;
	}
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	rekindle_pool_close(f->pool);
	snprintf(command, sizeof(command), "rm -rf %s", f->root);
	free(f);
	return system(command);
}

static void leases_are_counted_and_given_back_once(void **state)
{
	struct fixture *f = *state;
	struct rekindle_context_lease first, second;
	struct rekindle_pool_statistics statistics;

	assert_int_equal(rekindle_pool_acquire(f->pool, 0, &first, &f->error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_acquire(f->pool, 0, &second, &f->error), REKINDLE_OK);
	assert_int_not_equal(first.context, 0);
	assert_true(first.context == second.context);
	assert_int_not_equal(first.number, second.number);
	assert_int_equal(rekindle_pool_status(f->pool, &statistics, &f->error), REKINDLE_OK);
	assert_int_equal(statistics.leases, 2);
	assert_true(statistics.simulated);
	assert_int_equal(statistics.workers, 2);
	assert_int_equal(statistics.pid, getpid());
	assert_int_equal(rekindle_pool_release(f->pool, &first, &f->error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_release(f->pool, &first, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_acquire(f->pool, 999, &first, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_acquire(f->pool, -1, &first, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	/* The second one is still out when the pool is closed. */
}

/* In the child any system call but read, write and exit is the end. */
static void a_lease_makes_no_system_call(void **state)
{
	struct fixture *f = *state;
	struct rekindle_context_lease lease;
	int status;
	int i;
	pid_t child = fork();

	if (!child) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
			_exit(2);
		for (i = 0; i < 1000; i++)
			if (rekindle_pool_acquire(f->pool, 0, &lease, NULL) ||
			    rekindle_pool_release(f->pool, &lease, NULL))
				syscall(SYS_exit, 1);
		syscall(SYS_exit, 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void leases_run_out_and_come_back(void **state)
{
	struct leases *leases = calloc(1, sizeof(*leases));
	uint32_t numbers[LEASES_MAX];
	uint32_t i;

	(void)state;
	assert_non_null(leases);
	for (i = 0; i < LEASES_MAX; i++) {
		numbers[i] = leases_take(leases);
		assert_int_not_equal(numbers[i], 0);
	}
	assert_int_equal(leases_take(leases), 0);
	assert_true(leases_give_back(leases, numbers[77]));
	assert_false(leases_give_back(leases, numbers[77]));
	assert_int_not_equal(leases_take(leases), 0);
	assert_int_equal(leases_take(leases), 0);
	free(leases);
}

static void a_closed_pool_says_so(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool_statistics statistics;
	struct rekindle_context_lease lease;

	assert_int_equal(rekindle_pool_acquire(f->pool, 0, &lease, &f->error), REKINDLE_OK);
	rekindle_pool_close(f->pool);
	rekindle_pool_close(f->pool);
	rekindle_pool_close(NULL);
	assert_int_equal(rekindle_pool_acquire(f->pool, 0, &lease, &f->error), REKINDLE_ERROR_CLOSED);
	assert_non_null(strstr(f->error.message, "closed"));
	assert_int_equal(rekindle_pool_release(f->pool, &lease, &f->error), REKINDLE_ERROR_CLOSED);
	assert_int_equal(rekindle_pool_status(f->pool, &statistics, &f->error), REKINDLE_ERROR_CLOSED);
	assert_int_equal(rekindle_pool_prefetch(f->pool, "/", &f->error), REKINDLE_ERROR_CLOSED);
	assert_int_equal(rekindle_pool_drop(f->pool, "/", &f->error), REKINDLE_ERROR_CLOSED);
	assert_int_equal(rekindle_pool_status(NULL, &statistics, NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
}

struct user {
	struct rekindle_pool *pool;
	_Atomic unsigned int uses;
	int result;
};

static void *use_until_closed(void *context)
{
	struct user *user = context;
	struct rekindle_context_lease lease;

	do {
		user->result = rekindle_pool_acquire(user->pool, 0, &lease, NULL);
		if (!user->result)
			user->result = rekindle_pool_release(user->pool, &lease, NULL);
		user->uses++;
	} while (!user->result);
	return NULL;
}

static void a_pool_may_be_closed_while_others_use_it(void **state)
{
	struct fixture *f = *state;
	struct user users[4];
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++) {
		users[i] = (struct user){.pool = f->pool};
		assert_int_equal(pthread_create(&threads[i], NULL, use_until_closed, &users[i]), 0);
	}
	for (i = 0; i < 4; i++)
		while (!users[i].uses)
			usleep(100);
	rekindle_pool_close(f->pool);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(users[i].result, REKINDLE_ERROR_CLOSED);
	}
}

static void a_connection_sees_the_hosted_pool_and_its_end(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool_statistics statistics;
	struct rekindle_context_lease lease;
	struct rekindle_pool *connected;
	uint64_t nanoseconds;
	struct rekindle_copy_request copy = {.structure_size = sizeof(copy),
					     .source = REKINDLE_COPY_PINNED,
					     .workers = 1,
					     .chunk_bytes = 2 * MIB,
					     .bytes = 2 * MIB};

	assert_int_equal(rekindle_pool_connect(&f->environment, &connected, &f->error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_status(connected, &statistics, &f->error), REKINDLE_OK);
	assert_int_equal(statistics.pid, getpid());
	assert_true(statistics.contexts >= 1);
	assert_int_equal(rekindle_pool_acquire(connected, 0, &lease, &f->error), REKINDLE_OK);
	assert_int_equal(lease.context, 0);
	assert_int_equal(rekindle_pool_release(connected, &lease, &f->error), REKINDLE_OK);
	assert_int_equal(rekindle_copy_measure(connected, &copy, &nanoseconds, &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	rekindle_pool_close(f->pool);
	assert_int_equal(rekindle_pool_status(connected, &statistics, &f->error), REKINDLE_ERROR_POOL_DIED);
	assert_int_equal(rekindle_pool_status(connected, &statistics, &f->error), REKINDLE_ERROR_POOL_DIED);
	rekindle_pool_close(connected);
	assert_int_equal(rekindle_pool_connect(&f->environment, &connected, &f->error),
			 REKINDLE_ERROR_POOL_UNREACHABLE);
	assert_non_null(strstr(f->error.message, f->socket));
	assert_null(connected);
}

static void the_contents_of_a_pool_are_listed(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool_gpu gpus[2], same[2];
	struct rekindle_resident_images images;
	struct rekindle_pool *connected;
	uint32_t count = 7;

	assert_int_equal(rekindle_pool_images(f->pool, &images, 1, &count, &f->error), REKINDLE_OK);
	assert_int_equal(count, 0);
	memset(gpus, 7, sizeof(gpus));
	assert_int_equal(rekindle_pool_gpus(f->pool, gpus, 2, &count, &f->error), REKINDLE_OK);
	assert_int_equal(count, 1);
	assert_int_equal(gpus[0].device, 0);
	assert_int_equal(gpus[0].warm, 1);
	assert_int_equal(gpus[0].bytes_held, 0);
	assert_int_equal(gpus[0].free_known, 1);
	assert_true(gpus[0].free_bytes > 0 && gpus[0].free_bytes <= gpus[0].memory_bytes);
	assert_non_null(strstr(gpus[0].name, "SIMULATED"));
	assert_int_equal(strncmp(gpus[0].uuid, "GPU-", 4), 0);
	/* What is not there is left alone. */
	assert_int_equal(gpus[1].device, 0x07070707);
	count = 7;
	assert_int_equal(rekindle_pool_gpus(f->pool, NULL, 0, &count, &f->error), REKINDLE_OK);
	assert_int_equal(count, 1);

	assert_int_equal(rekindle_pool_connect(&f->environment, &connected, &f->error), REKINDLE_OK);
	count = 7;
	assert_int_equal(rekindle_pool_images(connected, NULL, 0, &count, &f->error), REKINDLE_OK);
	assert_int_equal(count, 0);
	assert_int_equal(rekindle_pool_gpus(connected, same, 2, &count, &f->error), REKINDLE_OK);
	assert_int_equal(count, 1);
	assert_string_equal(same[0].uuid, gpus[0].uuid);
	assert_int_equal(same[0].memory_bytes, gpus[0].memory_bytes);

	assert_int_equal(rekindle_pool_gpus(f->pool, NULL, 1, &count, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_gpus(f->pool, gpus, 2, NULL, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_images(f->pool, NULL, 1, &count, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_images(NULL, NULL, 0, &count, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	rekindle_pool_close(f->pool);
	assert_int_equal(rekindle_pool_images(f->pool, &images, 1, &count, &f->error), REKINDLE_ERROR_CLOSED);
	assert_int_equal(rekindle_pool_gpus(connected, gpus, 2, &count, &f->error), REKINDLE_ERROR_POOL_DIED);
	rekindle_pool_close(connected);
}

static void a_second_pool_on_the_socket_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool *other;

	assert_int_equal(rekindle_pool_open(&f->environment, &other, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_null(other);
}

static void a_missing_driver_is_named(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool *other;

	f->environment.cuda_driver = "libcuda-that-is-not-there.so.1";
	f->environment.pool_socket = f->file;
	assert_int_equal(rekindle_pool_open(&f->environment, &other, &f->error), REKINDLE_ERROR_NO_DRIVER);
	assert_non_null(strstr(f->error.message, "libcuda-that-is-not-there.so.1"));
}

static void a_socket_that_cannot_be_made_is_a_wrong_argument(void **state)
{
	struct fixture *f = *state;
	struct rekindle_pool *other;
	int file;

	file = open(f->file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	f->environment.pool_socket = f->file;
	assert_int_equal(rekindle_pool_open(&f->environment, &other, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "is no socket"));
	f->environment.pool_socket = "/dev/null/nowhere/pool.sock";
	assert_int_equal(rekindle_pool_open(&f->environment, &other, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	f->environment.pool_socket = "/proc/self/nowhere/pool.sock";
	assert_int_equal(rekindle_pool_open(&f->environment, &other, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "/proc/self/nowhere"));
}

static void folders_without_checkpoint_are_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t bytes;

	assert_int_equal(rekindle_pool_prefetch(f->pool, f->root, &f->error), REKINDLE_ERROR_NO_IMAGE);
	assert_int_equal(rekindle_pool_prefetch(f->pool, "/nonexistent", &f->error), REKINDLE_ERROR_NO_IMAGE);
	assert_int_equal(rekindle_pool_prefetch(f->pool, NULL, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_prefetch_to(f->pool, f->root, 3, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_prefetch(f->pool, "/proc/self/status", &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_prefetched(f->pool, f->root, &bytes, &f->error), REKINDLE_ERROR_NO_IMAGE);
	assert_int_equal(rekindle_pool_prefetched(f->pool, f->root, NULL, &f->error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_pool_drop(f->pool, f->root, &f->error), REKINDLE_ERROR_NO_IMAGE);
}

static void copies_are_measured_from_every_source(void **state)
{
	struct fixture *f = *state;
	struct rekindle_copy_request copy = {.structure_size = sizeof(copy),
					     .workers = 2,
					     .chunk_bytes = 2 * MIB,
					     .bytes = 8 * MIB,
					     .file = f->file};
	uint64_t nanoseconds;
	FILE *file = fopen(f->file, "w");

	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), 8 * MIB), 0);
	fclose(file);
	for (copy.source = REKINDLE_COPY_PINNED; copy.source <= REKINDLE_COPY_DISK; copy.source++) {
		nanoseconds = 0;
		if (rekindle_copy_measure(f->pool, &copy, &nanoseconds, &f->error))
			fail_msg("%s", f->error.message);
		assert_true(nanoseconds > 0);
	}
	copy.source = REKINDLE_COPY_PAGE_CACHE;
	copy.bytes = 9 * MIB;
	assert_int_equal(rekindle_copy_measure(f->pool, &copy, &nanoseconds, &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	copy.bytes = 8 * MIB;
	copy.workers = 65;
	assert_int_equal(rekindle_copy_measure(f->pool, &copy, &nanoseconds, &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
	copy.workers = 1;
	copy.file = NULL;
	assert_int_equal(rekindle_copy_measure(f->pool, &copy, &nanoseconds, &f->error),
			 REKINDLE_ERROR_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leases_are_counted_and_given_back_once),
		TEST(a_lease_makes_no_system_call),
		cmocka_unit_test(leases_run_out_and_come_back),
		TEST(a_closed_pool_says_so),
		TEST(a_pool_may_be_closed_while_others_use_it),
		TEST(a_connection_sees_the_hosted_pool_and_its_end),
		TEST(the_contents_of_a_pool_are_listed),
		TEST(a_second_pool_on_the_socket_is_refused),
		TEST(a_missing_driver_is_named),
		TEST(a_socket_that_cannot_be_made_is_a_wrong_argument),
		TEST(folders_without_checkpoint_are_refused),
		TEST(copies_are_measured_from_every_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
