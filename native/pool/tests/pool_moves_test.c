/* SPDX-License-Identifier: MIT */
#include "pool/tests/tier_test_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/memory/prefetch.h"

/* Who goes from device memory to pinned memory, from there to the files, and what comes in between. */

#define LIMIT_MS 60000

/* The way to pinned memory stops where it looks whether to go on: until it is called back, or nobody holds it any more. */
static atomic_bool holds, cancels;
static atomic_uint looks;
static struct prefetch *_Atomic on_the_way;

int __real_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error);
int __wrap_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error);

int __wrap_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error)
{
	struct room_wait patient = *wait;
	int i;

	patient.deadline = UINT64_MAX;
	atomic_store(&on_the_way, wait->prefetch);
	atomic_fetch_add(&looks, 1);
	for (i = 0; i < LIMIT_MS && atomic_load(&holds) && !atomic_load(&wait->prefetch->called_back); i++)
		usleep(1000);
	if (i == LIMIT_MS) /* so that what fails does so only once */
		atomic_store(&holds, false);
	if (!atomic_load(&cancels))
		return __real_prefetch_room_wait_look(pool, &patient, error);
	snprintf(error->text, sizeof(error->text), "Nobody wants it");
	return -ECANCELED;
}

/* A file system that does not answer. */
static atomic_bool hangs;
static atomic_uint askers;

int __real_statx(int folder, const char *path, int flags, unsigned int mask, struct statx *status);
int __wrap_statx(int folder, const char *path, int flags, unsigned int mask, struct statx *status);

int __wrap_statx(int folder, const char *path, int flags, unsigned int mask, struct statx *status)
{
	int i;

	atomic_fetch_add(&askers, 1);
	for (i = 0; i < LIMIT_MS && mask == STATX_NLINK && atomic_load(&hangs); i++)
		usleep(1000);
	if (i == LIMIT_MS)
		atomic_store(&hangs, false);
	atomic_fetch_sub(&askers, 1);
	return __real_statx(folder, path, flags, mask, status);
}

/* Dumps one whose memory is on its way to pinned memory now, and gets no further. */
static struct application *on_its_way(struct pool_fixture *fixture, uint8_t *image_id)
{
	struct application *application;
	struct pool_reply reply;
	int i;

	atomic_store(&looks, 0);
	atomic_store(&holds, true);
	application = parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	for (i = 0; i < LIMIT_MS && !atomic_load(&looks); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&looks), 1);
	return application;
}

/* FILES: it is in no memory. */
static enum pool_tier tier_of(struct pool_fixture *fixture, uint64_t number)
{
	struct pool_resident entry = {.number = number - 1};

	if (!pool_server_resident(fixture->server, entry.number, &entry) || entry.number != number)
		return POOL_TIER_FILES;
	return (enum pool_tier)entry.tier;
}

/* It was broken off where it stopped, and left nothing in pinned memory. */
static void assert_broken_off(struct pool_fixture *fixture)
{
	assert_int_equal(atomic_load(&looks), 1);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	assert_int_equal(status_of(fixture).given_up, 0);
}

/* Whoever reads the file finds it damaged. */
static void a_restore_takes_back_what_is_on_its_way(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = on_its_way(fixture, image_id);

	damage(fixture, application->pid, 15 << 20);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_resident, 1);
	assert_int_equal(status_of(fixture).bytes_to_device, 0);
	assert_broken_off(fixture);
	wait_until_nothing_is_held(fixture);
}

static void *let_it_go_on_when_it_is_called_back(void *unused)
{
	int i;

	(void)unused;
	for (i = 0; i < LIMIT_MS && !atomic_load(&atomic_load(&on_the_way)->called_back); i++)
		usleep(1000);
	inject("");
	return NULL;
}

