/* SPDX-License-Identifier: MIT */
#include "pool/tests/tier_test_support.h"

#include <stdlib.h>
#include <string.h>

#include "pool/memory/memory_hashes.h"
#include "pool/memory/prefetch.h"

/* Images in pinned memory of the host: how they come there, who copies from there, and who makes room for whom. */

#define ZERO_BYTES (UINT64_C(4) << 20) /* of them, which each restore makes for itself */

static bool spoils;

/* Who needs room waits as long as it takes, however busy the machine is, but in the test of that. */
static bool has_deadline;

int __real_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error);
int __wrap_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error);

int __wrap_prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error)
{
	struct room_wait patient = *wait;

	if (!has_deadline)
		patient.deadline = UINT64_MAX;
	return __real_prefetch_room_wait_look(pool, &patient, error);
}

bool __real_memory_hashes_are_of(const struct memory_hashes *hashes, const struct gpu_image *image);
bool __wrap_memory_hashes_are_of(const struct memory_hashes *hashes, const struct gpu_image *image);

/* As of memory that is not what was dumped. */
bool __wrap_memory_hashes_are_of(const struct memory_hashes *hashes, const struct gpu_image *image)
{
	if (spoils)
		hashes->chunks[hashes->count - 1].high ^= 1;
	return __real_memory_hashes_are_of(hashes, image);
}

/* Whoever reads the file finds it damaged. */
static void a_restore_copies_what_was_filled_ahead(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	struct pool_resident entry;
	struct error_text error;
	char *statistics;

	prefetch(fixture, fixture->path, POOL_TIER_PINNED);
	entry = wait_for(fixture, POOL_TIER_PINNED);
	assert_int_equal(entry.bytes, BYTES);
	assert_int_equal(entry.parked, 0);
	assert_int_equal(status_of(fixture).device_bytes_held, 0);
	assert_int_equal(status_of(fixture).pinned_bytes_held, BYTES);
	damage(fixture, application->pid, 15 << 20);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_pinned, 1);
	assert_int_equal(status_of(fixture).images_read, 0);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"resident_bytes\":37748736"));
	free(statistics);
	/* It is there for the next one, and does not hold the room of the device. */
	assert_int_equal(wait_for(fixture, POOL_TIER_PINNED).number, entry.number);
	wait_until_nothing_is_held(fixture);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -ENOENT);
}

static void damage_is_found_on_the_way_there(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error = {""};
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int tries, result = 0;
	uint64_t bytes;

	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_PINNED, &error), 0);
	for (tries = 0; tries < 6000 && result == 0; tries++) {
		result = pool_server_prefetched(fixture->server, fixture->path, &bytes, &error);
		usleep(5000);
	}
	assert_int_equal(result, -EBADMSG);
}

static void onto_another_gpu(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_RESTORE,
				     .parallel = 1,
				     .verify = 1,
				     .device_map = "0=1"};
	int client, folders[2] = {fixture->folder, fixture->folder};
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);

	prefetch(fixture, fixture->path, POOL_TIER_PINNED);
	damage(fixture, application->pid, 15 << 20);
	client = client_connect(fixture);
	client_hello(client, &hello, folders, 2);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(status_of(fixture).images_pinned, 1);
}

static void a_dump_leaves_it_there(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	struct pool_resident entry;

	assert_int_equal(reply.bytes, BYTES);
	entry = wait_for(fixture, POOL_TIER_PINNED);
	assert_int_equal(entry.parked, 1);
	assert_int_equal(status_of(fixture).device_bytes_held, 0);
	damage(fixture, application->pid, 15 << 20);
	restore(fixture, application, image_id);
	/* It has gone there as was asked for, and not to make room. */
	assert_int_equal(status_of(fixture).moved_to_pinned, 0);
	assert_int_equal(status_of(fixture).images_pinned, 1);
}

static void what_is_on_its_way_is_there(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry = {.tier = POOL_TIER_DEVICE};
	struct error_text error;
	struct pool_reply reply;
	uint8_t image_id[16];
	uint64_t bytes;
	int tries;

	inject("cuMemcpyDtoDAsync=50ms");
	parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	for (tries = 0; tries < 6000 && entry.tier != POOL_TIER_PINNED; tries++) {
		if (pool_server_prefetched(fixture->server, fixture->path, &bytes, &error))
			fail_msg("%s", error.text);
		assert_true(pool_server_resident(fixture->server, 0, &entry));
		usleep(10000);
	}
	inject("");
	wait_for(fixture, POOL_TIER_PINNED);
}

/* It is taken back to the device ahead of its restore. */
static void back_to_the_device(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = parked(fixture, POOL_TIER_PINNED, image_id, &reply);

	wait_for(fixture, POOL_TIER_PINNED);
	damage(fixture, application->pid, 15 << 20);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	assert_int_equal(status_of(fixture).device_bytes_held, BYTES);
	assert_int_equal(status_of(fixture).pinned_bytes_held, BYTES);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_resident, 1);
}

static void what_does_not_come_there_whole_is_given_to_nobody(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application;
	int tries;

	spoils = true;
	application = parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	for (tries = 0; tries < 6000 && pool_server_resident(fixture->server, 0, &entry); tries++)
		usleep(10000);
	spoils = false;
	assert_false(pool_server_resident(fixture->server, 0, &entry));
	wait_until_nothing_is_held(fixture);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_read, 1);
}

static void who_needs_the_device_gets_it(void **state)
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
	need_room(fixture, native, "");
	wait_for(fixture, POOL_TIER_PINNED);
	assert_int_equal(status_of(fixture).device_bytes_held, 0);
	assert_int_equal(status_of(fixture).moved_to_pinned, 1);
	assert_int_equal(status_of(fixture).given_up, 0);
	damage(fixture, application->pid, 15 << 20);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_pinned, 1);
}

