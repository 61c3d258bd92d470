/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <dirent.h>
#include <fcntl.h>

#include "store/gpu_image.h"

/* What is copied of a process that runs, and what then becomes of that. */

/* Begins it and waits for its end. */
static int copy_ahead(int client, struct application *application, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_COPY_AHEAD, .pid = application->pid, .has_agent = 1, .begin = 1};
	int result = client_ask_about(client, &request, client_pidfd(application->pid), application->agent, reply);

	if (result)
		return result;
	request = (struct pool_request){.type = POOL_AWAIT, .pid = application->pid};
	return client_ask(client, &request, -1, reply);
}

static uint64_t copied(struct pool_fixture *fixture)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	return status.bytes_from_device;
}

/* LOCK and CHECKPOINT; the dump ends well, and the process has nothing but its image. */
static void finish_dump(struct pool_fixture *fixture, struct application *application, int client, uint8_t *image_id)
{
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	image_id_of(fixture, application->pid, image_id);
}

static void expect_restored(struct pool_fixture *fixture, struct application *application, const uint8_t *image_id,
			    uint64_t checksum)
{
	struct pool_reply reply;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), checksum);
}

static unsigned int unfinished_files(struct pool_fixture *fixture)
{
	DIR *folder = opendir(fixture->path);
	unsigned int count = 0;
	struct dirent *entry;

	assert_non_null(folder);
	while ((entry = readdir(folder)))
		count += strstr(entry->d_name, ".img") != NULL;
	closedir(folder);
	return count;
}

static void what_stays_the_same_is_copied_once(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 5, 6, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	char *statistics;

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 30 << 20);
	assert_int_equal(copied(fixture), 30 << 20);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.device_bytes_held, 0);
	assert_int_equal(status.checkpoints, 0);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_RUNNING);
	assert_int_equal(application_checksum(application), application->checksum);
	finish_dump(fixture, application, client, image_id);
	assert_int_equal(copied(fixture), 30 << 20);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"phase\":\"copy_ahead\""));
	assert_non_null(strstr(statistics, "\"phase\":\"compare\""));
	free(statistics);
	assert_int_equal(unfinished_files(fixture), 2);
	expect_restored(fixture, application, image_id, application->checksum);
}

/* All of it but where the zeros are, which no file has. */
static void what_was_written_since_is_copied_again(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 6, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;
	uint8_t image_id[16];
	uint64_t checksum;

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	checksum = application_write(application);
	assert_int_not_equal(checksum, application->checksum);
	finish_dump(fixture, application, client, image_id);
	/* Of the first and the fourth piece the first chunk of three is zero, and stays so. */
	assert_int_equal(copied(fixture), (24 + 20) << 20);
	expect_restored(fixture, application, image_id, checksum);
}

static void on_every_device(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 6, "two-devices");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;
	uint8_t image_id[16];

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 24 << 20);
	finish_dump(fixture, application, client, image_id);
	assert_int_equal(copied(fixture), 24 << 20);
	expect_restored(fixture, application, image_id, application->checksum);
}

/* Those that were not offered come to the end, and those that were stay where they are. */
static void what_has_come_since_is_copied_as_ever(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 70, 2, "offer-odd");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;
	uint8_t image_id[16];

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 70 << 20);
	finish_dump(fixture, application, client, image_id);
	assert_int_equal(copied(fixture), 140 << 20);
	expect_restored(fixture, application, image_id, application->checksum);
}

/* Others of the same size have their places, and all others keep theirs. */
static void what_has_gone_since_leaves_no_trace(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 70, 2, "offer-gone");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct gpu_image_name name = {.has_id = true};
	struct gpu_image *image = NULL;
	struct error_text error;
	struct pool_reply reply;

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 140 << 20);
	name.pid = application->pid;
	finish_dump(fixture, application, client, name.id);
	assert_int_equal(copied(fixture), (140 + 23 * 2) << 20);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, &error), 0);
	assert_int_equal(image->allocation_count, 70);
	assert_int_equal(gpu_image_bytes(image), 140 << 20);
	gpu_image_free(image);
	expect_restored(fixture, application, name.id, application->checksum);
}

static void restored_memory_is_left_until_it_stands(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	struct pool_reply reply;
	uint64_t before;
	int client;

	expect_restored(fixture, application, image_id, application->checksum);
	before = copied(fixture);
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 0);
	assert_int_equal(copied(fixture), before);
	finish_dump(fixture, application, client, image_id);
	expect_restored(fixture, application, image_id, application->checksum);
}

