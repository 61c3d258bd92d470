/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process_maps.h"
#include "protocol/message_socket.h"
#include "store/gpu_image.h"

/* What was dumped comes back, to whom it belongs and to nobody else. */

/* How often the pool has read the mappings of a process, which takes it long where there are many; linked with --wrap. */
static atomic_uint looks;
int __real_process_maps_read(pid_t pid, struct process_maps *maps, struct error_text *error);

int __wrap_process_maps_read(pid_t pid, struct process_maps *maps, struct error_text *error)
{
	atomic_fetch_add(&looks, 1);
	return __real_process_maps_read(pid, maps, error);
}

static void restores_from_the_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	unsigned int waited = 0;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char *statistics;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(reply.bytes, 36 << 20);
	atomic_store(&looks, 0);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(looks, 1);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	assert_int_equal(reply.bytes, 36 << 20);
	assert_int_equal(application_checksum(application), application->checksum);
	/* The pool lets go of the memory after its reply, and answers meanwhile. */
	do {
		assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), 0);
		status = reply.status;
	} while (status.device_bytes_held && waited++ < 12000 && usleep(10000) == 0);
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

/* The id is what its page says, which it may write. */
static void no_process_gets_the_memory_of_another_one(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16], other_id[16];
	struct application *application = dumped(fixture, true, image_id), *other = dumped(fixture, true, other_id);
	struct pool_reply reply;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(client_resume(client, other, image_id, &reply), -EPERM);
	assert_non_null(strstr(reply.error.text, "of another process"));
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(client_resume(client, other, other_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(application_checksum(other), other->checksum);
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

	image_file_of(fixture, application->pid, "rekindle-", name);
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
	assert_int_equal(client_ask_about(client, &request, client_pidfd(application->pid), application->agent, &reply),
			 0);
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

/* Sends RESUME and does not wait for the reply. */
static void ask_to_resume(int client, struct application *application, const uint8_t *image_id)
{
	struct pool_request request = {
		.type = POOL_RESUME, .pid = application->pid, .has_agent = 1, .agent_released = 1};

	int pidfd = client_pidfd(application->pid), descriptors[] = {pidfd, pidfd, application->agent};

	memcpy(request.image_id, image_id, 16);
	assert_int_equal(message_send(client, &request, sizeof(request), descriptors, POOL_PROCESS_DESCRIPTORS), 0);
}

static void two_dumped(struct pool_fixture *fixture, struct application **applications, uint8_t (*image_ids)[16])
{
	int client = client_begin(fixture, POOL_STAGE_DUMP), i;
	struct pool_reply reply;

	for (i = 0; i < 2; i++) {
		applications[i] = application_start(fixture, 6, 6, "none");
		assert_int_equal(client_simple(client, POOL_LOCK, applications[i]->pid, &reply), 0);
		assert_int_equal(client_checkpoint(client, applications[i], true, &reply), 0);
	}
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < 2; i++)
		image_id_of(fixture, applications[i]->pid, image_ids[i]);
}

/* CRIU lets none of them go before it has shown them all: a process that is whole already must not go on either. */
static void a_restore_lost_in_the_middle_ends_its_processes(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *applications[2];
	uint8_t image_ids[2][16];
	struct pool_reply reply;
	siginfo_t info;
	int client, i;

	two_dumped(fixture, applications, image_ids);
	inject("cuCheckpointProcessRestore=300ms@2,cuCheckpointProcessRestore=999@2");
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, applications[0], image_ids[0], &reply), 0);
	ask_to_resume(client, applications[1], image_ids[1]);
	usleep(20000);
	close(client);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < 2; i++)
		assert_int_equal(waitid(P_PID, (id_t)applications[i]->pid, &info, WEXITED | WNOWAIT), 0);
}

static void a_restore_lost_while_it_fills_does_not_wait_for_the_end(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *applications[2];
	uint8_t image_ids[2][16];
	struct pool_status status;
	struct pool_reply reply;
	siginfo_t info;
	int client, other, tries;

	two_dumped(fixture, applications, image_ids);
	inject("cuMemcpyHtoDAsync=held");
	client = begin_restore(fixture, &reply);
	ask_to_resume(client, applications[0], image_ids[0]);
	/* Once it is unlocked for its agent, all that is left is to wait for its contents. */
	other = client_begin(fixture, POOL_STAGE_DUMP);
	for (tries = 0; tries < 60000 && client_state_of(other, applications[0]) != CU_PROCESS_STATE_RUNNING; tries++)
		usleep(1000);
	assert_true(tries < 60000);
	inject("cuMemcpyHtoDAsync=500ms");
	close(client);
	client_finish(other, -1);
	wait_until_nothing_is_held(fixture);
	pool_server_status(fixture->server, &status);
	assert_true(status.bytes_to_device < 72 << 20);
	assert_int_equal(waitid(P_PID, (id_t)applications[0]->pid, &info, WEXITED | WNOWAIT), 0);
}