/* What cannot be moved is on the disk. */
static void what_cannot_be_moved_is_given_up(void **state)
{
	struct pool_fixture *fixture = *state;
	char path[128];
	struct application *application, *native;
	struct pool_resident entry;
	uint8_t image_id[16];

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", path);
	application = dumped(fixture, true, image_id);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	need_room(fixture, native, ",cuMemcpyDtoDAsync=999@3");
	assert_false(pool_server_resident(fixture->server, 0, &entry));
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
	assert_int_equal(status_of(fixture).moved_to_pinned, 0);
	assert_int_equal(status_of(fixture).given_up, 1);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_read, 1);
}

/* As an image that was written before there were any, in one allocation. */
static void forget_hashes(struct gpu_image *image)
{
	free(image->allocations[2].hashes);
	image->allocations[2].hashes = NULL;
}

static void what_cannot_be_compared_is_given_up(void **state)
{
	struct pool_fixture *fixture = *state;
	char path[128];
	struct application *application, *native;
	uint8_t image_id[16];

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", path);
	application = dumped(fixture, true, image_id);
	rewrite_manifest(fixture, application->pid, forget_hashes);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	need_room(fixture, native, "");
	assert_int_equal(status_of(fixture).moved_to_pinned, 0);
	assert_int_equal(status_of(fixture).given_up, 1);
}

/* Each of its pieces takes more than half of the time that there is to make room. */
static void what_takes_too_long_to_move_is_given_up(void **state)
{
	struct pool_fixture *fixture = *state;
	char path[128];
	struct application *native;
	uint8_t image_id[16];

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", path);
	dumped(fixture, true, image_id);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	has_deadline = true;
	need_room(fixture, native, ",cuMemcpyDtoDAsync=1500ms");
	has_deadline = false;
	assert_int_equal(status_of(fixture).moved_to_pinned, 0);
	assert_int_equal(status_of(fixture).given_up, 1);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 0);
}

static void what_is_there_already_does_not_go_there_again(void **state)
{
	struct pool_fixture *fixture = *state;
	char path[128];
	struct application *application, *native;
	uint8_t image_id[16];

	native = dumped(fixture, false, image_id);
	put_away(fixture, "native", path);
	application = dumped(fixture, true, image_id);
	prefetch(fixture, fixture->path, POOL_TIER_PINNED);
	prefetch(fixture, fixture->path, POOL_TIER_DEVICE);
	need_room(fixture, native, "");
	assert_int_equal(status_of(fixture).device_bytes_held, 0);
	assert_int_equal(status_of(fixture).pinned_bytes_held, BYTES);
	assert_int_equal(status_of(fixture).moved_to_pinned, 0);
	assert_int_equal(status_of(fixture).given_up, 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).images_pinned, 1);
}

static void no_more_than_the_budget(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error = {""};
	char one[128], two[128], three[128];
	uint8_t image_id[16];
	uint64_t bytes;

	dumped(fixture, true, image_id);
	put_away(fixture, "one", one);
	dumped(fixture, true, image_id);
	put_away(fixture, "two", two);
	dumped(fixture, true, image_id);
	put_away(fixture, "three", three);
	prefetch(fixture, one, POOL_TIER_PINNED);
	prefetch(fixture, two, POOL_TIER_PINNED);
	/* From now on the other one is the one that nobody has used for the longest time. */
	prefetch(fixture, one, POOL_TIER_PINNED);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 2 * BYTES);
	prefetch(fixture, three, POOL_TIER_PINNED);
	assert_int_equal(status_of(fixture).pinned_bytes_held, 2 * BYTES);
	assert_int_equal(status_of(fixture).given_up, 1);
	assert_int_equal(pool_server_prefetched(fixture->server, one, &bytes, &error), 0);
	assert_int_equal(pool_server_prefetched(fixture->server, two, &bytes, &error), -ENOENT);
	assert_int_equal(pool_server_prefetched(fixture->server, three, &bytes, &error), 0);
}

static void without_a_budget_nothing_is_pinned(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error = {""};
	struct pool_resident entry;
	struct pool_reply reply;
	uint8_t image_id[16];

	parked(fixture, POOL_TIER_PINNED, image_id, &reply);
	assert_int_equal(reply.bytes, 0);
	assert_non_null(strstr(reply.reason, "more than REKINDLE_PINNED_BUDGET of the pool, 0 MiB"));
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_PINNED, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "REKINDLE_PINNED_BUDGET"));
	assert_false(pool_server_resident(fixture->server, 0, &entry));
}

static int set_up_without_budget(void **state)
{
	int result;

	setenv("REKINDLE_PINNED_BUDGET", "0M", 1);
	result = pool_fixture_set_up(state);
	setenv("REKINDLE_PINNED_BUDGET", "80M", 1);
	return result;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_restore_copies_what_was_filled_ahead),
		TEST(damage_is_found_on_the_way_there),
		TEST(onto_another_gpu),
		TEST(a_dump_leaves_it_there),
		TEST(what_is_on_its_way_is_there),
		TEST(back_to_the_device),
		TEST(what_does_not_come_there_whole_is_given_to_nobody),
		TEST(who_needs_the_device_gets_it),
		TEST(what_cannot_be_moved_is_given_up),
		TEST(what_cannot_be_compared_is_given_up),
		TEST(what_takes_too_long_to_move_is_given_up),
		TEST(what_is_there_already_does_not_go_there_again),
		TEST(no_more_than_the_budget),
		cmocka_unit_test_setup_teardown(without_a_budget_nothing_is_pinned, set_up_without_budget,
						pool_fixture_tear_down),
	};

	setenv("REKINDLE_PINNED_BUDGET", "80M", 1);
	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
