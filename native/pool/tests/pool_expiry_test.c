/* SPDX-License-Identifier: MIT */
#include "pool/tests/tier_test_support.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

/* What was prefetched goes where nobody takes it in time. */

#define EXPIRY_S 1000
#define LIMIT_MS 60000

/* The clock of the pool is ahead by so much. */
static atomic_long ahead_s;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = __real_clock_gettime(clock, now);

	if (clock == CLOCK_MONOTONIC)
		now->tv_sec += atomic_load(&ahead_s);
	return result;
}

static bool is_there(struct pool_fixture *fixture, const char *path)
{
	struct error_text error;
	uint64_t bytes;
	int result = pool_server_prefetched(fixture->server, path, &bytes, &error);

	assert_true(result == 0 || result == -ENOENT);
	return result == 0;
}

static void wait_until_it_expires(struct pool_fixture *fixture, const char *path)
{
	int i;

	for (i = 0; i < LIMIT_MS && is_there(fixture, path); i++)
		usleep(1000);
	assert_false(is_there(fixture, path));
	/* It is out of the list before it is counted. */
	for (i = 0; i < LIMIT_MS && !status_of(fixture).expired_bytes; i++)
		usleep(1000);
}

static void expires_from(struct pool_fixture *fixture, enum pool_tier tier)
{
	uint8_t image_id[16];

	dumped(fixture, true, image_id);
	prefetch(fixture, fixture->path, tier);
	assert_int_equal(status_of(fixture).expired, 0);
	atomic_fetch_add(&ahead_s, EXPIRY_S + 1);
	wait_until_it_expires(fixture, fixture->path);
	assert_int_equal(status_of(fixture).expired, 1);
	assert_int_equal(status_of(fixture).expired_bytes, BYTES);
	assert_int_equal(status_of(fixture).given_up, 0);
	wait_until_nothing_is_held(fixture);
}

static void what_nobody_takes_expires(void **state)
{
	expires_from(*state, POOL_TIER_DEVICE);
}

static void so_does_what_is_in_pinned_memory(void **state)
{
	expires_from(*state, POOL_TIER_PINNED);
}

/* One that is asked for again meanwhile begins anew. */
static void what_is_used_lives_on(void **state)
{
	struct pool_fixture *fixture = *state;
	char used[128], unused[128];
	uint8_t image_id[16];

	dumped(fixture, true, image_id);
	put_away(fixture, "used", used);
	dumped(fixture, true, image_id);
	put_away(fixture, "unused", unused);
	prefetch(fixture, used, POOL_TIER_DEVICE);
	prefetch(fixture, unused, POOL_TIER_DEVICE);
	atomic_fetch_add(&ahead_s, EXPIRY_S * 2 / 3);
	prefetch(fixture, used, POOL_TIER_DEVICE);
	atomic_fetch_add(&ahead_s, EXPIRY_S * 2 / 3);
	wait_until_it_expires(fixture, unused);
	assert_true(is_there(fixture, used));
	assert_int_equal(status_of(fixture).expired, 1);
}

/* A dump has left it, as its operator wished. */
static void what_was_parked_does_not_expire(void **state)
{
	struct pool_fixture *fixture = *state;
	char parked_path[128], other[128];
	struct pool_reply reply;
	uint8_t image_id[16];

	dumped(fixture, true, image_id);
	put_away(fixture, "other", other);
	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	put_away(fixture, "parked", parked_path);
	wait_for(fixture, POOL_TIER_DEVICE);
	prefetch(fixture, other, POOL_TIER_DEVICE);
	atomic_fetch_add(&ahead_s, EXPIRY_S + 1);
	wait_until_it_expires(fixture, other);
	assert_true(is_there(fixture, parked_path));
	assert_int_equal(status_of(fixture).expired, 1);
}

/* Nobody could have taken it. */
static void one_that_failed_is_not_counted(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error;
	uint8_t image_id[16];
	uint64_t bytes;
	int i, result = 0;

	damage(fixture, dumped(fixture, true, image_id)->pid, 15 << 20);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	for (i = 0; i < LIMIT_MS && result != -EBADMSG; i++) {
		result = pool_server_prefetched(fixture->server, fixture->path, &bytes, &error);
		usleep(1000);
	}
	assert_int_equal(result, -EBADMSG);
	atomic_fetch_add(&ahead_s, EXPIRY_S + 1);
	for (i = 0; i < LIMIT_MS && result != -ENOENT; i++) {
		result = pool_server_prefetched(fixture->server, fixture->path, &bytes, &error);
		usleep(1000);
	}
	assert_int_equal(result, -ENOENT);
	wait_until_nothing_is_held(fixture);
	assert_int_equal(status_of(fixture).expired, 0);
}

static int set_up(void **state)
{
	setenv("REKINDLE_PREFETCH_EXPIRY", "1000", 1);
	return pool_fixture_set_up(state);
}

#define TEST_HERE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_with_what_is_left)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_HERE(what_nobody_takes_expires),	   TEST_HERE(so_does_what_is_in_pinned_memory),
		TEST_HERE(what_is_used_lives_on),	   TEST_HERE(what_was_parked_does_not_expire),
		TEST_HERE(one_that_failed_is_not_counted),
	};

	setenv("REKINDLE_PINNED_BUDGET", "80M", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
