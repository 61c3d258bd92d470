/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include "protocol/message_socket.h"

/* Many small pieces: what is there is worked on while the rest comes, and a failure in the middle costs nobody anything. */

#define PIECES 66
#define BYTES ((uint64_t)PIECES * 2 << 20)

static struct application *dumped_in_pieces(struct pool_fixture *fixture, const char *behaviour, uint8_t *image_id)
{
	struct application *application = application_start(fixture, PIECES, 2, behaviour);
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	image_id_of(fixture, application->pid, image_id);
	return application;
}

/* The process is as it was when the dump is over. */
static void finish_dump(struct pool_fixture *fixture, struct application *application, int client)
{
	struct pool_reply reply;

	inject("");
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	wait_until_nothing_is_held(fixture);
}

/* An older agent. */
static void memory_of_which_nothing_was_announced_is_saved(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, PIECES, 2, "export-untold");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_int_equal(reply.bytes, BYTES);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void more_than_was_announced_is_left_to_the_driver(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, PIECES, 2, "export-more");
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_non_null(strstr(reply.reason, "more than it has announced"));
	finish_dump(fixture, application, client);
}

static void a_failure_in_the_middle_leaves_the_dump_to_the_driver(void **state)
{
	static const char *const rules[] = {"cuMemImportFromShareableHandle=2@65", "cuMemMap=999@40",
					    "cuMemSetAccess=999@66", "cuMemcpyDtoHAsync=700@5"};
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, PIECES, 2, "none");
	struct pool_reply reply;
	unsigned int i;
	int client;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		inject(rules[i]);
		assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
		if (reply.mode != POOL_MODE_NATIVE || !strstr(reply.reason, "CUDA_ERROR"))
			fail_msg("%s: mode %u, \"%s\"", rules[i], reply.mode, reply.reason);
		finish_dump(fixture, application, client);
	}
}

/* Waits until some has been copied; returns what is held then. */
static uint64_t held_at_the_first_copy(struct pool_fixture *fixture, bool to_device, uint64_t before)
{
	struct pool_status status;
	int i;

	for (i = 0; i < 30000; i++) {
		pool_server_status(fixture->server, &status);
		if ((to_device ? status.bytes_to_device : status.bytes_from_device) > before)
			return status.device_bytes_held;
		usleep(1000);
	}
	fail_msg("Nothing was copied");
	return 0;
}

static void begin_checkpoint(int client, const struct application *application)
{
	struct pool_request request = {.type = POOL_CHECKPOINT, .pid = application->pid, .has_agent = 1};
	int descriptors[POOL_PROCESS_DESCRIPTORS];

	descriptors[0] = descriptors[1] = client_pidfd(application->pid);
	descriptors[2] = application->agent;
	assert_int_equal(message_send(client, &request, sizeof(request), descriptors, 3), 0);
}

static void a_dump_copies_the_first_before_the_last_has_come(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, PIECES, 2, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	inject("cuMemImportFromShareableHandle=50ms");
	begin_checkpoint(client, application);
	assert_in_range(held_at_the_first_copy(fixture, false, 0), 1, BYTES - 1);
	/* Nobody waits for it any more. */
	close(client);
	inject("");
	assert_int_equal(application_checksum(application), application->checksum);
	wait_until_nothing_is_held(fixture);
	assert_false(image_is_there(fixture, application->pid));
}

static void a_restore_fills_and_maps_the_first_before_the_last_is_made(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped_in_pieces(fixture, "none", image_id);
	int client;

	inject("cuMemCreate=50ms");
	client = begin_restore(fixture, &reply);
	assert_in_range(held_at_the_first_copy(fixture, true, 0), 1, BYTES - 1);
	inject("");
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(reply.bytes, BYTES);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

/* Its agent is asked to give access once, and that late. */
static void access_is_given_when_all_is_copied(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped_in_pieces(fixture, "looks-late", image_id);
	int client;

	inject("cuMemcpyHtoDAsync=10ms");
	client = begin_restore(fixture, &reply);
	if (client_resume(client, application, image_id, &reply))
		fail_msg("%s", reply.error.text);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void a_failure_in_the_middle_fails_a_restore_that_is_under_way(void **state)
{
	static const char *const rules[][2] = {
		{"cuMemCreate=5ms,cuMemCreate=999@60", "cuMemCreate failed"},
		{"cuMemCreate=5ms,cuMemExportToShareableHandle=999@50", "cuMemExportToShareableHandle failed"}};
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped_in_pieces(fixture, "none", image_id);
	unsigned int i;
	int client;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		inject(rules[i][0]);
		client = begin_restore(fixture, &reply);
		assert_true(client_resume(client, application, image_id, &reply) < 0);
		if (!strstr(reply.error.text, rules[i][1]))
			fail_msg("%s: \"%s\"", rules[i][0], reply.error.text);
		client_finish(client, -1);
		wait_until_nothing_is_held(fixture);
		assert_true(image_is_there(fixture, application->pid));
	}
}

static void a_process_that_ends_while_it_maps_fails_its_restore(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped_in_pieces(fixture, "none", image_id);
	struct pool_request request = {.type = POOL_RESUME,
				       .pid = application->pid,
				       .has_agent = 1,
				       .agent_released = 1,
				       .begin = 1},
			    await = {.type = POOL_AWAIT, .pid = application->pid};
	pid_t pid = application->pid;
	int client;

	inject("cuMemCreate=50ms");
	client = begin_restore(fixture, &reply);
	memcpy(request.image_id, image_id, sizeof(request.image_id));
	assert_int_equal(client_ask_about(client, &request, client_pidfd(application->pid), application->agent, &reply),
			 0);
	held_at_the_first_copy(fixture, true, 0);
	application_kill(application);
	assert_true(client_ask(client, &await, -1, &reply) < 0);
	client_finish(client, -1);
	inject("");
	wait_until_nothing_is_held(fixture);
	assert_true(image_is_there(fixture, pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_of_which_nothing_was_announced_is_saved),
		TEST(more_than_was_announced_is_left_to_the_driver),
		TEST(a_failure_in_the_middle_leaves_the_dump_to_the_driver),
		TEST(a_dump_copies_the_first_before_the_last_has_come),
		TEST(a_restore_fills_and_maps_the_first_before_the_last_is_made),
		TEST(access_is_given_when_all_is_copied),
		TEST(a_failure_in_the_middle_fails_a_restore_that_is_under_way),
		TEST(a_process_that_ends_while_it_maps_fails_its_restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
