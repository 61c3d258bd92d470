/* SPDX-License-Identifier: MIT */
#include "pool/tests/tier_test_support.h"

#include <signal.h>
#include <stdlib.h>

#include "store/checkpoint_gpu_images.h"

/* What a dump leaves in device memory only, and in no file (REKINDLE_PARK=ephemeral). */

static struct application *left(struct pool_fixture *fixture, uint8_t *image_id)
{
	struct pool_reply reply;
	struct application *application = parked(fixture, POOL_TIER_EPHEMERAL, image_id, &reply);

	assert_int_equal(reply.bytes, BYTES);
	assert_string_equal(reply.reason, "");
	assert_true(gpu_images_are_in_pool(fixture->folder));
	return application;
}

static int count_data_files(struct pool_fixture *fixture)
{
	char command[128];

	snprintf(command, sizeof(command), "exit $(ls %s | grep -c ^rekindle-pages-)", fixture->path);
	return WEXITSTATUS(system(command));
}

/* PREFETCH of a restore; returns its result. */
static int try_restore(struct pool_fixture *fixture, struct pool_reply *reply)
{
	int client = client_begin(fixture, POOL_STAGE_RESTORE);
	int result = client_simple(client, POOL_PREFETCH, 0, reply);

	client_finish(client, result ? result : -ECANCELED);
	return result;
}

static void assert_is_missing(struct pool_fixture *fixture)
{
	struct pool_reply reply;

	assert_int_equal(try_restore(fixture, &reply), -ENODATA);
	assert_non_null(strstr(reply.error.text, "is in no file (REKINDLE_PARK=ephemeral): only the pool that its dump "
						 "left it in can restore it"));
}

static void a_restore_takes_it_once(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = left(fixture, image_id);
	char *statistics = read_statistics(fixture);

	assert_non_null(strstr(statistics, "\"image_bytes\":0"));
	assert_non_null(strstr(statistics, "\"succeeded\":true"));
	free(statistics);
	assert_int_equal(count_data_files(fixture), 0);
	restore(fixture, application, image_id);
	assert_int_equal(status_of(fixture).bytes_to_device, 0);
	wait_until_nothing_is_held(fixture);
	assert_is_missing(fixture);
}

/* The next dump finds nothing that it could be a difference to. */
static void it_is_nobodys_parent(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = left(fixture, image_id);
	struct pool_reply reply;
	int client;

	restore(fixture, application, image_id);
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_int_not_equal(count_data_files(fixture), 0);
	client_finish(client, -EIO);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void it_can_be_dropped(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error;
	uint8_t image_id[16];
	uint64_t bytes;

	left(fixture, image_id);
	wait_for(fixture, POOL_TIER_DEVICE);
	/* Whoever asks for it ahead finds it there; it goes nowhere else. */
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_PINNED, &error), -ENODATA);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	wait_until_nothing_is_held(fixture);
	assert_is_missing(fixture);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), -ENODATA);
}

/* What makes room for others is on the disk as well. */
static void it_makes_room_for_nobody(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16], other_id[16];
	struct application *application, *other;
	struct pool_reply reply;
	char path[128], command[320];
	int client;

	other = dumped(fixture, false, other_id);
	put_away(fixture, "other", path);
	application = left(fixture, image_id);
	wait_for(fixture, POOL_TIER_DEVICE);
	inject("cuCheckpointProcessRestore=2@1");
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_resume(client, other, NULL, &reply), -ENOMEM);
	inject("");
	client_finish(client, -ENOMEM);
	wait_for(fixture, POOL_TIER_DEVICE);
	restore(fixture, application, image_id);
	snprintf(command, sizeof(command), "rm -r %s", path);
	assert_int_equal(system(command), 0);
}

/* Where it cannot be it is written as ever. */
static void assert_was_written(struct pool_fixture *fixture, struct application *application,
			       const uint8_t image_id[16], const struct pool_reply *reply, const char *why)
{
	assert_non_null(strstr(reply->reason, why));
	assert_false(gpu_images_are_in_pool(fixture->folder));
	assert_int_not_equal(count_data_files(fixture), 0);
	restore(fixture, application, image_id);
}

