/* SPDX-License-Identifier: MIT */
#include "plugin/criu_alarm.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static volatile sig_atomic_t fired;

static void on_alarm(int number)
{
	(void)number;
	fired++;
}

static int set_up(void **state)
{
	struct sigaction action = {.sa_handler = on_alarm};

	(void)state;
	fired = 0;
	alarm(0);
	return sigaction(SIGALRM, &action, NULL);
}

static double left(void)
{
	struct itimerval timer;

	assert_int_equal(getitimer(ITIMER_REAL, &timer), 0);
	return (double)timer.it_value.tv_sec + (double)timer.it_value.tv_usec / 1e6;
}

static void is_given_back_with_what_is_left(void **state)
{
	struct criu_alarm suspended;

	(void)state;
	alarm(1000);
	criu_alarm_suspend(&suspended);
	assert_true(suspended.armed);
	assert_true(left() == 0);
	usleep(1500000);
	criu_alarm_resume(&suspended);
	assert_true(left() <= 998.5);
	assert_true(left() > 900);
	assert_int_equal(fired, 0);
}

static void fires_when_its_time_went_by(void **state)
{
	struct criu_alarm suspended;

	(void)state;
	alarm(1);
	criu_alarm_suspend(&suspended);
	for (int i = 0; i < 12; i++)
		usleep(100000);
	assert_int_equal(fired, 0);
	criu_alarm_resume(&suspended);
	for (int i = 0; i < 100 && !fired; i++)
		usleep(100000);
	assert_int_equal(fired, 1);
}

static void none_stays_none(void **state)
{
	struct criu_alarm suspended;

	(void)state;
	criu_alarm_suspend(&suspended);
	assert_false(suspended.armed);
	criu_alarm_resume(&suspended);
	assert_true(left() == 0);
	assert_int_equal(criu_alarm_left_ms(&suspended, 1000, 4711), 4711);
}

static void its_limit_is_kept_meanwhile(void **state)
{
	struct criu_alarm suspended;

	(void)state;
	alarm(1000);
	criu_alarm_suspend(&suspended);
	assert_true(criu_alarm_left_ms(&suspended, 1000, 4711) <= 999000);
	assert_true(criu_alarm_left_ms(&suspended, 1000, 4711) > 900000);
	/* Never 0, which would be no limit. */
	assert_int_equal(criu_alarm_left_ms(&suspended, 2000000, 4711), 1);
}

static void a_time_that_does_not_count(void **state)
{
	struct criu_alarm suspended;

	(void)state;
	alarm(1000);
	criu_alarm_suspend(&suspended);
	criu_alarm_put_off(&suspended, UINT64_C(500000000000));
	assert_true(criu_alarm_left_ms(&suspended, 1000, 4711) > 1400000);
	criu_alarm_resume(&suspended);
	assert_true(alarm(0) > 1400);
	criu_alarm_suspend(&suspended);
	criu_alarm_put_off(&suspended, 1);
	criu_alarm_resume(&suspended);
	assert_true(left() == 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_given_back_with_what_is_left), TEST(fires_when_its_time_went_by), TEST(none_stays_none),
		TEST(its_limit_is_kept_meanwhile),     TEST(a_time_that_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
