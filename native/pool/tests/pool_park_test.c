/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "store/checkpoint_folder.h"

/* What a dump leaves in device memory, and what becomes of it. */

#define BYTES (36 << 20)

static const uint8_t checkpoint_id[16] = {7};

static int begin_dump(struct pool_fixture *fixture, struct application *application)
{
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_DUMP,
				     .tier = POOL_TIER_DEVICE};
	int client = client_connect(fixture), folders[3] = {fixture->folder, fixture->folder, fixture->folder};
	struct pool_reply reply;

	memcpy(hello.image_id, checkpoint_id, sizeof(hello.image_id));
	client_hello(client, &hello, folders, 3);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	return client;
}

static void seal(struct pool_fixture *fixture)
{
	struct checkpoint_reading reading = {.threads = 1};
	struct error_text error;

	assert_int_equal(checkpoint_folder_seal(fixture->folder, fixture->folder, checkpoint_id, &reading, &error), 0);
}

/* FINISH; the reply is that of a dump that succeeded. */
static void finish(int client, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_FINISH};

	assert_int_equal(client_ask(client, &request, -1, reply), 0);
	close(client);
}

/* Dumps it; it has nothing but its image, and the pool its memory. */
static struct application *parked(struct pool_fixture *fixture, uint8_t *image_id)
{
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = begin_dump(fixture, application);
	struct pool_reply reply;

	seal(fixture);
	finish(client, &reply);
	assert_int_equal(reply.bytes, BYTES);
	assert_string_equal(reply.reason, "");
	image_id_of(fixture, application->pid, image_id);
	return application;
}

static struct pool_resident wait_for(struct pool_fixture *fixture, uint32_t state)
{
	struct pool_resident entry = {.state = 0};
	int tries;

	for (tries = 0; tries < 6000 && entry.state != state; tries++) {
		assert_true(pool_server_resident(fixture->server, 0, &entry));
		usleep(10000);
	}
	assert_int_equal(entry.state, state);
	return entry;
}

static uint64_t copied(struct pool_fixture *fixture)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	return status.bytes_to_device;
}

static void a_restore_maps_what_was_parked(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = parked(fixture, image_id);
	struct pool_resident entry = wait_for(fixture, POOL_RESIDENT_FILLED);
	struct pool_reply reply;
	char *statistics;
	int client;

	assert_int_equal(entry.parked, 1);
	assert_int_equal(entry.taken, 0);
	assert_int_equal(entry.bytes, BYTES);
	assert_string_equal(entry.directory, fixture->path);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(copied(fixture), 0);
	wait_until_nothing_is_held(fixture);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"resident_bytes\":37748736"));
	free(statistics);
}

/* A restore may be so soon that nobody has compared anything yet. */
static void a_restore_waits_until_it_was_compared(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application;
	struct pool_reply reply;
	int client;

	inject("cuMemMap=100ms");
	application = parked(fixture, image_id);
	client = begin_restore(fixture, &reply);
	inject("");
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(copied(fixture), 0);
}

static bool is_kept(struct pool_fixture *fixture)
{
	struct error_text error;
	uint64_t bytes;

	return pool_server_prefetched(fixture->server, fixture->path, &bytes, &error) == 0;
}

/* It is still being compared then, and there for the next one. */
static void a_restore_that_goes_away_meanwhile_takes_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_PREFETCH};
	uint8_t image_id[16];
	struct application *application;
	struct pool_reply reply;
	int client, tries;

	inject("cuLaunchKernel=held@2"); /* the first is the dump's */
	application = parked(fixture, image_id);
	wait_until_held();
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(send(client, &request, sizeof(request), 0), sizeof(request));
	for (tries = 0; tries < 50000 && is_kept(fixture); tries++)
		usleep(1000);
	assert_false(is_kept(fixture));
	close(client);
	for (tries = 0; tries < 50000 && !is_kept(fixture); tries++)
		usleep(1000);
	assert_true(is_kept(fixture));
	inject("");
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(copied(fixture), 0);
}

