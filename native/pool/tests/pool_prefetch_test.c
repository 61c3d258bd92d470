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
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0); /* not twice */
	do {
		usleep(10000);
		assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), 0);
	} while (bytes);
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

/* What was filled without a look at its checksums is nothing for a restore that looks. */
static void what_was_filled_unverified_is_not_adopted_by_who_verifies(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = true};
	struct pool_status status;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	pool_server_stop(fixture->server);
	fixture->settings.checksums = false;
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0);
	do {
		usleep(10000);
		pool_server_status(fixture->server, &status);
	} while (status.bytes_to_device < 36 << 20);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "allocation 3, chunk 1"));
	client_finish(client, -1);
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
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0);
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
	usleep(100000);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 36 << 20);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -ENOENT);
}

static void progress_is_shown_and_ends(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_progress progress = {.phase = 0};
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
	struct pool_status status;
	struct application *application;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client, tries;

	application = dumped(fixture, true, image_id);
	assert_non_null(mkdtemp(kept));
	snprintf(command, sizeof(command), "mv %s/rekindle-*.img %s", fixture->path, kept);
	assert_int_equal(system(command), 0);
	application_kill(application);
	application = dumped(fixture, true, image_id);
	assert_int_equal(pool_server_prefetch(fixture->server, kept, &error), 0);
	for (tries = 0; tries < 500; tries++) {
		pool_server_status(fixture->server, &status);
		if (status.device_bytes_held == 36 << 20)
			break;
		usleep(10000);
	}
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

/* Another pool in the place of the fixture's, which does not compare checksums. */
static void restart_without_checksums(struct pool_fixture *fixture)
{
	struct pool_server_options options = {.warm = true};
	struct error_text error;

	pool_server_stop(fixture->server);
	fixture->settings.checksums = false;
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
}

static void fill_ahead(struct pool_fixture *fixture)
{
	struct pool_status status;
	struct error_text error;
	int tries;

	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0);
	for (tries = 0; tries < 2000; tries++) {
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

	inject("cuMemcpyHtoDAsync=8000ms");
	began = monotonic_nanoseconds();
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -ETIMEDOUT);
	assert_non_null(strstr(reply.error.text, "REKINDLE_TIMEOUT"));
	assert_true(monotonic_nanoseconds() - began >= UINT64_C(1000000000));
	/* Not because it went on. */
	assert_true(monotonic_nanoseconds() - began < 8 * UINT64_C(1000000000));
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

	inject("cuMemCreate=8000ms@1");
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
		TEST(what_was_filled_unverified_is_not_adopted_by_who_verifies),
		TEST(filling_that_failed_says_so),
		TEST(what_was_filled_ahead_can_be_dropped),
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
