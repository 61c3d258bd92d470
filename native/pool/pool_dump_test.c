/* SPDX-License-Identifier: MIT */
#include "pool/pool_test_support.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "protocol/message_socket.h"

/* Locks and saves an application; the test goes on with it. */
static int begin_dump(struct pool_fixture *fixture, struct application *application, bool with_agent,
		      struct pool_reply *reply, int *client)
{
	*client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(*client, POOL_QUERY, application->pid, reply), 0);
	assert_int_equal(reply->uses_cuda, 1);
	assert_int_equal(reply->state, CU_PROCESS_STATE_RUNNING);
	assert_true(reply->restore_thread_id > 0);
	assert_int_equal(client_simple(*client, POOL_LOCK, application->pid, reply), 0);
	return client_checkpoint(*client, application, with_agent, reply);
}

static CUprocessState state_of(int client, struct application *application)
{
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_QUERY, application->pid, &reply), 0);
	return (CUprocessState)reply.state;
}

static void leave_running_gives_the_same_memory_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 5, 6, "none");
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	char *statistics;
	int client;

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_string_equal(reply.reason, "");
	assert_int_equal(reply.bytes, 30 << 20);
	assert_int_equal(state_of(client, application), CU_PROCESS_STATE_CHECKPOINTED);
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

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
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

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
	image_id_of(fixture, application->pid, first);
	assert_int_equal(client_resume(client, application, first, &reply), 0);
	client_finish(client, 0);
	checksum = application_write(application);
	assert_true(checksum != application->checksum);
	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
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

	assert_int_equal(begin_dump(fixture, application, false, &reply, &client), 0);
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

static void failed_export_falls_back_to_the_driver(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "export-fails");
	struct pool_reply reply;
	int client;

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_string_equal(reply.reason, "no export today");
	assert_int_equal(state_of(client, application), CU_PROCESS_STATE_CHECKPOINTED);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
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

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
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

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* The dump fails, the process is locked and whole, and nothing of the image stays. */
static void assert_dump_fails(struct pool_fixture *fixture, const char *behaviour, const char *sentence)
{
	struct application *application = application_start(fixture, 4, 4, behaviour);
	struct pool_reply reply;
	char *statistics;
	int client;

	assert_true(begin_dump(fixture, application, true, &reply, &client) < 0);
	if (!strstr(reply.error.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", reply.error.text, sentence);
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(state_of(client, application), CU_PROCESS_STATE_LOCKED);
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, -1);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	assert_non_null(strstr(statistics, sentence));
	free(statistics);
	application_kill(application);
	fixture->application_count = 0;
}

static void agent_that_misbehaves_fails_the_dump(void **state)
{
	struct pool_fixture *fixture = *state;

	assert_dump_fails(fixture, "export-unsupported", "memory that nobody can save");
	assert_dump_fails(fixture, "export-garbage", "does not speak this protocol");
	assert_dump_fails(fixture, "export-few", "does not speak this protocol");
	assert_dump_fails(fixture, "export-twice", "it came twice");
	assert_dump_fails(fixture, "export-size", "impossible size");
	assert_dump_fails(fixture, "export-silent", "did not answer");
	assert_dump_fails(fixture, "release-fails", "stopped in the middle");
}

static void agent_that_dies_fails_the_dump(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 4, "export-dies");
	struct pool_reply reply;
	int client;

	assert_true(begin_dump(fixture, application, true, &reply, &client) < 0);
	assert_true(strstr(reply.error.text, "ended") || strstr(reply.error.text, "gone"));
	assert_false(image_is_there(fixture, application->pid));
	client_finish(client, -1);
}

static void process_that_is_gone_is_named(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "none");
	pid_t pid = application->pid;
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	assert_int_equal(client_simple(client, POOL_LOCK, pid, &reply), 0);
	application_kill(application);
	application->pid = pid;
	assert_int_equal(client_simple(client, POOL_QUERY, pid, &reply), -ESRCH);
	assert_true(client_simple(client, POOL_CHECKPOINT, pid, &reply) < 0);
	application->pid = 0;
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

static void failed_dump_gives_memory_back_and_removes_the_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	struct pool_reply reply;
	int client;

	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), 0);
	assert_true(image_is_there(fixture, application->pid));
	client_finish(client, -1); /* no RESUME came */
	assert_int_equal(application_checksum(application), application->checksum);
	assert_false(image_is_there(fixture, application->pid));
}

static void lost_client_gives_every_process_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *offloaded = application_start(fixture, 3, 4, "none");
	struct application *native = application_start(fixture, 3, 4, "none");
	struct application *locked = application_start(fixture, 3, 4, "none");
	struct pool_reply reply;
	int client;

	assert_int_equal(begin_dump(fixture, offloaded, true, &reply, &client), 0);
	assert_int_equal(client_simple(client, POOL_LOCK, native->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, native, false, &reply), 0);
	assert_int_equal(client_simple(client, POOL_LOCK, locked->pid, &reply), 0);
	close(client);
	assert_int_equal(application_checksum(offloaded), offloaded->checksum);
	assert_int_equal(application_checksum(native), native->checksum);
	assert_int_equal(application_checksum(locked), locked->checksum);
	wait_until_nothing_is_held(fixture);
	assert_false(image_is_there(fixture, offloaded->pid));
	assert_false(image_is_there(fixture, native->pid));
}

