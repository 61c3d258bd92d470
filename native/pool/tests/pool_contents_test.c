/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/clock.h"

/* What lies in device memory, on which GPU, and how often a restore found its own there. */

#define IMAGE_BYTES (36 << 20)

/* Everything there is; returns how many. */
static size_t list(struct pool_fixture *fixture, struct pool_resident *entries, size_t room)
{
	struct pool_resident entry = {.number = 0};
	size_t count = 0;

	while (pool_server_resident(fixture->server, entry.number, &entry)) {
		assert_true(count < room);
		entries[count++] = entry;
	}
	return count;
}

/* What was taken the pool lets go of beside its next answers. */
static void wait_until_none(struct pool_fixture *fixture)
{
	struct pool_resident entries[2];
	int tries;

	for (tries = 0; list(fixture, entries, 2) != 0; tries++) {
		assert_true(tries < 12000);
		usleep(10000);
	}
}

static struct pool_resident only_one(struct pool_fixture *fixture)
{
	struct pool_resident entries[2];

	assert_int_equal(list(fixture, entries, 2), 1);
	return entries[0];
}

static struct pool_resident wait_for_state(struct pool_fixture *fixture, enum pool_resident_state state)
{
	struct pool_resident entry;
	int tries;

	for (tries = 0; tries < 6000; tries++) {
		entry = only_one(fixture);
		if (entry.state == state)
			return entry;
		/* Nothing else comes before it. */
		assert_int_equal(entry.state, POOL_RESIDENT_FILLING);
		usleep(10000);
	}
	fail_msg("It is in state %u after %d tries", entry.state, tries);
	return entry;
}

static void assert_found(struct pool_fixture *fixture, uint64_t restores, uint64_t resident, uint64_t read)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	assert_int_equal(status.restores, restores);
	assert_int_equal(status.images_resident, resident);
	assert_int_equal(status.images_read, read);
}

static void what_was_filled_ahead_is_listed_until_it_is_dropped(void **state)
{
	struct pool_fixture *fixture = *state;
	uint64_t before = monotonic_nanoseconds();
	struct pool_resident entry;
	struct error_text error;
	uint8_t image_id[16];

	dumped(fixture, true, image_id);
	assert_int_equal(list(fixture, NULL, 0), 0);
	inject("cuMemcpyHtoDAsync=held");
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	entry = only_one(fixture);
	assert_int_equal(entry.state, POOL_RESIDENT_FILLING);
	assert_true(entry.bytes_filled < entry.bytes);
	inject("");
	entry = wait_for_state(fixture, POOL_RESIDENT_FILLED);
	assert_string_equal(entry.directory, fixture->path);
	assert_int_equal(entry.images, 1);
	assert_int_equal(entry.bytes, IMAGE_BYTES);
	assert_int_equal(entry.bytes_filled, IMAGE_BYTES);
	assert_int_equal(entry.taken, 0);
	assert_true(entry.since_nanoseconds > before);
	assert_true(entry.since_nanoseconds <= monotonic_nanoseconds());
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	assert_int_equal(list(fixture, NULL, 0), 0);
	assert_found(fixture, 0, 0, 0);
}

static void a_restore_takes_what_was_filled_ahead_and_counts_as_found(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident ahead, taken;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	ahead = wait_for_state(fixture, POOL_RESIDENT_FILLED);
	client = begin_restore(fixture, &reply);
	taken = only_one(fixture);
	assert_int_equal(taken.number, ahead.number);
	assert_int_equal(taken.taken, 1);
	assert_int_equal(taken.bytes, IMAGE_BYTES);
	assert_found(fixture, 0, 0, 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	wait_until_none(fixture);
	assert_found(fixture, 1, 1, 0);
}

static void a_restore_that_reads_counts_as_read(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = begin_restore(fixture, &reply);

	entry = only_one(fixture);
	assert_int_equal(entry.taken, 1);
	assert_int_equal(entry.bytes, IMAGE_BYTES);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	wait_until_none(fixture);
	assert_found(fixture, 1, 0, 1);
}

/* It was asked for too late to be there. */
static void what_is_still_being_filled_counts_as_read(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	inject("cuMemcpyHtoDAsync=held");
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	client = begin_restore(fixture, &reply);
	assert_int_equal(only_one(fixture).state, POOL_RESIDENT_FILLING);
	inject("");
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_found(fixture, 1, 0, 1);
}

static void a_process_whose_memory_is_in_no_image_is_neither(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, false, image_id);
	int client = begin_restore(fixture, &reply);

	assert_int_equal(list(fixture, NULL, 0), 0);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	assert_found(fixture, 1, 0, 0);
}