/* CRIU may wait for the end of what it has restored, and be killed meanwhile. */
static void a_restore_lost_at_the_end_ends_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *applications[2];
	uint8_t image_ids[2][16];
	struct pool_reply reply;
	int client, i;

	two_dumped(fixture, applications, image_ids);
	client = begin_restore(fixture, &reply);
	for (i = 0; i < 2; i++)
		assert_int_equal(client_resume(client, applications[i], image_ids[i], &reply), 0);
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), 0);
	close(client);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < 2; i++)
		assert_int_equal(application_checksum(applications[i]), applications[i]->checksum);
}

static void a_restore_lost_at_the_beginning_is_no_success(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	char *statistics;

	dumped(fixture, true, image_id);
	close(begin_restore(fixture, &reply));
	wait_until_nothing_is_held(fixture);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"kind\":\"restore\""));
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	free(statistics);
}

static void every_image_has_to_be_taken(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *applications[2];
	uint8_t image_ids[2][16];
	struct pool_reply reply;
	char pid[16], command[96];
	int client;

	two_dumped(fixture, applications, image_ids);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, applications[0], image_ids[0], &reply), 0);
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), -ENODATA);
	snprintf(pid, sizeof(pid), "process %d", applications[1]->pid);
	assert_non_null(strstr(reply.error.text, pid));
	assert_int_equal(client_resume(client, applications[1], image_ids[1], &reply), 0);
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), 0);
	client_finish(client, 0);
	/* What the driver restores has nothing to be taken. */
	application_kill(applications[1]);
	application_kill(applications[0]);
	snprintf(command, sizeof(command), "rm %s/rekindle-*.img", fixture->path);
	assert_int_equal(system(command), 0);
	applications[0] = dumped(fixture, false, image_ids[0]);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_simple(client, POOL_COMPLETE, 0, &reply), 0);
	client_finish(client, 0);
}

static void say_it_is_of_a_real_gpu(struct gpu_image *image)
{
	image->simulated = false;
}

static void image_of_a_real_gpu_needs_one(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client;

	rewrite_manifest(fixture, application->pid, say_it_is_of_a_real_gpu);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -ENOTSUP);
	assert_non_null(strstr(reply.error.text, "from a real GPU and this pool uses a simulated one"));
	client_finish(client, -1);
}

static void image_of_a_real_gpu_without_memory_in_it_is_the_drivers_business(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, false, image_id);
	int client;

	rewrite_manifest(fixture, application->pid, say_it_is_of_a_real_gpu);
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

/* The last one: the simulated GPU stays broken until this process ends, as a real one does. */
static void a_gpu_lost_between_runs_ends_the_pool(void **state)
{
	struct pool_fixture *fixture = *state;
	struct error_text error;
	uint8_t image_id[16];
	CUcontext context;

	dumped(fixture, true, image_id);
	inject("cuMemcpyHtoDAsync=719!@2");
	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	pool_server_wait(fixture->server);
	assert_true(pool_server_has_lost_a_device(fixture->server));
	assert_int_equal(access(fixture->settings.pool_socket, F_OK), -1);
	/* Whoever hosts it is told too. */
	assert_int_equal(pool_server_acquire_context(fixture->server, 0, &context, &error), -EIO);
	assert_non_null(strstr(error.text, "is lost to this pool process since CUDA_ERROR_LAUNCH_FAILED"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(restores_from_the_image),
		TEST(no_process_gets_the_memory_of_another_one),
		TEST(restored_process_can_be_dumped_and_restored_again),
		TEST(native_image_is_the_drivers_business),
		TEST(image_of_another_plugin_needs_no_manifest),
		TEST(initial_state_is_kept),
		TEST(two_processes_get_their_own_contents),
		TEST(a_restore_lost_in_the_middle_ends_its_processes),
		TEST(a_restore_lost_while_it_fills_does_not_wait_for_the_end),
		TEST(a_restore_lost_at_the_end_ends_nothing),
		TEST(a_restore_lost_at_the_beginning_is_no_success),
		TEST(every_image_has_to_be_taken),
		TEST(image_of_a_real_gpu_needs_one),
		TEST(image_of_a_real_gpu_without_memory_in_it_is_the_drivers_business),
		TEST(a_gpu_lost_between_runs_ends_the_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