/* It has its memory back, writes to it, and ends. */
static void what_was_changed_meanwhile_is_not_given_to_anybody(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = begin_dump(fixture, application);
	struct pool_resident entry;
	struct pool_reply reply;
	uint8_t image_id[16];

	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	seal(fixture);
	finish(client, &reply);
	assert_int_equal(reply.bytes, BYTES);
	assert_true(pool_server_resident(fixture->server, 0, &entry));
	assert_int_equal(entry.state, POOL_RESIDENT_FILLING);
	application_write(application);
	application_kill(application);
	/* The restore reads it, and nobody has anything of the other. */
	client = begin_restore(fixture, &reply);
	assert_int_equal(reply.bytes, BYTES);
	wait_for(fixture, POOL_RESIDENT_FILLED);
	assert_int_equal(copied(fixture), BYTES);
	close(client);
	wait_until_nothing_is_held(fixture);
}

static void one_that_goes_on_keeps_its_memory_for_itself(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = begin_dump(fixture, application);
	struct pool_reply reply;
	uint8_t image_id[16];

	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	seal(fixture);
	finish(client, &reply);
	wait_until_nothing_is_held(fixture);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void a_checkpoint_that_is_not_in_its_place_is_not_parked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = begin_dump(fixture, application);
	struct pool_reply reply;

	finish(client, &reply);
	assert_int_equal(reply.bytes, 0);
	assert_string_equal(reply.reason, "the checkpoint is not in its place");
	wait_until_nothing_is_held(fixture);
}

static void without_hashes_nothing_is_parked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "none");
	struct pool_reply reply;
	int client;

	inject("cuModuleLoadData=999");
	client = begin_dump(fixture, application);
	inject("");
	seal(fixture);
	finish(client, &reply);
	assert_int_equal(reply.bytes, 0);
	assert_non_null(strstr(reply.reason, "there are no hashes"));
	wait_until_nothing_is_held(fixture);
}

/* The comparison fails: the restore reads the image. */
static void what_cannot_be_compared_is_dropped(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = begin_dump(fixture, application);
	struct pool_reply reply;
	uint8_t image_id[16];

	seal(fixture);
	inject("cuModuleLoadData=999");
	finish(client, &reply);
	assert_int_equal(reply.bytes, BYTES);
	wait_until_nothing_is_held(fixture);
	inject("");
	image_id_of(fixture, application->pid, image_id);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(copied(fixture), BYTES);
}

static void it_can_be_dropped(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error;
	uint8_t image_id[16];
	uint64_t bytes;

	parked(fixture, image_id);
	wait_for(fixture, POOL_RESIDENT_FILLED);
	/* Whoever asks for it ahead finds it there. */
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(copied(fixture), 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
	assert_false(pool_server_resident(fixture->server, 0, &(struct pool_resident){.number = 0}));
	wait_until_nothing_is_held(fixture);
}

/* The driver's own restore finds no room beside what is parked of another one. */
static void the_drivers_restore_gets_room(void **state)
{
	struct pool_fixture *fixture = *state;
	char other[] = "/tmp/pool-test-other-XXXXXX", command[256];
	struct application *application;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client;

	application = dumped(fixture, false, image_id);
	assert_non_null(mkdtemp(other));
	snprintf(command, sizeof(command), "mv %s/rekindle-*.img %s", fixture->path, other);
	assert_int_equal(system(command), 0);
	parked(fixture, image_id);
	wait_for(fixture, POOL_RESIDENT_FILLED);
	inject("cuCheckpointProcessRestore=2@1");
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), -ENOENT);
	snprintf(command, sizeof(command), "rm -r %s", other);
	assert_int_equal(system(command), 0);
}

/* Half of it is as long as a restore waits for the comparison. */
static int set_up_with_a_long_limit(void **state)
{
	unsigned int usual = pool_fixture_timeout_seconds;
	int result;

	pool_fixture_timeout_seconds = 120;
	result = pool_fixture_set_up(state);
	pool_fixture_timeout_seconds = usual;
	return result;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_restore_maps_what_was_parked),
		cmocka_unit_test_setup_teardown(a_restore_waits_until_it_was_compared, set_up_with_a_long_limit,
						pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(a_restore_that_goes_away_meanwhile_takes_nothing,
						set_up_with_a_long_limit, pool_fixture_tear_down),
		TEST(what_was_changed_meanwhile_is_not_given_to_anybody),
		TEST(one_that_goes_on_keeps_its_memory_for_itself),
		TEST(a_checkpoint_that_is_not_in_its_place_is_not_parked),
		TEST(without_hashes_nothing_is_parked),
		TEST(what_cannot_be_compared_is_dropped),
		TEST(it_can_be_dropped),
		TEST(the_drivers_restore_gets_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
