/* SPDX-License-Identifier: MIT */
#include "pool/pool_test_support.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "image/gpu_image.h"

/*
 * There is no CRIU here: after a dump the application stays as it is, checkpointed and without its device memory, and
 * what the pool held of it is dropped. For the pool that is exactly a process that CRIU has just restored.
 */
static struct application *dumped(struct pool_fixture *fixture, bool with_agent, uint8_t *image_id)
{
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, with_agent, &reply), 0);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	image_id_of(fixture, application->pid, image_id);
	return application;
}

/* The older image is the only copy of its process until there is a newer one. */
static void a_dump_that_fails_leaves_the_older_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *other, *application;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	application = dumped(fixture, true, image_id);
	other = application_start(fixture, 2, 2, "export-unsupported");
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_LOCK, other->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, other, true, &reply), -EOPNOTSUPP);
	assert_int_equal(client_simple(client, POOL_UNLOCK, other->pid, &reply), 0);
	client_finish(client, -1);
	assert_true(image_is_there(fixture, application->pid));
	assert_false(image_is_there(fixture, other->pid));
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);

	other = application_start(fixture, 2, 2, "none");
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_LOCK, other->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, other, true, &reply), 0);
	client_finish(client, 0);
	assert_false(image_is_there(fixture, application->pid));
	assert_true(image_is_there(fixture, other->pid));
}

static int begin_restore(struct pool_fixture *fixture, struct pool_reply *reply)
{
	int client = client_begin(fixture, POOL_STAGE_RESTORE);

	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, reply), 0);
	return client;
}

static void restores_from_the_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char *statistics;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(reply.bytes, 36 << 20);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_int_equal(reply.bytes, 36 << 20);
	assert_int_equal(application_checksum(application), application->checksum);
	/* The pool lets go of the memory after its reply, and before it answers again. */
	assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), 0);
	status = reply.status;
	assert_int_equal(status.device_bytes_held, 0);
	assert_int_equal(status.restores, 1);
	assert_int_equal(status.bytes_to_device, 36 << 20);
	client_finish(client, 0);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"kind\":\"restore\""));
	assert_non_null(strstr(statistics, "\"phase\":\"prefetch\""));
	assert_non_null(strstr(statistics, "\"phase\":\"driver_restore\""));
	assert_non_null(strstr(statistics, "\"phase\":\"map\""));
	free(statistics);
}

