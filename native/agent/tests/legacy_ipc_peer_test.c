/* SPDX-License-Identifier: MIT */
/* Who may fetch device memory from an exporter, from whom it is fetched, and an exporter that is away for a while. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/sharing/legacy_ipc.h"
#include "agent/tests/stand_in_pool.h"
#include "agent/tests/ipc_peer.h"
#include "protocol/message_socket.h"

#include <cmocka.h>

#define NOBODY 65534
#define WAIT_MS 20000

static struct ipc_handle parts_of(const CUipcMemHandle *handle)
{
	struct ipc_handle parts;

	memcpy(&parts, handle, sizeof(parts));
	return parts;
}

static int new_socket(void)
{
	int number = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (number < 0)
		abort();
	return number;
}

/* ---- in a process of another user ---- */

/* Runs body as that user; its result, which is 0 to 100. */
static int run_as(uid_t user, int (*body)(const struct ipc_handle *handle), const struct ipc_handle *handle)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		if (user && setresuid(user, user, user))
			_exit(101);
		_exit(body(handle));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* How many descriptors the exporter gives for the handle; 50 where it closes the connection without a word. */
static int fetch(const struct ipc_handle *handle)
{
	struct ipc_request request = {
		.magic = LEGACY_IPC_MAGIC,
		.allocation_id = handle->origin.allocation_id,
		.address = handle->address,
	};
	int fds[MESSAGE_DESCRIPTORS_MAX], connection = new_socket();
	size_t count = MESSAGE_DESCRIPTORS_MAX;
	struct sockaddr_un address;
	socklen_t length = ipc_socket_address(&address, handle->origin.exporter);
	struct ipc_reply reply;
	ssize_t received;

	if (connect(connection, (struct sockaddr *)&address, length))
		return 60;
	/* It may be closed already. */
	message_send(connection, &request, sizeof(request), NULL, 0);
	received = message_receive(connection, &reply, sizeof(reply), fds, &count, WAIT_MS);
	if (received == -ECONNRESET)
		return 50;
	return received == sizeof(reply) && reply.result == CUDA_SUCCESS ? (int)count : 70;
}

static void memory_goes_to_the_same_user_and_root_only(void **state)
{
	struct message message = {0};
	CUdeviceptr address;
	struct ipc_handle handle;

	(void)state;
	if (geteuid())
		skip();
	address = make_shared(4 * MIB, &message);
	handle = parts_of(&message.handle);
	assert_int_equal(run_as(0, fetch, &handle), 1);
	assert_int_equal(run_as(NOBODY, fetch, &handle), 50);
	/* And it serves the next one. */
	assert_int_equal(run_as(0, fetch, &handle), 1);
	assert_success(cuMemFree_v2(address));
}

static int listen_at(const struct ipc_handle *handle)
{
	struct sockaddr_un address;
	socklen_t length = ipc_socket_address(&address, handle->origin.exporter);
	int listener = new_socket();

	return bind(listener, (struct sockaddr *)&address, length) || listen(listener, 5) ? -1 : listener;
}

/* 0 where a connection says nothing and ends. */
static int be_asked(const struct ipc_handle *handle)
{
	int listener = listen_at(handle), connection;
	struct ipc_request request;
	struct pollfd polled = {.fd = listener, .events = POLLIN};

	if (listener < 0)
		return 1;
	if (poll(&polled, 1, WAIT_MS) != 1)
		return 2;
	connection = accept(listener, NULL, NULL);
	return message_receive(connection, &request, sizeof(request), NULL, NULL, WAIT_MS) == -ECONNRESET ? 0 : 3;
}

static struct message handle_of_nobody(void)
{
	struct ipc_handle handle = {.magic = LEGACY_IPC_MAGIC, .origin.allocation_id = 1, .address = 2 * MIB};
	struct message message = {0};

	if (getrandom(handle.origin.exporter, sizeof(handle.origin.exporter), 0) != sizeof(handle.origin.exporter))
		abort();
	memcpy(&message.handle, &handle, sizeof(handle));
	return message;
}

static void no_other_users_process_is_asked(void **state)
{
	struct message message = handle_of_nobody();
	struct ipc_handle handle = parts_of(&message.handle);
	pid_t child;
	int status;

	(void)state;
	if (geteuid())
		skip();
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(setresuid(NOBODY, NOBODY, NOBODY) ? 10 : be_asked(&handle));
	/* It is there a moment later; this waits for exporters anyway. */
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_ERROR_MAP_FAILED);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- an exporter that is away, as while it is dumped ---- */

static int next_connection(int listener)
{
	struct pollfd polled = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
	return accept(listener, NULL, NULL);
}

static void an_exporter_may_be_away_for_a_while(void **state)
{
	struct message message = handle_of_nobody();
	struct ipc_handle handle = parts_of(&message.handle);
	struct ipc_reply reply = {.result = CUDA_ERROR_ILLEGAL_STATE};
	int listener, connection;

	(void)state;
	send_order(&processes[0], &message, OPEN);
	usleep(200000); /* it has met nobody by now */
	listener = listen_at(&handle);
	assert_true(listener >= 0);
	/* Dumped before it answers: the socket is gone, with the connection. */
	connection = next_connection(listener);
	assert_true(connection >= 0);
	close(connection);
	connection = next_connection(listener);
	assert_true(connection >= 0);
	/* What it says is the end of it. */
	assert_int_equal(message_send(connection, &reply, sizeof(reply), NULL, 0), 0);
	assert_int_equal(receive_result(&processes[0], &message), CUDA_ERROR_ILLEGAL_STATE);
	close(connection);
	close(listener);
}

static void an_exporter_that_stays_away_has_ended(void **state)
{
	struct message message = handle_of_nobody();

	(void)state;
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_ERROR_INVALID_HANDLE);
}

/* Where nobody tells the agent that the dump is over, because whoever made it has died. */
static void the_socket_comes_back_by_itself(void **state)
{
	static struct saved_memory saved;
	static struct agent_message reply;
	struct message message = {0}, again = {0};
	CUdeviceptr address = make_shared(4 * MIB, &message);

	(void)state;
	for (int round = 0; round < 20; round++) {
		assert_int_equal(agent_export(&saved, &reply), 0);
		agent_forget(&saved);
		assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
		assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	}
	/* The same name: what PyTorch looks up by value is found. */
	assert_success(cuIpcGetMemHandle(&again.handle, address));
	assert_memory_equal(&again.handle, &message.handle, sizeof(again.handle));
	assert_success(cuMemFree_v2(address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_goes_to_the_same_user_and_root_only),
		cmocka_unit_test(no_other_users_process_is_asked),
		cmocka_unit_test(an_exporter_may_be_away_for_a_while),
		cmocka_unit_test(an_exporter_that_stays_away_has_ended),
		cmocka_unit_test(the_socket_comes_back_by_itself),
	};

	return cmocka_run_group_tests(tests, ipc_peers_start, ipc_peers_end);
}
