/* SPDX-License-Identifier: MIT */
#include "simcuda/wakeup.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct wakeup wakeup;
static unsigned int generation, waiting, woken;
static int stopped[2], go_on[2];

/* Stops the thread that it comes to, wherever it is. */
static void stop(int signal)
{
	char byte = 0;

	(void)signal;
	(void)!write(stopped[1], &byte, 1);
	(void)!read(go_on[0], &byte, 1);
}

static void *wait_once(void *unused)
{
	unsigned int seen;

	(void)unused;
	pthread_mutex_lock(&mutex);
	seen = generation;
	waiting++;
	while (generation == seen)
		wakeup_wait(&wakeup, &mutex);
	woken++;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static unsigned int read_locked(const unsigned int *value)
{
	unsigned int result;

	pthread_mutex_lock(&mutex);
	result = *value;
	pthread_mutex_unlock(&mutex);
	return result;
}

static pthread_t start_waiter(void)
{
	unsigned int before = read_locked(&waiting);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_once, NULL), 0);
	while (read_locked(&waiting) == before)
		usleep(1000);
	return thread;
}

static void *wake_all(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&mutex);
	generation++;
	wakeup_all(&wakeup);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* Whoever wakes must come back. */
static void wake(void)
{
	struct timespec deadline;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 60;
	assert_int_equal(pthread_create(&thread, NULL, wake_all, NULL), 0);
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &deadline), 0);
}

static void nobody_waits_for_one_that_was_stopped_when_it_was_woken(void **state)
{
	struct sigaction action = {.sa_handler = stop};
	pthread_t first, second;
	char byte = 0;

	(void)state;
	assert_int_equal(pipe(stopped), 0);
	assert_int_equal(pipe(go_on), 0);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	first = start_waiter();
	assert_int_equal(pthread_kill(first, SIGUSR1), 0);
	assert_int_equal(read(stopped[0], &byte, 1), 1);
	wake();
	for (unsigned int round = 1; round <= 3; round++) {
		second = start_waiter();
		wake();
		assert_int_equal(pthread_join(second, NULL), 0);
		assert_int_equal(read_locked(&woken), round);
	}
	assert_int_equal(write(go_on[1], &byte, 1), 1);
	assert_int_equal(pthread_join(first, NULL), 0);
	assert_int_equal(woken, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_waits_for_one_that_was_stopped_when_it_was_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