static void restored_process_can_be_dumped_and_restored_again(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t checksum;
	int client, round;

	for (round = 0; round < 3; round++) {
		client = begin_restore(fixture, &reply);
		assert_int_equal(client_resume(client, application, image_id, &reply), 0);
		client_finish(client, 0);
		checksum = application_write(application);
		client = client_begin(fixture, POOL_STAGE_DUMP);
		assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
		assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
		assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
		client_finish(client, 0);
		image_id_of(fixture, application->pid, image_id);
	}
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), checksum);
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

	client_hello(client, &hello, folders);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), 0);
	usleep(100000);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void native_image_is_the_drivers_business(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, false, image_id);
	int client = begin_restore(fixture, &reply);

	assert_int_equal(reply.bytes, 0);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void image_of_another_plugin_needs_no_manifest(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, false, image_id);
	char name[64];
	int client;

	snprintf(name, sizeof(name), "rekindle-%d.img", application->pid);
	assert_int_equal(unlinkat(fixture->folder, name, 0), 0);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void initial_state_is_kept(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {
		.type = POOL_RESUME, .has_agent = 1, .agent_released = 1, .initial_state = CU_PROCESS_STATE_LOCKED};
	struct pool_reply reply;
	struct application *application = dumped(fixture, true, request.image_id);
	int client = begin_restore(fixture, &reply);

	request.pid = application->pid;
	assert_int_equal(client_ask(client, &request, application->agent, &reply), 0);
	assert_int_equal(client_simple(client, POOL_QUERY, application->pid, &reply), 0);
	assert_int_equal(reply.state, CU_PROCESS_STATE_LOCKED);
	client_finish(client, 0);
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void two_processes_get_their_own_contents(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *first = application_start(fixture, 3, 4, "none");
	struct application *second = application_start(fixture, 5, 6, "none");
	uint8_t first_id[16], second_id[16];
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	second->checksum = application_write(second);
	assert_int_equal(client_simple(client, POOL_LOCK, first->pid, &reply), 0);
	assert_int_equal(client_simple(client, POOL_LOCK, second->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, first, true, &reply), 0);
	assert_int_equal(client_checkpoint(client, second, true, &reply), 0);
	client_finish(client, 0);
	image_id_of(fixture, first->pid, first_id);
	image_id_of(fixture, second->pid, second_id);
	client = begin_restore(fixture, &reply);
	assert_int_equal(reply.bytes, 42 << 20);
	assert_int_equal(client_resume(client, second, second_id, &reply), 0);
	assert_int_equal(client_resume(client, first, first_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(first), first->checksum);
	assert_int_equal(application_checksum(second), second->checksum);
}

static void another_pools_dump_is_undone_from_the_folder(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, -1);
}

static void damage(struct pool_fixture *fixture, pid_t pid, off_t offset)
{
	char name[64];
	int file;

	snprintf(name, sizeof(name), "rekindle-pages-%d.img", pid);
	file = openat(fixture->folder, name, O_WRONLY);
	assert_int_equal(pwrite(file, "damage", 6, offset), 6);
	close(file);
}

/* What fails while CRIU holds the processes is done when the connection ends, for each of them. */
static void undo_another_pools_dump_of_two(struct pool_fixture *fixture, bool second_is_damaged)
{
	struct application *applications[2];
	struct pool_reply reply;
	uint8_t image_id[16];
	int client, i;

	client = client_begin(fixture, POOL_STAGE_DUMP);
	for (i = 0; i < 2; i++) {
		applications[i] = application_start(fixture, 2, 2, "none");
		assert_int_equal(client_simple(client, POOL_LOCK, applications[i]->pid, &reply), 0);
		assert_int_equal(client_checkpoint(client, applications[i], true, &reply), 0);
	}
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);

	client = client_begin(fixture, POOL_STAGE_DUMP);
	inject("cuCheckpointProcessRestore=999");
	for (i = 0; i < 2; i++) {
		image_id_of(fixture, applications[i]->pid, image_id);
		assert_true(client_resume(client, applications[i], image_id, &reply) < 0);
	}
	inject("");
	if (second_is_damaged)
		damage(fixture, applications[1]->pid, 1 << 20);
	close(client);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < (second_is_damaged ? 1 : 2); i++) {
		assert_int_equal(application_checksum(applications[i]), applications[i]->checksum);
		assert_false(image_is_there(fixture, applications[i]->pid));
	}
	if (second_is_damaged)
		assert_true(image_is_there(fixture, applications[1]->pid));
}

static void another_pools_dump_of_two_is_undone_at_the_end(void **state)
{
	undo_another_pools_dump_of_two(*state, false);
}

static void what_cannot_be_undone_leaves_its_image_and_the_others_whole(void **state)
{
	undo_another_pools_dump_of_two(*state, true);
}

static void damaged_contents_fail_the_restore(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char *statistics;
	int client;

	damage(fixture, application->pid, 15 << 20); /* the third allocation, its second chunk */
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "allocation 3, chunk 1"));
	assert_non_null(strstr(reply.error.text, "rekindle-pages-"));
	client_finish(client, 0); /* CRIU up to 4.2 does not know */
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	assert_non_null(strstr(statistics, "\"failure_code\":-74"));
	assert_non_null(strstr(statistics, "\"failure_phase\":7"));
	free(statistics);
}

static void damage_is_found_before_a_living_process_maps_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	close(client);
}

