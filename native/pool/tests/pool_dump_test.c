/* SPDX-License-Identifier: MIT */
#include "pool/tests/pool_test_support.h"

#include "store/gpu_image.h"

static void leave_running_gives_the_same_memory_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 5, 6, "none");
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	char *statistics;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_string_equal(reply.reason, "");
	assert_int_equal(reply.bytes, 30 << 20);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_CHECKPOINTED);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 30 << 20);
	assert_int_equal(status.checkpoints, 1);
	assert_int_equal(status.bytes_from_device, 30 << 20);
	assert_int_equal(status.bytes_to_device, 0);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 0); /* nothing was copied */
	client_finish(client, 0);
	assert_true(image_is_there(fixture, application->pid));
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"kind\":\"checkpoint\""));
	assert_non_null(strstr(statistics, "\"succeeded\":true"));
	assert_non_null(strstr(statistics, "\"mode\":\"offload\""));
	assert_non_null(strstr(statistics, "\"phase\":\"copy_out\""));
	assert_non_null(strstr(statistics, "\"phase\":\"release\""));
	assert_non_null(strstr(statistics, "\"phase\":\"stand\""));
	assert_non_null(strstr(statistics, "\"simulated\":true"));
	free(statistics);
}

static void many_allocations_go_in_batches(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 131, 2, "none");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void dumps_again_after_it_was_resumed(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	struct pool_reply reply;
	uint8_t first[16], second[16];
	uint64_t checksum;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	image_id_of(fixture, application->pid, first);
	assert_int_equal(client_resume(client, application, first, &reply), 0);
	client_finish(client, 0);
	checksum = application_write(application);
	assert_true(checksum != application->checksum);
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	image_id_of(fixture, application->pid, second);
	assert_memory_not_equal(first, second, 16);
	assert_int_equal(client_resume(client, application, second, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), checksum);
}

static void without_an_agent_the_driver_saves_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	struct pool_status status;
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, false, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_string_equal(reply.reason, "no agent in this test");
	assert_int_equal(reply.bytes, 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_from_device, 0);
	assert_true(image_is_there(fixture, application->pid));
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void late_answers_to_an_earlier_pool_are_passed_over(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 5, 2, "late-answers");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void maps_in_smaller_batches_where_descriptors_are_few(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 131, 2, "map-few");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void process_that_is_gone_is_named(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "none");
	struct pool_request request = {.type = POOL_QUERY, .pid = application->pid};
	int client = client_begin(fixture, POOL_STAGE_DUMP), pidfd = client_pidfd(application->pid);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	application_kill(application);
	assert_int_equal(client_ask_about(client, &request, pidfd, -1, &reply), -ESRCH);
	assert_non_null(strstr(reply.error.text, "has ended"));
	request.type = POOL_CHECKPOINT;
	assert_int_equal(client_ask_about(client, &request, pidfd, -1, &reply), -ESRCH);
	client_finish(client, -1);
}

static void a_process_without_cuda_is_told_apart(void **state)
{
	struct pool_fixture *fixture = *state;
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_QUERY, getppid(), &reply), 0);
	assert_int_equal(reply.uses_cuda, 0);
	inject("cuCheckpointProcessGetRestoreThreadId=999");
	assert_true(client_simple(client, POOL_QUERY, getppid(), &reply) < 0);
	assert_non_null(strstr(reply.error.text, "CUDA_ERROR_UNKNOWN"));
	client_finish(client, 0);
}

/* Threads that are held while they take a signal get it when they are let go. */
static void no_signal_is_lost_while_threads_are_held(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "signals");
	struct pool_reply reply;
	int client, i;

	for (i = 0; i < 20; i++) {
		assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
		close(client);
		wait_until_nothing_is_held(fixture);
		assert_int_equal(application_lost_signals(application), 0);
	}
	assert_int_equal(application_checksum(application), application->checksum);
}

static void each_device_has_its_own_memory(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 6, "two-devices");
	struct pool_reply reply;
	struct gpu_image_name name = {.has_id = true};
	struct gpu_image *image = NULL;
	int client;
	uint32_t i;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.bytes, 24 << 20);
	image_id_of(fixture, application->pid, name.id);
	name.pid = application->pid;
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, NULL), 0);
	assert_int_equal(image->device_count, 2);
	assert_int_equal(image->devices[1].ordinal, 1);
	assert_memory_not_equal(image->devices[0].uuid, image->devices[1].uuid, 16);
	for (i = 0; i < 4; i++)
		assert_int_equal(image->allocations[i].device, i % 2);
	gpu_image_free(image);
	assert_int_equal(client_resume(client, application, name.id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* Somebody else had locked it before the dump, and finds it locked; and whoever lets it go on finds it running. */
static void what_somebody_else_has_locked_stays_so(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP), other = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	/* Tests name a process by the same descriptor always, so that these two runs share it. */
	assert_int_equal(client_simple(other, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_simple(other, POOL_UNLOCK, application->pid, &reply), 0);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_LOCKED);
	client_finish(other, -1);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_LOCKED);
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_RUNNING);
	/* One unlock more is none. */
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leave_running_gives_the_same_memory_back),
		TEST(many_allocations_go_in_batches),
		TEST(dumps_again_after_it_was_resumed),
		TEST(without_an_agent_the_driver_saves_it),
		TEST(late_answers_to_an_earlier_pool_are_passed_over),
		TEST(maps_in_smaller_batches_where_descriptors_are_few),
		TEST(process_that_is_gone_is_named),
		TEST(a_process_without_cuda_is_told_apart),
		TEST(no_signal_is_lost_while_threads_are_held),
		TEST(each_device_has_its_own_memory),
		TEST(what_somebody_else_has_locked_stays_so),
	};

	/* For this process and the applications. */
	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