/* It is there, and is only compared any more. */
static void so_does_one_that_comes_while_it_is_compared(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = on_its_way(fixture, image_id);
	pthread_t thread;

	damage(fixture, application->pid, 15 << 20);
	inject("cuLaunchKernel=held@1");
	atomic_store(&holds, false);
	wait_until_held();
	assert_int_equal(pthread_create(&thread, NULL, let_it_go_on_when_it_is_called_back, NULL), 0);
	restore(fixture, application, image_id);
	pthread_join(thread, NULL);
	assert_int_equal(status_of(fixture).images_resident, 1);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	wait_until_nothing_is_held(fixture);
}

static void so_does_who_wants_it_on_the_device_ahead(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry;
	uint8_t image_id[16];
	struct application *application = on_its_way(fixture, image_id);

	damage(fixture, application->pid, 15 << 20);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	entry = wait_for(fixture, POOL_TIER_DEVICE);
	assert_int_equal(entry.parked, 1);
	assert_broken_off(fixture);
	/* It makes room as anything else there does. */
	atomic_store(&holds, false);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_resident, 1);
}

static void what_is_dropped_on_its_way_is_gone(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry;
	struct error_text error;
	uint8_t image_id[16];

	on_its_way(fixture, image_id);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	assert_broken_off(fixture);
	assert_false(pool_server_resident(fixture->server, 0, &entry));
	assert_int_equal(status_of(fixture).device_bytes_held, 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -ENOENT);
}

/* The images are what there is of it then. */
static void a_pool_ends_while_something_is_on_its_way(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = true};
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = on_its_way(fixture, image_id);

	pool_server_stop(fixture->server);
	assert_int_equal(atomic_load(&looks), 1);
	atomic_store(&holds, false);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_read, 1);
}

/* Into the same folder: what comes to pinned memory is nobody's by then. */
static void a_dump_replaces_what_is_on_its_way(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	uint8_t image_id[16];
	char command[128];
	int i;

	on_its_way(fixture, image_id);
	snprintf(command, sizeof(command), "rm %s/rekindle-*.img", fixture->path);
	assert_int_equal(system(command), 0);
	application = parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	assert_int_equal(reply.bytes, BYTES);
	atomic_store(&holds, false);
	for (i = 0; i < LIMIT_MS && (tier_of(fixture, 1) != POOL_TIER_FILES || status_of(fixture).pinned_bytes_held);
	     i++)
		usleep(1000);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_FILES);
	assert_int_equal(tier_of(fixture, 2), POOL_TIER_DEVICE);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_resident, 1);
}

/* Whoever needs the room of what is gone asks the file system, and nobody else waits for that. */
static void a_file_that_hangs_stops_nobody_else(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	char command[128];
	int i;

	parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	wait_for(fixture, POOL_TIER_PINNED);
	atomic_store(&hangs, true);
	snprintf(command, sizeof(command), "rm %s/rekindle-*.img", fixture->path);
	assert_int_equal(system(command), 0);
	parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	/* Its own thread, and the one that needs its room. */
	for (i = 0; i < LIMIT_MS && atomic_load(&askers) < 2; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&askers), 2);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_PINNED);
	assert_int_equal(tier_of(fixture, 2), POOL_TIER_DEVICE);
	assert_true(atomic_exchange(&hangs, false));
	for (i = 0; i < LIMIT_MS && tier_of(fixture, 2) != POOL_TIER_PINNED; i++)
		usleep(1000);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_FILES);
	assert_int_equal(tier_of(fixture, 2), POOL_TIER_PINNED);
	assert_int_equal(status_of(fixture).given_up, 0);
}

static void what_nobody_wants_the_room_of_stays(void **state)
{
	struct pool_fixture *fixture = *state;
	char path[128];
	struct application *application, *native;
	struct pool_reply reply;
	uint8_t image_id[16];

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", path);
	application = parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	wait_for(fixture, POOL_TIER_DEVICE);
	atomic_store(&cancels, true);
	need_room(fixture, native, "");
	atomic_store(&cancels, false);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_DEVICE);
	assert_int_equal(status_of(fixture).given_up, 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_resident, 1);
}

