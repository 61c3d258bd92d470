/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/clock.h"

/* Memory is filled before it is asked for, for as long as that gets on. */

static bool some_is_to_come(struct pool_fixture *fixture, const char *folder)
{
	struct error_text error;
	uint64_t bytes;

	assert_int_equal(pool_server_prefetched(fixture->server, folder, &bytes, &error), 0);
	return bytes > 0;
}

static void wait_until_filled(struct pool_fixture *fixture, const char *folder)
{
	int tries;

	for (tries = 0; tries < 6000 && some_is_to_come(fixture, folder); tries++)
		usleep(10000);
	assert_true(tries < 6000);
}

static void without_overlap_filling_begins_at_resume(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_RESTORE,
				     .parallel = 0,
				     .verify = 1};
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = client_connect(fixture), folders[2] = {fixture->folder, fixture->folder};

	client_hello(client, &hello, folders, 2);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), 0);
	usleep(100000);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void lost_client_drops_the_prefetch(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];

	dumped(fixture, true, image_id);
	inject("cuMemcpyHtoDAsync=50ms");
	close(begin_restore(fixture, &reply));
	wait_until_nothing_is_held(fixture);
	assert_true(image_is_there(fixture, fixture->applications[0].pid)); /* the image stays whole */
}

static void what_was_filled_ahead_is_adopted(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t bytes;
	int client;

	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), -ENOENT);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error),
			 0); /* not twice */
	wait_until_filled(fixture, fixture->path);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 36 << 20);
	assert_int_equal(status.device_bytes_held, 36 << 20);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), -ENOENT);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 36 << 20); /* nothing was copied again */
	assert_int_equal(application_checksum(application), application->checksum);
}

static void filling_that_failed_says_so(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t bytes;
	int result;

	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	while (!(result = pool_server_prefetched(fixture->server, fixture->path, &bytes, &error))) {
		assert_int_not_equal(bytes, 0); /* never there */
		usleep(10000);
	}
	assert_int_equal(result, -EBADMSG);
	assert_non_null(strstr(error.text, "allocation 3, chunk 1"));
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
}

static void what_was_filled_ahead_can_be_dropped(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_PREFETCH};
	struct pool_status status;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client;

	dumped(fixture, true, image_id);
	client = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_ask(client, &request, fixture->folder, &reply), 0);
	assert_int_equal(reply.bytes, 36 << 20);
	close(client); /* it stays without its client */
	wait_until_filled(fixture, fixture->path);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 36 << 20);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -ENOENT);
}

/* Whether something is kept for it nobody knows. */
static void a_damaged_folder_is_not_said_to_have_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_DROP};
	char manifest[64], before[6];
	struct application *application;
	struct error_text error;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client, file;

	application = dumped(fixture, true, image_id);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	image_file_of(fixture, application->pid, "rekindle-", manifest);
	file = openat(fixture->folder, manifest, O_RDWR);
	assert_int_equal(pread(file, before, 6, 100), 6);
	assert_int_equal(pwrite(file, "damage", 6, 100), 6);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "damaged"));
	client = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_ask(client, &request, fixture->folder, &reply), -EBADMSG);
	close(client);
	assert_int_equal(pwrite(file, before, 6, 100), 6);
	close(file);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
}

static void progress_is_shown_and_ends(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_progress progress = {.run = CLIENT_RUN_NAME};
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client, file = openat(fixture->folder, POOL_PROGRESS_FILE, O_RDWR | O_CREAT, 0600);

	assert_int_equal(pwrite(file, &progress, sizeof(progress), 0), sizeof(progress));
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(pread(file, &progress, sizeof(progress), 0), sizeof(progress));
	assert_int_equal(progress.bytes_done, 36 << 20);
	assert_int_equal(progress.bytes_total, 36 << 20);
	assert_int_equal(progress.ended, 0);
	client_finish(client, 0);
	assert_int_equal(pread(file, &progress, sizeof(progress), 0), sizeof(progress));
	assert_int_equal(progress.ended, 1);
	close(file);
}

