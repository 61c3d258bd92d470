/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <signal.h>
#include <sys/wait.h>

/* Several processes of one run are worked on side by side, and each one's answer is its own. */

#define MEMBERS 3

/* Begins it, with the reply that says only so. */
static int begin(int client, uint32_t type, struct application *application, const uint8_t *image_id,
		 struct pool_reply *reply)
{
	struct pool_request request = {.type = type, .pid = application->pid, .has_agent = 1, .begin = 1};

	if (image_id)
		memcpy(request.image_id, image_id, sizeof(request.image_id));
	request.agent_released = image_id != NULL;
	return client_ask_about(client, &request, client_pidfd(application->pid), application->agent, reply);
}

static int await(int client, const struct application *application, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_AWAIT, .pid = application->pid};

	return client_ask(client, &request, -1, reply);
}

static void begin_restores(struct pool_fixture *fixture, int *client, struct application **applications,
			   const char *injected)
{
	uint8_t image_ids[MEMBERS][16];
	struct pool_reply reply;
	int i;

	for (i = 0; i < MEMBERS; i++)
		applications[i] = dumped(fixture, true, image_ids[i]);
	inject(injected);
	*client = begin_restore(fixture, &reply);
	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(begin(*client, POOL_RESUME, applications[i], image_ids[i], &reply), 0);
}

static int begin_dump(struct pool_fixture *fixture, struct application **applications, const char *injected)
{
	int client = client_begin(fixture, POOL_STAGE_DUMP), i;
	struct pool_reply reply;

	for (i = 0; i < MEMBERS; i++) {
		applications[i] = application_start(fixture, 4, 4, "none");
		assert_int_equal(client_simple(client, POOL_LOCK, applications[i]->pid, &reply), 0);
	}
	inject(injected);
	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(begin(client, POOL_CHECKPOINT, applications[i], NULL, &reply), 0);
	return client;
}

static void check_contents(struct application **applications)
{
	int i;

	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(application_checksum(applications[i]), applications[i]->checksum);
}

static void are_restored_side_by_side(void **state)
{
	struct application *applications[MEMBERS];
	struct pool_reply reply;
	int client, i;

	begin_restores(*state, &client, applications, "cuCheckpointProcessRestore=200ms");
	for (i = MEMBERS - 1; i >= 0; i--) {
		assert_int_equal(await(client, applications[i], &reply), 0);
		assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
		assert_int_equal(reply.bytes, 36 << 20);
	}
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), 0);
	client_finish(client, 0);
	check_contents(applications);
}

/* Beside the copies for another one access would take the driver long. */
static void none_gets_its_access_before_all_is_copied(void **state)
{
	struct application *applications[MEMBERS];
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	struct pool_reply reply;
	int client, i;

	begin_restores(fixture, &client, applications, "cuMemcpyHtoDAsync=10ms");
	for (i = 0; i < MEMBERS; i++) {
		assert_int_equal(await(client, applications[i], &reply), 0);
		pool_server_status(fixture->server, &status);
		assert_int_equal(status.bytes_to_device, MEMBERS * 36 << 20);
	}
	client_finish(client, 0);
	check_contents(applications);
}

static void nothing_else_is_asked_about_them_meanwhile(void **state)
{
	struct application *applications[MEMBERS];
	struct pool_reply reply;
	int client, i;

	begin_restores(*state, &client, applications, "cuCheckpointProcessRestore=held");
	assert_int_equal(client_resume(client, applications[0], NULL, &reply), -EPROTO);
	assert_non_null(strstr(reply.error.text, "is being worked on"));
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), -EPROTO);
	assert_int_equal(await(client, &(struct application){.pid = 1}, &reply), -EPROTO);
	assert_non_null(strstr(reply.error.text, "Nothing was begun for process 1"));
	inject("");
	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(await(client, applications[i], &reply), 0);
	assert_int_equal(await(client, applications[0], &reply), -EPROTO);
	client_finish(client, 0);
	check_contents(applications);
}

static void one_that_fails_is_the_only_one_that_does(void **state)
{
	struct application *applications[MEMBERS];
	struct pool_reply reply;
	int client, i, failed = 0;

	begin_restores(*state, &client, applications,
		       "cuCheckpointProcessRestore=100ms,cuCheckpointProcessRestore=999@2");
	for (i = 0; i < MEMBERS; i++) {
		if (await(client, applications[i], &reply) == 0)
			continue;
		failed++;
		assert_non_null(strstr(reply.error.text, "CUDA_ERROR_UNKNOWN"));
	}
	assert_int_equal(failed, 1);
	client_finish(client, -EIO);
}

static void a_lost_restore_ends_all_that_is_under_way(void **state)
{
	struct application *applications[MEMBERS];
	int client, i, status;

	/* Not even the first one's memory is filled when the client goes. */
	begin_restores(*state, &client, applications, "cuMemcpyHtoDAsync=200ms");
	close(client);
	for (i = 0; i < MEMBERS; i++) {
		assert_int_equal(waitpid(applications[i]->pid, &status, 0), applications[i]->pid);
		assert_int_equal(WTERMSIG(status), SIGKILL);
		applications[i]->pid = 0;
	}
	wait_until_nothing_is_held(*state);
}

static void are_dumped_side_by_side_and_live_on(void **state)
{
	struct application *applications[MEMBERS];
	int client = begin_dump(*state, applications, "cuCheckpointProcessCheckpoint=200ms"), i;
	struct pool_reply reply;

	for (i = 0; i < MEMBERS; i++) {
		assert_int_equal(await(client, applications[i], &reply), 0);
		assert_int_equal(reply.bytes, 16 << 20);
		assert_true(image_is_there(*state, applications[i]->pid));
	}
	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(begin(client, POOL_RESUME, applications[i], NULL, &reply), 0);
	for (i = 0; i < MEMBERS; i++)
		assert_int_equal(await(client, applications[i], &reply), 0);
	client_finish(client, 0);
	check_contents(applications);
}

static void a_lost_dump_gives_back_all_that_is_under_way(void **state)
{
	struct application *applications[MEMBERS];
	int client = begin_dump(*state, applications, "cuCheckpointProcessCheckpoint=200ms"), i;

	close(client);
	wait_until_nothing_is_held(*state);
	check_contents(applications);
	for (i = 0; i < MEMBERS; i++)
		assert_false(image_is_there(*state, applications[i]->pid));
}

/* Nobody asks how it went. */
static void the_end_of_a_run_waits_for_all(void **state)
{
	struct application *applications[MEMBERS];
	int client = begin_dump(*state, applications, "cuCheckpointProcessCheckpoint=200ms"), i;

	client_finish(client, -ECANCELED);
	wait_until_nothing_is_held(*state);
	check_contents(applications);
	for (i = 0; i < MEMBERS; i++)
		assert_false(image_is_there(*state, applications[i]->pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(are_restored_side_by_side),
		TEST(none_gets_its_access_before_all_is_copied),
		TEST(nothing_else_is_asked_about_them_meanwhile),
		TEST(one_that_fails_is_the_only_one_that_does),
		TEST(a_lost_restore_ends_all_that_is_under_way),
		TEST(are_dumped_side_by_side_and_live_on),
		TEST(a_lost_dump_gives_back_all_that_is_under_way),
		TEST(the_end_of_a_run_waits_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