static void an_agent_that_cannot_do_it_is_no_failure(void **state)
{
	static const char *const behaviours[] = {"offer-unknown", "offer-silent"};
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	uint8_t image_id[16];
	size_t i;
	int client;

	for (i = 0; i < 2; i++) {
		application = application_start(fixture, 2, 4, behaviours[i]);
		client = client_begin(fixture, POOL_STAGE_DUMP);
		assert_int_equal(copy_ahead(client, application, &reply), 0);
		assert_int_equal(reply.bytes, 0);
		finish_dump(fixture, application, client, image_id);
		assert_int_equal(unfinished_files(fixture), 2 * (i + 1));
		expect_restored(fixture, application, image_id, application->checksum);
	}
}

static void a_device_without_the_kernel_is_no_failure(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;
	uint8_t image_id[16];

	inject("cuModuleLoadData=801");
	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(reply.bytes, 0);
	assert_int_equal(copied(fixture), 0);
	inject("");
	finish_dump(fixture, application, client, image_id);
	assert_int_equal(copied(fixture), 8 << 20);
	expect_restored(fixture, application, image_id, application->checksum);
}

/* Then everything counts as changed. */
static void a_kernel_that_fails_under_the_lock_is_no_failure(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;
	uint8_t image_id[16];
	uint64_t checksum;

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	checksum = application_write(application);
	inject("cuLaunchKernel=999");
	finish_dump(fixture, application, client, image_id);
	inject("");
	assert_int_equal(copied(fixture), 24 << 20);
	expect_restored(fixture, application, image_id, checksum);
}

/* Nothing was taken from the process, and nothing is left of it. */
static void a_run_that_goes_no_further_leaves_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	struct pool_reply reply;
	int client;

	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(copy_ahead(client, application, &reply), 0);
	client_finish(client, -EIO);
	assert_int_equal(unfinished_files(fixture), 0);
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	client_finish(client, -EIO);
	assert_int_equal(unfinished_files(fixture), 0);
	/* The client goes while it is copied. */
	client = client_begin(fixture, POOL_STAGE_DUMP);
	inject("cuMemcpyDtoHAsync=200ms");
	{
		struct pool_request request = {
			.type = POOL_COPY_AHEAD, .pid = application->pid, .has_agent = 1, .begin = 1};

		assert_int_equal(
			client_ask_about(client, &request, client_pidfd(application->pid), application->agent, &reply),
			0);
	}
	close(client);
	wait_until_nothing_is_held(fixture);
	inject("");
	assert_int_equal(unfinished_files(fixture), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_RUNNING);
	client_finish(client, -EIO);
}

/* The agent has gone until the process is saved: the driver does that, and what was copied goes. */
static void what_the_driver_saves_instead_is_not_in_the_image_too(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(copy_ahead(client, application, &reply), 0);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, false, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_int_equal(unfinished_files(fixture), 1);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void it_comes_before_the_lock_and_with_an_agent(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	struct pool_request request = {.type = POOL_COPY_AHEAD, .pid = application->pid, .begin = 1};
	int client = client_begin(fixture, POOL_STAGE_DUMP), pidfd = client_pidfd(application->pid);
	struct pool_reply reply;

	assert_int_equal(client_ask_about(client, &request, pidfd, -1, &reply), -EPROTO);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(copy_ahead(client, application, &reply), -EPROTO);
	client_finish(client, -EIO);
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(copy_ahead(client, application, &reply), -EPROTO);
	client_finish(client, -EIO);
	assert_int_equal(application_checksum(application), application->checksum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_stays_the_same_is_copied_once),
		TEST(what_was_written_since_is_copied_again),
		TEST(on_every_device),
		TEST(what_has_come_since_is_copied_as_ever),
		TEST(what_has_gone_since_leaves_no_trace),
		TEST(restored_memory_is_left_until_it_stands),
		cmocka_unit_test_setup_teardown(an_agent_that_cannot_do_it_is_no_failure, pool_fixture_set_up_impatient,
						pool_fixture_tear_down),
		TEST(a_device_without_the_kernel_is_no_failure),
		TEST(a_kernel_that_fails_under_the_lock_is_no_failure),
		TEST(a_run_that_goes_no_further_leaves_nothing),
		TEST(what_the_driver_saves_instead_is_not_in_the_image_too),
		TEST(it_comes_before_the_lock_and_with_an_agent),
	};

	/* For this process and the applications. */
	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