static void memory_filled_ahead_makes_room_for_a_restore(void **state)
{
	struct pool_fixture *fixture = *state;
	char kept[] = "/tmp/pool-test-kept-XXXXXX", command[256];
	struct application *application;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client;

	application = dumped(fixture, true, image_id);
	assert_non_null(mkdtemp(kept));
	snprintf(command, sizeof(command), "mv %s/rekindle-*.img %s", fixture->path, kept);
	assert_int_equal(system(command), 0);
	application_kill(application);
	application = dumped(fixture, true, image_id);
	assert_int_equal(pool_server_prefetch(fixture->server, kept, POOL_TIER_DEVICE, &error), 0);
	wait_until_filled(fixture, kept);
	/* The first piece that the restore wants finds no room. */
	inject("cuMemCreate=2@1");
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(pool_server_drop(fixture->server, kept, &error), -ENOENT);
	snprintf(command, sizeof(command), "rm -r %s", kept);
	assert_int_equal(system(command), 0);
}

/* What is made of a restore's memory already is filled first, beside the rest of what was filled ahead. */
static void wait_until_made(struct pool_fixture *fixture, uint64_t bytes, uint64_t others)
{
	struct pool_status status = {.device_bytes_held = 0};
	int tries;

	for (tries = 0; tries < 6000 && status.device_bytes_held != bytes + others; tries++) {
		usleep(10000);
		pool_server_status(fixture->server, &status);
	}
	assert_int_equal(status.device_bytes_held, bytes + others);
}

/* Another pool in the place of the fixture's, with its settings as they are now. */
static void restart(struct pool_fixture *fixture)
{
	struct pool_server_options options = {.warm = true};
	struct error_text error;

	pool_server_stop(fixture->server);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
}

/* More copies than the restore has, 16, and less than what is filled ahead, 53: one for each chunk. */
#define COPIES_HELD_FROM "24"

/*
 * Also where it was filled ahead itself until then, and after the other. There is one worker: where it is held after so many
 * copies the restore has its memory, or waits in vain.
 */
static void a_restore_overtakes_what_is_filled_ahead(void **state)
{
	struct pool_fixture *fixture = *state;
	char kept[] = "/tmp/pool-test-kept-XXXXXX", command[256];
	struct application *application;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client, adopted;

	fixture->settings.streams = 1;
	restart(fixture);
	application = application_start(fixture, 32, 4, "none");
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	assert_non_null(mkdtemp(kept));
	snprintf(command, sizeof(command), "mv %s/rekindle-*.img %s", fixture->path, kept);
	assert_int_equal(system(command), 0);
	application_kill(application);
	for (adopted = 0; adopted < 2; adopted++) {
		application = dumped(fixture, true, image_id);
		inject("cuMemcpyHtoDAsync=held");
		assert_int_equal(pool_server_prefetch(fixture->server, kept, POOL_TIER_DEVICE, &error), 0);
		wait_until_held();
		if (adopted)
			assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error),
					 0);
		client = begin_restore(fixture, &reply);
		wait_until_made(fixture, 36 << 20, 128 << 20);
		inject("cuMemcpyHtoDAsync=held@" COPIES_HELD_FROM);
		assert_int_equal(client_resume(client, application, image_id, &reply), 0);
		assert_true(some_is_to_come(fixture, kept));
		inject("");
		client_finish(client, 0);
		assert_int_equal(application_checksum(application), application->checksum);
		assert_int_equal(pool_server_drop(fixture->server, kept, &error), 0);
		snprintf(command, sizeof(command), "rm %s/rekindle-*.img", fixture->path);
		assert_int_equal(system(command), 0);
	}
	snprintf(command, sizeof(command), "rm -r %s", kept);
	assert_int_equal(system(command), 0);
}

/* One which does not compare checksums. */
static void restart_without_checksums(struct pool_fixture *fixture)
{
	fixture->settings.checksums = false;
	restart(fixture);
}