static void beyond_the_budget_it_is_written(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16], first_id[16];
	struct application *first = left(fixture, first_id), *application;
	struct pool_reply reply;
	char path[128], command[320];

	put_away(fixture, "first", path);
	application = parked(fixture, POOL_TIER_EPHEMERAL, image_id, &reply);
	assert_was_written(fixture, application, image_id, &reply,
			   "its 36 MiB, and 36 MiB that are parked and in no file, are more than REKINDLE_PARK_BUDGET");
	snprintf(command, sizeof(command), "rm %s/rekindle-*.img; mv %s/* %s", fixture->path, path, fixture->path);
	assert_int_equal(system(command), 0);
	restore(fixture, first, first_id);
}

static void without_hashes_it_is_written(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	uint8_t image_id[16];

	inject("cuModuleLoadData=999");
	application = parked(fixture, POOL_TIER_EPHEMERAL, image_id, &reply);
	inject("");
	assert_was_written(fixture, application, image_id, &reply, "there are no hashes");
}

static void a_dump_that_fails_gives_it_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_DUMP,
				     .tier = POOL_TIER_EPHEMERAL};
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = client_connect(fixture), folders[3] = {fixture->folder, fixture->folder, fixture->folder};
	struct pool_reply reply;

	client_hello(client, &hello, folders, 3);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	assert_true(gpu_images_are_in_pool(fixture->folder));
	client_finish(client, -EIO);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_false(image_is_there(fixture, application->pid));
	wait_until_nothing_is_held(fixture);
}

static void wait_until_kept(struct pool_fixture *fixture)
{
	struct error_text error;
	uint64_t bytes;
	int tries;

	for (tries = 0; tries < 60000 && pool_server_prefetched(fixture->server, fixture->path, &bytes, &error);
	     tries++)
		usleep(1000);
	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), 0);
}

/* It is kept for the next one, whether a process had it already or not. */
static void a_restore_that_fails_gives_it_back(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = left(fixture, image_id);
	struct pool_reply reply;
	int client, round;

	for (round = 0; round < 2; round++) {
		assert_int_equal(try_restore(fixture, &reply), 0);
		client = begin_restore(fixture, &reply);
		close(client);
		wait_until_kept(fixture);
	}
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	application_kill(application);
	client_finish(client, -EIO);
	client = begin_restore(fixture, &reply);
	assert_int_equal(reply.bytes, BYTES);
	assert_int_equal(status_of(fixture).bytes_to_device, 0);
	close(client);
	wait_for(fixture, POOL_TIER_DEVICE);
}

static void two_restores_cannot_have_it(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = left(fixture, image_id);
	struct pool_reply reply;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(try_restore(fixture, &reply), -EBUSY);
	assert_non_null(strstr(reply.error.text, "in the hands of another restore"));
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* It has written to it. */
static void what_a_failed_restore_has_changed_is_given_to_nobody(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = left(fixture, image_id);
	struct pool_reply reply;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	application_write(application);
	application_kill(application);
	client_finish(client, -EIO);
	assert_is_missing(fixture);
	wait_until_nothing_is_held(fixture);
}

/* The pool that had it has ended, in good order. */
static void another_pool_says_what_is_missing(void **state)
{
	struct pool_fixture *fixture = *state;
	const struct pool_server_options options = {.warm = true};
	struct error_text error;
	uint8_t image_id[16];

	left(fixture, image_id);
	wait_for(fixture, POOL_TIER_DEVICE);
	pool_server_stop(fixture->server);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
	assert_is_missing(fixture);
}

static int set_up_with_a_budget(void **state)
{
	int result;

	setenv("REKINDLE_PARK_BUDGET", "60M", 1);
	result = pool_fixture_set_up(state);
	unsetenv("REKINDLE_PARK_BUDGET");
	return result;
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, tear_down_with_what_is_left)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_restore_takes_it_once),
		TEST(it_is_nobodys_parent),
		TEST(it_can_be_dropped),
		TEST(it_makes_room_for_nobody),
		cmocka_unit_test_setup_teardown(beyond_the_budget_it_is_written, set_up_with_a_budget,
						tear_down_with_what_is_left),
		TEST(without_hashes_it_is_written),
		TEST(a_dump_that_fails_gives_it_back),
		TEST(a_restore_that_fails_gives_it_back),
		TEST(two_restores_cannot_have_it),
		TEST(what_a_failed_restore_has_changed_is_given_to_nobody),
		TEST(another_pool_says_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