/* Two have room on the device, and one in pinned memory. */
static void the_budgets_send_what_was_used_longest_ago_down(void **state)
{
	struct pool_fixture *fixture = *state;
	char one[128], two[128], three[128];
	struct pool_reply reply;
	uint8_t image_id[16];

	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	put_away(fixture, "one", one);
	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	put_away(fixture, "two", two);
	prefetch(fixture, one, POOL_TIER_DEVICE);
	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	put_away(fixture, "three", three);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_DEVICE);
	assert_int_equal(tier_of(fixture, 2), POOL_TIER_PINNED);
	assert_int_equal(tier_of(fixture, 3), POOL_TIER_DEVICE);
	assert_int_equal(status_of(fixture).moved_to_pinned, 1);
	assert_int_equal(status_of(fixture).given_up, 0);
	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	assert_int_equal(tier_of(fixture, 1), POOL_TIER_PINNED);
	assert_int_equal(tier_of(fixture, 2), POOL_TIER_FILES);
	assert_int_equal(tier_of(fixture, 3), POOL_TIER_DEVICE);
	assert_int_equal(tier_of(fixture, 4), POOL_TIER_DEVICE);
	assert_int_equal(status_of(fixture).moved_to_pinned, 2);
	assert_int_equal(status_of(fixture).given_up, 1);
	assert_int_equal(status_of(fixture).pinned_bytes_held, BYTES);
}

static void who_moves_is_not_used_by_that(void **state)
{
	struct pool_fixture *fixture = *state;
	char native_path[128], one[128], two[128], three[128];
	struct application *native;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	uint64_t bytes;

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", native_path);
	dumped(fixture, true, image_id);
	put_away(fixture, "two", two);
	dumped(fixture, true, image_id);
	put_away(fixture, "three", three);
	parked(fixture, POOL_TIER_DEVICE, image_id, &reply);
	put_away(fixture, "one", one);
	prefetch(fixture, two, POOL_TIER_PINNED);
	need_room(fixture, native, "");
	assert_int_equal(status_of(fixture).pinned_bytes_held, 2 * BYTES);
	prefetch(fixture, three, POOL_TIER_PINNED);
	assert_int_equal(pool_server_prefetched(fixture->server, one, &bytes, &error), -ENOENT);
	assert_int_equal(pool_server_prefetched(fixture->server, two, &bytes, &error), 0);
}

static int set_up_with(void **state, const char *parked_bytes, const char *pinned_bytes)
{
	setenv("REKINDLE_PARK_BUDGET", parked_bytes, 1);
	setenv("REKINDLE_PINNED_BUDGET", pinned_bytes, 1);
	atomic_store(&holds, false);
	pool_fixture_timeout_seconds = 60; /* a busy machine stops the move late */
	return pool_fixture_set_up(state);
}

static int set_up(void **state)
{
	return set_up_with(state, "0M", "80M");
}

static int set_up_with_budgets(void **state)
{
	return set_up_with(state, "80M", "40M");
}

static int tear_down(void **state)
{
	atomic_store(&holds, false);
	atomic_store(&cancels, false);
	atomic_store(&hangs, false);
	return tear_down_with_what_is_left(state);
}

#define TEST_WITH(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_WITH(a_restore_takes_back_what_is_on_its_way, set_up),
		TEST_WITH(so_does_one_that_comes_while_it_is_compared, set_up),
		TEST_WITH(so_does_who_wants_it_on_the_device_ahead, set_up),
		TEST_WITH(what_is_dropped_on_its_way_is_gone, set_up),
		TEST_WITH(a_pool_ends_while_something_is_on_its_way, set_up),
		TEST_WITH(a_dump_replaces_what_is_on_its_way, set_up),
		TEST_WITH(a_file_that_hangs_stops_nobody_else, set_up_with_budgets),
		TEST_WITH(what_nobody_wants_the_room_of_stays, set_up),
		TEST_WITH(the_budgets_send_what_was_used_longest_ago_down, set_up_with_budgets),
		TEST_WITH(who_moves_is_not_used_by_that, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