static void a_restore_that_fails_counts_nowhere(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	damage(fixture, application->pid, 15 << 20);
	client = begin_restore(fixture, &reply);
	assert_true(client_resume(client, application, image_id, &reply) < 0);
	client_finish(client, -1);
	assert_found(fixture, 0, 0, 0);
}

static void filling_that_failed_is_listed_as_such(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_resident entry;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);

	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	entry = wait_for_state(fixture, POOL_RESIDENT_FAILED);
	assert_true(entry.bytes_filled < entry.bytes);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
}

/* A name that cannot be told whole is not told. */
static void a_folder_with_a_long_name_has_none(void **state)
{
	struct pool_fixture *fixture = *state;
	char deep[1400], command[1600];
	struct pool_resident entry;
	struct error_text error;
	uint8_t image_id[16];
	size_t length;

	dumped(fixture, true, image_id);
	length = (size_t)snprintf(deep, sizeof(deep), "%s", fixture->path);
	while (length < 1100) {
		length += (size_t)snprintf(deep + length, sizeof(deep) - length, "/%0200d", 0);
		assert_int_equal(mkdir(deep, 0700), 0);
	}
	snprintf(command, sizeof(command), "cp %s/rekindle-*.img %s", fixture->path, deep);
	assert_int_equal(system(command), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, deep, POOL_TIER_DEVICE, &error), 0);
	entry = wait_for_state(fixture, POOL_RESIDENT_FILLED);
	assert_string_equal(entry.directory, "");
	assert_int_equal(entry.bytes, IMAGE_BYTES);
	assert_int_equal(pool_server_drop(fixture->server, deep, &error), 0);
}

static void clients_see_the_same(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_RESIDENT};
	struct pool_resident entry;
	struct error_text error;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	dumped(fixture, true, image_id);
	client = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.found, 0);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	entry = wait_for_state(fixture, POOL_RESIDENT_FILLED);
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.found, 1);
	assert_memory_equal(&reply.resident, &entry, sizeof(entry));
	request.after = entry.number;
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.found, 0);
	close(client);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
}

static void each_gpu_says_what_is_held_and_free(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_GPU};
	struct pool_gpu empty, full, gpu;
	struct error_text error;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	dumped(fixture, true, image_id);
	assert_true(pool_server_gpu(fixture->server, 0, &empty));
	assert_false(pool_server_gpu(fixture->server, 1, &gpu));
	assert_false(pool_server_gpu(fixture->server, UINT64_MAX, &gpu));
	assert_int_equal(empty.device, 0);
	assert_int_equal(empty.warm, 1);
	assert_int_equal(empty.bytes_held, 0);
	assert_int_equal(empty.free_known, 1);
	assert_true(empty.free_bytes > IMAGE_BYTES && empty.free_bytes <= empty.memory_bytes);
	assert_non_null(strstr(empty.name, "SIMULATED"));
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	wait_for_state(fixture, POOL_RESIDENT_FILLED);
	assert_true(pool_server_gpu(fixture->server, 0, &full));
	assert_int_equal(full.bytes_held, IMAGE_BYTES);
	client = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.found, 1);
	assert_int_equal(reply.gpu.bytes_held, IMAGE_BYTES);
	assert_memory_equal(reply.gpu.uuid, full.uuid, sizeof(full.uuid));
	request.after = 1;
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.found, 0);
	close(client);
	/* Where the driver does not say it, nothing is made up. */
	inject("cuMemGetInfo=999");
	assert_true(pool_server_gpu(fixture->server, 0, &gpu));
	inject("");
	assert_int_equal(gpu.free_known, 0);
	assert_int_equal(gpu.free_bytes, 0);
	assert_int_equal(gpu.bytes_held, IMAGE_BYTES);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	assert_true(pool_server_gpu(fixture->server, 0, &gpu));
	assert_int_equal(gpu.bytes_held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_filled_ahead_is_listed_until_it_is_dropped),
		TEST(a_restore_takes_what_was_filled_ahead_and_counts_as_found),
		TEST(a_restore_that_reads_counts_as_read),
		TEST(what_is_still_being_filled_counts_as_read),
		TEST(a_process_whose_memory_is_in_no_image_is_neither),
		TEST(a_restore_that_fails_counts_nowhere),
		TEST(filling_that_failed_is_listed_as_such),
		TEST(a_folder_with_a_long_name_has_none),
		TEST(clients_see_the_same),
		TEST(each_gpu_says_what_is_held_and_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
