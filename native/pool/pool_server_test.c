/* SPDX-License-Identifier: MIT */
#include "pool/pool_test_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "protocol/message_socket.h"

static void socket_is_for_its_owner_only(void **state)
{
	struct pool_fixture *fixture = *state;
	struct stat status;
	char folder[96];

	assert_int_equal(stat(fixture->settings.pool_socket, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	snprintf(folder, sizeof(folder), "%s/socket", fixture->path);
	assert_int_equal(stat(folder, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
}

static void second_pool_at_one_place_is_refused(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = false};
	struct pool_server *second;
	struct error_text error;

	assert_int_equal(pool_server_start(&fixture->settings, &options, &second, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, fixture->settings.pool_socket));
	close(client_begin(fixture, POOL_STAGE_CLIENT)); /* the first one is none the worse for it */
}

static void socket_of_a_dead_pool_is_replaced(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = true};
	struct error_text error;
	int file;

	pool_server_stop(fixture->server);
	assert_int_equal(access(fixture->settings.pool_socket, F_OK), -1);
	file = open(fixture->settings.pool_socket, O_CREAT | O_WRONLY, 0600);
	close(file);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
	close(client_begin(fixture, POOL_STAGE_CLIENT));
}

static void protocol_errors_are_answered(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request hello = {
		.type = POOL_HELLO, .version = POOL_PROTOCOL_VERSION + 1, .stage = POOL_STAGE_CLIENT};
	struct pool_request unknown = {.type = 4711};
	struct pool_reply reply;
	int client = client_connect(fixture);

	assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), -EPROTO);
	assert_non_null(strstr(reply.error.text, "HELLO"));
	assert_int_equal(client_ask(client, &hello, -1, &reply), -EPROTO);
	assert_non_null(strstr(reply.error.text, "protocol"));
	hello.version = POOL_PROTOCOL_VERSION;
	hello.stage = 9;
	assert_int_equal(client_ask(client, &hello, -1, &reply), -EPROTO);
	hello.stage = POOL_STAGE_DUMP; /* without its folders */
	assert_int_equal(client_ask(client, &hello, -1, &reply), -EPROTO);
	hello.stage = POOL_STAGE_CLIENT;
	assert_int_equal(client_ask(client, &hello, -1, &reply), 0);
	assert_int_equal(client_ask(client, &hello, -1, &reply), -EPROTO);
	assert_int_equal(client_ask(client, &unknown, -1, &reply), -EPROTO);
	assert_int_equal(client_simple(client, POOL_LOCK, 1, &reply), -EPROTO);
	assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), 0);
	assert_int_equal(reply.status.pid, getpid());
	assert_int_equal(reply.status.contexts, 1);
	assert_int_equal(reply.status.workers, 4);
	assert_int_equal(reply.status.simulated, 1);
	close(client);
}

static void message_of_another_size_ends_the_connection(void **state)
{
	struct pool_fixture *fixture = *state;
	int client = client_connect(fixture);
	char byte = 1;

	assert_int_equal(send(client, &byte, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(client, &byte, 1, 0), 0);
	close(client);
}

static void descriptors_that_nobody_asked_for_are_closed(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_STATUS};
	int client = client_begin(fixture, POOL_STAGE_CLIENT), ends[2];
	struct pool_reply reply;
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(client_ask(client, &request, ends[1], &reply), 0);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* no writer is left: the pool closed its copy */
	close(ends[0]);
	close(client);
}

static void stop_waits_for_runs(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "none");
	int run = client_begin(fixture, POOL_STAGE_DUMP), client = client_begin(fixture, POOL_STAGE_CLIENT);
	struct pool_reply reply;
	char byte;

	assert_int_equal(client_simple(run, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_simple(client, POOL_STOP, 0, &reply), 0);
	assert_int_equal(recv(client, &byte, 1, 0), 0); /* a client is sent away */
	close(client);
	assert_int_equal(client_checkpoint(run, application, true, &reply), 0);
	client_finish(run, -1);
	pool_server_wait(fixture->server);
	pool_server_stop(fixture->server);
	fixture->server = NULL;
	assert_int_equal(application_checksum(application), application->checksum);
}