static void truncated_image_fails_at_once(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char name[64];
	int client, file;

	snprintf(name, sizeof(name), "rekindle-pages-%d.img", application->pid);
	file = openat(fixture->folder, name, O_WRONLY);
	assert_int_equal(ftruncate(file, 35 << 20), 0);
	close(file);
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), -ENODATA);
	assert_non_null(strstr(reply.error.text, "truncated"));
	client_finish(client, -1);
}

static void missing_image_is_named(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = begin_restore(fixture, &reply);

	image_id[0] ^= 1;
	assert_int_equal(client_resume(client, application, image_id, &reply), -ENOENT);
	assert_non_null(strstr(reply.error.text, "needs its GPU image"));
	client_finish(client, -1);
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

static void assert_image_is_whole(struct pool_fixture *fixture, pid_t pid)
{
	struct gpu_image_verification verification = {.threads = 2};
	struct gpu_image *image = NULL;
	struct error_text error = {""};

	assert_int_equal(gpu_image_read(fixture->folder, pid, &image, &error), 0);
	verification.data = gpu_image_open_data(fixture->folder, image, &error);
	assert_int_equal(gpu_image_verify(image, &verification, &error), 0);
	close(verification.data);
	gpu_image_free(image);
}

static void injected_failures_fail_the_restore_and_leave_the_image(void **state)
{
	static const char *const rules[] = {"cuCheckpointProcessRestore=999@1",
					    "cuMemCreate=2",
					    "cuMemAddressReserve=999@1",
					    "cuMemMap=999@3",
					    "cuMemSetAccess=999@1",
					    "cuMemcpyHtoDAsync=700@4",
					    "cuMemsetD8Async=700@1",
					    "cuEventRecord=999@2",
					    "cuStreamSynchronize=999@1",
					    "cuMemExportToShareableHandle=999@2"};
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	unsigned int i;
	int client;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		inject(rules[i]);
		client = begin_restore(fixture, &reply);
		if (client_resume(client, application, image_id, &reply) == 0)
			fail_msg("%s did not fail the restore", rules[i]);
		if (!strstr(reply.error.text, "CUDA_ERROR") && !strstr(reply.error.text, "no room"))
			fail_msg("%s: \"%s\"", rules[i], reply.error.text);
		client_finish(client, -1);
		inject("");
		wait_until_nothing_is_held(fixture);
	}
	/* That process is lost, as CRIU would kill it; its image was not touched. */
	assert_image_is_whole(fixture, application->pid);
}

static void what_was_filled_ahead_is_adopted(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0);
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, &error), 0); /* not twice */
	do {
		usleep(10000);
		pool_server_status(fixture->server, &status);
	} while (status.bytes_to_device < 36 << 20);
	assert_int_equal(status.device_bytes_held, 36 << 20);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 36 << 20); /* nothing was copied again */
	assert_int_equal(application_checksum(application), application->checksum);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(restores_from_the_image),
		TEST(a_dump_that_fails_leaves_the_older_image),
		TEST(memory_filled_ahead_makes_room_for_a_restore),
		TEST(restored_process_can_be_dumped_and_restored_again),
		TEST(without_overlap_filling_begins_at_resume),
		TEST(native_image_is_the_drivers_business),
		TEST(image_of_another_plugin_needs_no_manifest),
		TEST(initial_state_is_kept),
		TEST(two_processes_get_their_own_contents),
		TEST(another_pools_dump_is_undone_from_the_folder),
		TEST(another_pools_dump_of_two_is_undone_at_the_end),
		TEST(what_cannot_be_undone_leaves_its_image_and_the_others_whole),
		TEST(damaged_contents_fail_the_restore),
		TEST(damage_is_found_before_a_living_process_maps_it),
		TEST(truncated_image_fails_at_once),
		TEST(missing_image_is_named),
		TEST(lost_client_drops_the_prefetch),
		TEST(injected_failures_fail_the_restore_and_leave_the_image),
		TEST(what_was_filled_ahead_is_adopted),
		TEST(what_was_filled_ahead_can_be_dropped),
		TEST(progress_is_shown_and_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
