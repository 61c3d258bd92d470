/* SPDX-License-Identifier: MIT */
#include "pool/tests/pool_test_support.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "pool/agent/agent_look.h"
#include "process/agent_page.h"
#include "protocol/message_socket.h"

static void failed_export_falls_back_to_the_driver(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "export-fails");
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_string_equal(reply.reason, "no export today");
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_CHECKPOINTED);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
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

	assert_true(client_begin_dump(fixture, application, true, &reply, &client) < 0);
	if (!strstr(reply.error.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", reply.error.text, sentence);
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_LOCKED);
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
	assert_dump_fails(fixture, "export-twice", "two allocations with one id");
	assert_dump_fails(fixture, "export-size", "impossible size");
	assert_dump_fails(fixture, "release-fails", "stopped in the middle");
}

static char state_of_process(pid_t pid)
{
	char path[48], line[256] = "", state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	sscanf(strrchr(line, ')'), ") %c", &state);
	return state;
}

static int set_up_with_little_patience(void **state)
{
	unsigned int usual = pool_fixture_timeout_seconds;
	int result;

	pool_fixture_timeout_seconds = 1;
	result = pool_fixture_set_up(state);
	pool_fixture_timeout_seconds = usual;
	return result;
}

static void agent_that_does_not_answer_fails_the_dump(void **state)
{
	assert_dump_fails(*state, "export-silent", "did not answer");
}

/* Its agent has taken a piece of memory from its place, and hangs: such a process must not be let run. */
static void a_process_without_all_of_its_memory_stands_still(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "export-hangs");
	struct pool_reply reply;
	int client, i;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), -ETIMEDOUT);
	assert_int_equal(client_resume(client, application, NULL, &reply), -ETIMEDOUT);
	assert_non_null(strstr(reply.error.text, "must not run"));
	/* Whoever asks has to keep it from running, see plugin/run.c. */
	assert_int_equal(reply.state, CU_PROCESS_STATE_RUNNING);
	close(client);
	wait_until_nothing_is_held(fixture);
	/* It stops when it is scheduled next; one that was let run never does. */
	for (i = 0; i < 1000 && state_of_process(application->pid) != 'T'; i++)
		usleep(10000);
	assert_int_equal(state_of_process(application->pid), 'T');
}

static uint32_t withdrawn_in(const struct application *application)
{
	struct error_text error;
	struct process_maps maps;
	struct agent agent;

	assert_int_equal(process_maps_read(application->pid, &maps, &error), 0);
	agent_open(&agent, application->pid, &maps);
	assert_true(agent.has_page);
	agent_close(&agent);
	return agent.page.withdrawn;
}

/* All of its memory is in place, so it goes on; what its agent was asked it may still get to, and must not do then. */
static void a_silent_agent_is_told_that_nobody_waits(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "silent");
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), -ETIMEDOUT);
	assert_int_equal(withdrawn_in(application), 0);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(withdrawn_in(application), 1);
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_int_not_equal(state_of_process(application->pid), 'T');
}

/* It comes to itself just after it was told so. */
static void an_agent_that_was_told_so_is_asked_again(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "release-silent");
	struct target target = {.pidfd = client_pidfd(application->pid), .pid = application->pid};
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), -ETIMEDOUT);
	assert_true(agent_withdraw(&target));
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(withdrawn_in(application), 0);
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void agent_that_dies_fails_the_dump(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 4, "export-dies");
	struct pool_reply reply;
	int client;

	assert_true(client_begin_dump(fixture, application, true, &reply, &client) < 0);
	assert_true(strstr(reply.error.text, "ended") || strstr(reply.error.text, "gone"));
	assert_false(image_is_there(fixture, application->pid));
	client_finish(client, -1);
}

static void failed_dump_gives_memory_back_and_removes_the_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), 0);
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

	assert_int_equal(client_begin_dump(fixture, offloaded, true, &reply, &client), 0);
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

static void wait_until_something_is_copied(struct pool_fixture *fixture)
{
	struct pool_status status = {.bytes_from_device = 0};
	int i;

	for (i = 0; i < 30000 && status.bytes_from_device == 0; i++) {
		usleep(1000);
		pool_server_status(fixture->server, &status);
	}
	assert_true(status.bytes_from_device > 0);
}

static void client_lost_in_mid_copy_cancels_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 20, 8, "none");
	struct pool_request request = {.type = POOL_CHECKPOINT, .pid = application->pid, .has_agent = 1};
	int descriptors[POOL_PROCESS_DESCRIPTORS];
	struct pool_status status;
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	inject("cuMemcpyDtoHAsync=1000ms"); /* several seconds for all of it */
	descriptors[0] = descriptors[1] = client_pidfd(application->pid);
	descriptors[2] = application->agent;
	assert_int_equal(message_send(client, &request, sizeof(request), descriptors, 3), 0);
	wait_until_something_is_copied(fixture);
	close(client);
	wait_until_nothing_is_held(fixture);
	inject(""); /* the program copies likewise */
	assert_int_equal(application_checksum(application), application->checksum);
	pool_server_status(fixture->server, &status);
	assert_true(status.bytes_from_device < 160 << 20);
	assert_false(image_is_there(fixture, application->pid));
}