static void fill_ahead(struct pool_fixture *fixture)
{
	struct pool_status status;
	struct error_text error;
	int tries;

	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	for (tries = 0; tries < 6000; tries++) {
		pool_server_status(fixture->server, &status);
		if (status.bytes_to_device >= 36 << 20)
			return;
		usleep(10000);
	}
	fail_msg("Nothing was filled ahead");
}

/* Filled by a pool that was told not to look, for a restore that wants the checksums compared. */
static void what_was_filled_unverified_is_not_for_a_verifying_restore(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	restart_without_checksums(fixture);
	damage(fixture, application->pid, 15 << 20);
	fill_ahead(fixture);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "allocation 3, chunk 1"));
	client_finish(client, -1);
}

static void what_was_filled_unverified_is_for_a_restore_that_does_not_ask(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_RESTORE,
				     .parallel = 1,
				     .verify = 0};
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client, folders[2] = {fixture->folder, fixture->folder};

	restart_without_checksums(fixture);
	fill_ahead(fixture);
	client = client_connect(fixture);
	client_hello(client, &hello, folders, 2);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 36 << 20); /* nothing was copied again */
}

static int set_up_with_limit(void **state, unsigned int seconds)
{
	unsigned int usual = pool_fixture_timeout_seconds;
	int result;

	pool_fixture_timeout_seconds = seconds;
	result = pool_fixture_set_up(state);
	pool_fixture_timeout_seconds = usual;
	return result;
}

/* For what is held until the test has seen enough. */
static int set_up_with_a_limit_of_a_minute(void **state)
{
	return set_up_with_limit(state, 60);
}

static int set_up_with_a_limit_of_three_seconds(void **state)
{
	return set_up_with_limit(state, 3);
}

static int set_up_with_a_limit_of_one_second(void **state)
{
	return set_up_with_limit(state, 1);
}

static void honest_filling_may_take_longer_than_the_limit(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t began;
	int client;

	inject("cuMemcpyHtoDAsync=700ms");
	client_words = 0;
	began = monotonic_nanoseconds();
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_true(monotonic_nanoseconds() - began > 3 * UINT64_C(1000000000));
	/* Whoever waits hears of it more often than the limit is long. */
	assert_true(client_words >= 2);
	inject("");
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void filling_that_stands_still_ends_at_the_limit(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t began;
	int client;

	inject("cuMemcpyHtoDAsync=held");
	began = monotonic_nanoseconds();
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -ETIMEDOUT);
	assert_non_null(strstr(reply.error.text, "REKINDLE_TIMEOUT"));
	assert_true(monotonic_nanoseconds() - began >= UINT64_C(1000000000));
	inject("");
	client_finish(client, -1);
}

/* Making memory is waited for likewise. */
static void memory_that_does_not_come_is_not_waited_for_for_ever(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	inject("cuMemCreate=held@1");
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -ETIMEDOUT);
	inject("");
	client_finish(client, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_filled_ahead_makes_room_for_a_restore),
		TEST(without_overlap_filling_begins_at_resume),
		TEST(lost_client_drops_the_prefetch),
		TEST(what_was_filled_ahead_is_adopted),
		TEST(filling_that_failed_says_so),
		TEST(what_was_filled_ahead_can_be_dropped),
		TEST(a_damaged_folder_is_not_said_to_have_nothing),
		cmocka_unit_test_setup_teardown(a_restore_overtakes_what_is_filled_ahead,
						set_up_with_a_limit_of_a_minute, pool_fixture_tear_down),
		TEST(progress_is_shown_and_ends),
		TEST(what_was_filled_unverified_is_not_for_a_verifying_restore),
		TEST(what_was_filled_unverified_is_for_a_restore_that_does_not_ask),
		cmocka_unit_test_setup_teardown(honest_filling_may_take_longer_than_the_limit,
						set_up_with_a_limit_of_three_seconds, pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(filling_that_stands_still_ends_at_the_limit,
						set_up_with_a_limit_of_one_second, pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(memory_that_does_not_come_is_not_waited_for_for_ever,
						set_up_with_a_limit_of_one_second, pool_fixture_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
