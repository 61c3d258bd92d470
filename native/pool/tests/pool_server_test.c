/* SPDX-License-Identifier: MIT */
#include "pool/tests/pool_test_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

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

/* As a pool that was killed leaves it. */
static void leave_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int left = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(bind(left, (struct sockaddr *)&address, sizeof(address)), 0);
	close(left);
}

static void stop_server(struct pool_fixture *fixture)
{
	pool_server_stop(fixture->server);
	fixture->server = NULL;
	assert_int_equal(access(fixture->settings.pool_socket, F_OK), -1);
}

static void socket_of_a_dead_pool_is_replaced(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_server_options options = {.warm = true};
	struct error_text error;

	stop_server(fixture);
	leave_socket(fixture->settings.pool_socket);
	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), 0);
	assert_int_equal(pool_server_wait_warm(fixture->server, &error), 0);
	close(client_begin(fixture, POOL_STAGE_CLIENT));
}

static void assert_start_fails(struct pool_fixture *fixture, int code, const char *sentence)
{
	struct pool_server_options options = {.warm = false};
	struct error_text error;

	assert_int_equal(pool_server_start(&fixture->settings, &options, &fixture->server, &error), code);
	if (!strstr(error.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", error.text, sentence);
	fixture->server = NULL;
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct pool_fixture *fixture = *state;
	const char *path = fixture->settings.pool_socket;
	char text[8] = "";
	int file;

	stop_server(fixture);
	file = open(path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(write(file, "mine", 4), 4);
	close(file);
	assert_start_fails(fixture, -EINVAL, "is no socket");
	file = open(path, O_RDONLY);
	assert_int_equal(read(file, text, 8), 4);
	close(file);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_start_fails(fixture, -EINVAL, "is no socket");
	assert_int_equal(unlink(path), 0);
}

static void folder_that_others_may_write_is_refused(void **state)
{
	struct pool_fixture *fixture = *state;
	char folder[96], lock[128];

	stop_server(fixture);
	snprintf(folder, sizeof(folder), "%s/socket", fixture->path);
	snprintf(lock, sizeof(lock), "%s.lock", fixture->settings.pool_socket);
	assert_int_equal(chmod(folder, 0770), 0);
	assert_start_fails(fixture, -EACCES, "may be written by others");
	assert_int_equal(chmod(folder, 0707), 0);
	assert_start_fails(fixture, -EACCES, "may be written by others");
	assert_int_equal(chmod(folder, 01777), 0); /* as /tmp, where anybody may have made the lock */
	unlink(lock);
	assert_int_equal(mkfifo(lock, 0600), 0);
	assert_start_fails(fixture, -EACCES, "is no lock");
	unlink(lock);
	assert_int_equal(symlink("/tmp/somewhere", lock), 0);
	assert_start_fails(fixture, -ELOOP, ".lock");
	unlink(lock);
	if (chown(folder, 65534, 65534))
		skip(); /* needs root */
	assert_start_fails(fixture, -EACCES, "belongs to user 65534");
}

/* In a child that becomes another user: what it receives is its exit status, 0 for the end of the connection. */
static int connect_as_nobody(struct pool_fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 10};
	int status, client;
	pid_t child;
	char byte;

	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(77);
		client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		strcpy(address.sun_path, fixture->settings.pool_socket);
		if (connect(client, (struct sockaddr *)&address, sizeof(address)))
			_exit(76);
		setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		_exit(recv(client, &byte, 1, 0) == 0 ? 0 : 75);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

/* The mode of the socket is not all that keeps others out: an administrator may have changed it. */
static void other_users_are_sent_away(void **state)
{
	struct pool_fixture *fixture = *state;
	char folder[96];
	int result;

	snprintf(folder, sizeof(folder), "%s/socket", fixture->path);
	assert_int_equal(chmod(fixture->path, 0711), 0);
	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(chmod(fixture->settings.pool_socket, 0666), 0);
	result = connect_as_nobody(fixture);
	if (result == 77)
		skip(); /* needs root */
	assert_int_equal(result, 0);
	close(client_begin(fixture, POOL_STAGE_CLIENT));
}

/* Whoever may connect can connect often, and say nothing or nonsense: others are served. */
static void a_thousand_clients_that_say_nothing_keep_nobody_waiting(void **state)
{
	enum { CLIENTS = 1000 };
	struct pool_fixture *fixture = *state;
	struct rlimit limit;
	struct pool_reply reply;
	static int clients[CLIENTS];
	int i, count, client;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	count = limit.rlim_cur > 2 * CLIENTS + 100 ? CLIENTS : (int)limit.rlim_cur / 4;
	for (i = 0; i < count; i++)
		clients[i] = client_connect(fixture);
	client = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), 0);
	for (i = 0; i < count; i++)
		close(clients[i]);
	assert_int_equal(client_simple(client, POOL_STATUS, 0, &reply), 0);
	close(client);
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
	assert_int_equal(client_simple(client, POOL_LOCK, getppid(), &reply), -EPROTO);
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

static void messages_that_are_none_end_the_connection_and_leak_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	static char bytes[4 * sizeof(struct pool_request)];
	static const size_t sizes[] = {1, sizeof(struct pool_request) - 1, sizeof(struct pool_request) + 1,
				       sizeof(bytes)};
	int client, ends[2], descriptors[MESSAGE_DESCRIPTORS_MAX];
	size_t i, j;
	char byte;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		client = client_connect(fixture);
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		for (j = 0; j < MESSAGE_DESCRIPTORS_MAX; j++)
			descriptors[j] = ends[1];
		memset(bytes, 0xa5, sizeof(bytes));
		assert_int_equal(message_send(client, bytes, sizes[i], descriptors, MESSAGE_DESCRIPTORS_MAX), 0);
		assert_int_equal(recv(client, &byte, 1, 0), 0);
		close(ends[1]);
		assert_int_equal(read(ends[0], &byte, 1), 0); /* no writer is left */
		close(ends[0]);
		close(client);
	}
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
	client_hello(ends[0], &hello, folders, 2);
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
		TEST(what_is_no_socket_is_left_alone),
		TEST(folder_that_others_may_write_is_refused),
		TEST(other_users_are_sent_away),
		TEST(a_thousand_clients_that_say_nothing_keep_nobody_waiting),
		TEST(messages_that_are_none_end_the_connection_and_leak_nothing),
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