static void idle_pool_ends(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = false, .idle_seconds = 1};
	struct error_text error;
	CUcontext context;

	pool_server_stop(fixture->server);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_acquire_context(fixture->server, 0, &context, &error), 0);
	usleep(1500000);
	assert_int_equal(access(fixture->settings.pool_socket, F_OK), 0); /* a lease keeps it */
	pool_server_release_context(fixture->server);
	pool_server_wait(fixture->server);
	assert_int_equal(access(fixture->settings.pool_socket, F_OK), -1);
	pool_server_stop(fixture->server);
	fixture->server = NULL;
}

struct private_pool {
	struct settings settings;
	int socket;
};

static void *serve_private(void *argument)
{
	struct private_pool *pool = argument;
	struct error_text error;

	assert_int_equal(pool_serve_private(&pool->settings, pool->socket, &error), 0);
	return NULL;
}

static void private_pool_serves_one_run(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 4, "none");
	struct private_pool private = {.settings = fixture->settings};
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_DUMP,
				     .parallel = 1,
				     .verify = 1,
				     .started_by_us = 1};
	int ends[2], folders[2] = {fixture->folder, fixture->folder};
	struct pool_reply reply;
	char *statistics;
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	private.socket = ends[1];
	assert_int_equal(pthread_create(&thread, NULL, serve_private, &private), 0);
	client_hello(ends[0], &hello, folders);
	assert_int_equal(client_simple(ends[0], POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(ends[0], application, true, &reply), 0);
	assert_int_equal(client_resume(ends[0], application, NULL, &reply), 0);
	client_finish(ends[0], 0);
	pthread_join(thread, NULL);
	assert_int_equal(application_checksum(application), application->checksum);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"pool\":\"private\""));
	free(statistics);
}

static void copies_can_be_measured(void **state)
{
	struct pool_fixture *fixture = *state;
	struct copy_measure_request request = {.source = COPY_MEASURE_PINNED,
					       .workers = 2,
					       .chunk_bytes = 2 << 20,
					       .bytes = 16 << 20,
					       .checksums = true};
	struct pool_status status;
	struct error_text error;
	uint64_t nanoseconds = 0;
	char file[128];
	int descriptor;

	assert_int_equal(pool_server_copy_measure(fixture->server, 0, &request, &nanoseconds, &error), 0);
	assert_true(nanoseconds > 0);
	snprintf(file, sizeof(file), "%s/contents", fixture->path);
	descriptor = open(file, O_CREAT | O_RDWR, 0600);
	assert_int_equal(ftruncate(descriptor, 16 << 20), 0);
	assert_int_equal(pwrite(descriptor, "x", 1, 3 << 20), 1);
	close(descriptor);
	request.file = file;
	request.source = COPY_MEASURE_PAGE_CACHE;
	assert_int_equal(pool_server_copy_measure(fixture->server, 0, &request, &nanoseconds, &error), 0);
	request.source = COPY_MEASURE_DISK;
	assert_int_equal(pool_server_copy_measure(fixture->server, 0, &request, &nanoseconds, &error), 0);
	pool_server_status(fixture->server, &status);
	assert_int_equal(status.bytes_to_device, 48 << 20);
	request.bytes = 17 << 20;
	assert_int_equal(pool_server_copy_measure(fixture->server, 0, &request, &nanoseconds, &error), -EINVAL);
	assert_int_equal(pool_server_copy_measure(fixture->server, 1, &request, &nanoseconds, &error), -EINVAL);
	assert_non_null(strstr(error.text, "no GPU 1"));
}

static void failed_warming_is_named_and_tried_again(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = true};
	struct error_text error;
	CUcontext context;

	pool_server_stop(fixture->server);
	inject("cuDevicePrimaryCtxRetain=2");
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "CUDA_ERROR_OUT_OF_MEMORY"));
	inject("");
	assert_int_equal(pool_server_acquire_context(fixture->server, 0, &context, &error), 0);
	assert_non_null(context);
	pool_server_release_context(fixture->server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(socket_is_for_its_owner_only),
		TEST(second_pool_at_one_place_is_refused),
		TEST(socket_of_a_dead_pool_is_replaced),
		TEST(protocol_errors_are_answered),
		TEST(message_of_another_size_ends_the_connection),
		TEST(descriptors_that_nobody_asked_for_are_closed),
		TEST(stop_waits_for_runs),
		TEST(idle_pool_ends),
		TEST(private_pool_serves_one_run),
		TEST(copies_can_be_measured),
		TEST(failed_warming_is_named_and_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