static void client_lost_in_mid_copy_cancels_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 20, 8, "none");
	struct pool_request request = {.type = POOL_CHECKPOINT, .pid = application->pid, .has_agent = 1};
	struct pool_status status;
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	inject("cuMemcpyDtoHAsync=50ms");
	assert_int_equal(message_send(client, &request, sizeof(request), &application->agent, 1), 0);
	usleep(300000);
	close(client);
	assert_int_equal(application_checksum(application), application->checksum);
	wait_until_nothing_is_held(fixture);
	pool_server_status(fixture->server, &status);
	assert_true(status.bytes_from_device < 160 << 20);
	assert_false(image_is_there(fixture, application->pid));
}

/* Whatever driver call fails in the pool: the dump falls back or fails, and the process keeps its memory. */
static void injected_failures_never_cost_the_process_its_memory(void **state)
{
	static const char *const rules[] = {
		"cuCheckpointProcessUnlock=999@1",
		"cuMemImportFromShareableHandle=999@2",
		"cuMemAddressReserve=2@1",
		"cuMemMap=999@2",
		"cuMemSetAccess=999@1",
		"cuMemcpyDtoHAsync=700@3",
		"cuEventRecord=700@2",
		"cuStreamSynchronize=700@1",
		"cuEventSynchronize=700@4",
		"cuCheckpointProcessCheckpoint=999@1",
		"cuCheckpointProcessLock=999@2",
	};
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 4, "none");
	struct pool_reply reply;
	uint8_t image_id[16];
	unsigned int i;
	int client, result;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		inject(rules[i]);
		result = begin_dump(fixture, application, true, &reply, &client);
		if (result == 0 && reply.mode == POOL_MODE_NATIVE) {
			if (!strstr(reply.reason, "CUDA_ERROR"))
				fail_msg("%s: reason \"%s\"", rules[i], reply.reason);
			assert_int_equal(client_resume(client, application, NULL, &reply), 0);
			client_finish(client, 0);
		} else if (result == 0) {
			print_message("%s did not disturb\n", rules[i]);
			assert_null(strstr(rules[i], "cuMem"));
			image_id_of(fixture, application->pid, image_id);
			assert_int_equal(client_resume(client, application, image_id, &reply), 0);
			client_finish(client, 0);
		} else {
			if (!strstr(reply.error.text, "CUDA_ERROR"))
				fail_msg("%s: error \"%s\"", rules[i], reply.error.text);
			client_finish(client, -1);
			assert_false(image_is_there(fixture, application->pid));
		}
		inject("");
		if (application_checksum(application) != application->checksum)
			fail_msg("%s: contents changed", rules[i]);
		wait_until_nothing_is_held(fixture);
	}
}

static void full_disk_fails_the_dump_and_leaves_the_process_whole(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	char small[128];
	int client, folder;

	snprintf(small, sizeof(small), "%s/small", fixture->path);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("tmpfs", small, "tmpfs", 0, "size=3M") < 0)
		skip(); /* needs root */
	folder = fixture->folder;
	fixture->folder = open(small, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	application = application_start(fixture, 4, 4, "none");
	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), -ENOSPC);
	assert_non_null(strstr(reply.error.text, "disk is full"));
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
	close(fixture->folder);
	assert_int_equal(mount(NULL, small, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	fixture->folder = open(small, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(begin_dump(fixture, application, true, &reply, &client), -EROFS);
	assert_non_null(strstr(reply.error.text, "read-only"));
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
	close(fixture->folder);
	fixture->folder = folder;
	assert_int_equal(umount(small), 0);
}

static void a_new_dump_removes_the_images_of_an_earlier_one(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *first = application_start(fixture, 1, 2, "none");
	struct application *second = application_start(fixture, 1, 2, "none");
	struct pool_reply reply;
	int client;

	assert_int_equal(begin_dump(fixture, first, true, &reply, &client), 0);
	client_finish(client, 0);
	assert_true(image_is_there(fixture, first->pid));
	assert_int_equal(begin_dump(fixture, second, true, &reply, &client), 0);
	client_finish(client, 0);
	assert_false(image_is_there(fixture, first->pid));
	assert_true(image_is_there(fixture, second->pid));
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
		TEST(failed_export_falls_back_to_the_driver),
		TEST(agent_that_misbehaves_fails_the_dump),
		TEST(agent_that_dies_fails_the_dump),
		TEST(process_that_is_gone_is_named),
		TEST(a_process_without_cuda_is_told_apart),
		TEST(failed_dump_gives_memory_back_and_removes_the_image),
		TEST(lost_client_gives_every_process_back),
		TEST(client_lost_in_mid_copy_cancels_it),
		TEST(injected_failures_never_cost_the_process_its_memory),
		TEST(full_disk_fails_the_dump_and_leaves_the_process_whole),
		TEST(a_new_dump_removes_the_images_of_an_earlier_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
