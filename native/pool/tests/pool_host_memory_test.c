/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include "store/gpu_image.h"

/* Memory of the host: every second of the six pieces of an application that behaves so is it. */

#define PIECE_BYTES (6ull << 20)

static struct gpu_image *read_image(struct pool_fixture *fixture, const struct application *application)
{
	struct gpu_image_name name = {.pid = application->pid, .has_id = true};
	struct gpu_image *image = NULL;
	struct error_text error;

	image_id_of(fixture, application->pid, name.id);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, &error), 0);
	return image;
}

static uint64_t device_bytes_held(struct pool_fixture *fixture)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	return status.device_bytes_held;
}

static void assert_host_pieces(struct pool_fixture *fixture, const struct application *application, uint32_t node)
{
	struct gpu_image *image = read_image(fixture, application);
	uint32_t i;

	assert_int_equal(image->allocation_count, 6);
	assert_int_equal(gpu_image_host_bytes(image), 3 * PIECE_BYTES);
	for (i = 0; i < 6; i++) {
		assert_int_equal(image->allocations[i].on_host, i % 2);
		assert_int_equal(image->allocations[i].node, i % 2 ? node : 0);
	}
	gpu_image_free(image);
}

/* What is the host's is nobody's device memory. */
static void leave_running_gives_the_same_memory_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "numa");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_int_equal(reply.bytes, 6 * PIECE_BYTES);
	assert_int_equal(device_bytes_held(fixture), 3 * PIECE_BYTES);
	assert_host_pieces(fixture, application, 0);
	image_id_of(fixture, application->pid, image_id);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
}

/* From the image, and a second and a third time. */
static void restores_from_the_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "numa");
	uint64_t checksum = application->checksum;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client, round;

	for (round = 0; round < 3; round++) {
		assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
		assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
		client_finish(client, 0);
		wait_until_nothing_is_held(fixture);
		assert_host_pieces(fixture, application, 0);
		image_id_of(fixture, application->pid, image_id);
		client = begin_restore(fixture, &reply);
		assert_int_equal(client_resume(client, application, image_id, &reply), 0);
		client_finish(client, 0);
		assert_int_equal(application_checksum(application), checksum);
		checksum = application_write(application);
	}
}

/* The image keeps the node that it was made on; where the machine has none of that number it is made on another. */
static void a_node_that_is_not_there(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "numa-elsewhere");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	client_finish(client, 0);
	assert_host_pieces(fixture, application, 7);
	image_id_of(fixture, application->pid, image_id);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* A full machine is no full GPU: what is kept for later on that gives no room on it, and stays. */
static void a_machine_without_room(void **state)
{
	struct pool_fixture *fixture = *state;
	char kept[] = "/tmp/pool-test-kept-XXXXXX", command[256];
	struct application *application;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	int client;

	application_kill(dumped(fixture, true, image_id));
	assert_non_null(mkdtemp(kept));
	snprintf(command, sizeof(command), "mv %s/rekindle-*.img %s", fixture->path, kept);
	assert_int_equal(system(command), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, kept, POOL_TIER_DEVICE, &error), 0);

	application = application_start(fixture, 2, 6, "numa-all");
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	client_finish(client, 0);
	image_id_of(fixture, application->pid, image_id);
	inject("cuMemCreate=2");
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -ENOMEM);
	assert_non_null(strstr(reply.error.text, "The machine has no room for 6 MiB of the host's memory"));
	client_finish(client, -1);
	inject("");
	assert_int_equal(pool_server_drop(fixture->server, kept, &error), 0);
	wait_until_nothing_is_held(fixture);
	snprintf(command, sizeof(command), "rm -r %s", kept);
	assert_int_equal(system(command), 0);
}

/* Only device memory is offered; the rest comes when the process stands, into the same image. */
static void copied_while_it_runs(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 6, 6, "numa");
	struct pool_reply reply;
	uint8_t image_id[16];
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_request request = {.type = POOL_COPY_AHEAD, .pid = application->pid, .has_agent = 1, .begin = 1};
	uint64_t checksum;

	assert_int_equal(client_ask_about(client, &request, client_pidfd(application->pid), application->agent, &reply),
			 0);
	request = (struct pool_request){.type = POOL_AWAIT, .pid = application->pid};
	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	assert_int_equal(reply.bytes, 3 * PIECE_BYTES);
	checksum = application_write(application);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	image_id_of(fixture, application->pid, image_id);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), checksum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leave_running_gives_the_same_memory_back),
		TEST(restores_from_the_image),
		TEST(a_node_that_is_not_there),
		TEST(a_machine_without_room),
		TEST(copied_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