/* As the C API cancels a dump: CRIU lives, and hears that its part has failed. */
static void a_cancelled_dump_ends_in_order(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 20, 8, "none");
	struct pool_progress progress = {.run = CLIENT_RUN_NAME};
	struct pool_status status;
	struct pool_reply reply;
	int file = openat(fixture->folder, POOL_PROGRESS_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int client;

	assert_int_equal(pwrite(file, &progress, sizeof(progress), 0), sizeof(progress));
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	inject("cuMemcpyDtoHAsync=1000ms"); /* likewise */
	progress.cancel = 1;
	assert_int_equal(pwrite(file, &progress, sizeof(progress), 0), sizeof(progress));
	assert_int_equal(client_checkpoint(client, application, true, &reply), -ECANCELED);
	inject("");
	pool_server_status(fixture->server, &status);
	assert_true(status.bytes_from_device < 160 << 20);
	/* What the pool writes there is not the word of who cancelled. */
	assert_int_equal(pread(file, &progress, sizeof(progress), 0), sizeof(progress));
	assert_int_equal(progress.cancel, 1);
	assert_int_equal(progress.phase, PHASE_COPY_OUT);
	close(file);
	assert_int_equal(client_state_of(client, application), CU_PROCESS_STATE_LOCKED);
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, -ECANCELED);
	assert_false(image_is_there(fixture, application->pid));
}

/* As one leaves it that was cancelled and killed, or as one makes it that uses the same folder. */
static void a_run_is_not_cancelled_by_the_file_of_another(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 8, "none");
	struct pool_progress progress = {.run = "1-1", .cancel = 1}, after;
	struct pool_reply reply;
	int file = openat(fixture->folder, POOL_PROGRESS_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int client;

	assert_int_equal(pwrite(file, &progress, sizeof(progress), 0), sizeof(progress));
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	assert_true(image_is_there(fixture, application->pid));
	client_finish(client, 0);
	assert_int_equal(pread(file, &after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(&after, &progress, sizeof(after));
	close(file);
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
	uint8_t image_id[16], older_id[16];
	bool has_older;
	unsigned int i;
	int client, result;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		has_older = image_is_there(fixture, application->pid);
		if (has_older)
			image_id_of(fixture, application->pid, older_id);
		inject(rules[i]);
		result = client_begin_dump(fixture, application, true, &reply, &client);
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
			assert_int_equal(image_is_there(fixture, application->pid), has_older);
			if (has_older) {
				image_id_of(fixture, application->pid, image_id);
				assert_memory_equal(image_id, older_id, 16);
			}
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
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), -ENOSPC);
	assert_non_null(strstr(reply.error.text, "disk is full"));
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
	close(fixture->folder);
	assert_int_equal(mount(NULL, small, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	fixture->folder = open(small, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(client_begin_dump(fixture, application, true, &reply, &client), -EROFS);
	assert_non_null(strstr(reply.error.text, "read-only"));
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
	close(fixture->folder);
	fixture->folder = folder;
	assert_int_equal(umount(small), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(failed_export_falls_back_to_the_driver),
		TEST(agent_that_misbehaves_fails_the_dump),
		cmocka_unit_test_setup_teardown(agent_that_does_not_answer_fails_the_dump,
						pool_fixture_set_up_impatient, pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(a_process_without_all_of_its_memory_stands_still,
						set_up_with_little_patience, pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(a_silent_agent_is_told_that_nobody_waits, set_up_with_little_patience,
						pool_fixture_tear_down),
		cmocka_unit_test_setup_teardown(an_agent_that_was_told_so_is_asked_again, set_up_with_little_patience,
						pool_fixture_tear_down),
		TEST(agent_that_dies_fails_the_dump),
		TEST(failed_dump_gives_memory_back_and_removes_the_image),
		TEST(lost_client_gives_every_process_back),
		cmocka_unit_test_setup_teardown(client_lost_in_mid_copy_cancels_it, pool_fixture_set_up_impatient,
						pool_fixture_tear_down),
		TEST(a_cancelled_dump_ends_in_order),
		TEST(a_run_is_not_cancelled_by_the_file_of_another),
		TEST(injected_failures_never_cost_the_process_its_memory),
		TEST(full_disk_fails_the_dump_and_leaves_the_process_whole),
	};

	/* For this process and the applications. */
	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
