/* SPDX-License-Identifier: MIT */
/*
 * A program that closes the agent's descriptors (and the simulated driver's) and puts files of its own in their place:
 * those stay its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/sharing/legacy_ipc.h"
#include "agent/tests/stand_in_pool.h"
#include "agent/tests/driver.h"
#include "protocol/message_socket.h"
#include "protocol/socket_mark.h"

#include <cmocka.h>

#define NUMBERS_MAX 64

/* Ends the child with half of the line: an exit status holds no more than 255. */
#define REQUIRE(holds)                       \
	do {                                 \
		if (!(holds))                \
			_exit(__LINE__ / 2); \
	} while (0)

/* Descriptors of 3 and above that are open. */
static size_t open_numbers(int numbers[NUMBERS_MAX])
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t count = 0;

	REQUIRE(folder);
	while ((entry = readdir(folder))) {
		int number = atoi(entry->d_name);

		if (number > 2 && number != dirfd(folder) && count < NUMBERS_MAX)
			numbers[count++] = number;
	}
	closedir(folder);
	return count;
}

/* Of this process before it used CUDA. */
static size_t count_before_cuda;

/* Each case is a child: it leaves the process without what CUDA needs. What fails is told by its exit status. */
static void run(void (*body)(void))
{
	pid_t child = fork();
	int numbers[NUMBERS_MAX], status;

	assert_true(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the other tests in the child */
		alarm(60);
		count_before_cuda = open_numbers(numbers);
		driver_start();
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		fail_msg("line %d or the one after it fails", WEXITSTATUS(status) * 2);
	assert_int_equal(status, 0);
}

static CUdeviceptr allocate(void)
{
	CUdeviceptr address;

	REQUIRE(cuMemAlloc_v2(&address, 4 * MIB) == CUDA_SUCCESS);
	REQUIRE(cuMemsetD8_v2(address, 0x5a, 4 * MIB) == CUDA_SUCCESS);
	return address;
}

static ino_t inode_of(int descriptor)
{
	struct stat status;

	return fstat(descriptor, &status) ? 0 : status.st_ino;
}

static int own_socket(int *other_end)
{
	int ends[2];

	REQUIRE(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	*other_end = ends[1];
	return ends[0];
}

/* ---- fork ---- */

/* With file at every number that the libraries have, a child has it at every one of them. */
static void check_fork(int file)
{
	int numbers[NUMBERS_MAX], status;
	size_t count = open_numbers(numbers), index;
	ino_t inode = inode_of(file);
	pid_t child;

	for (index = 0; index < count; index++)
		REQUIRE(dup2(file, numbers[index]) == numbers[index]);
	child = fork();
	REQUIRE(child >= 0);
	if (!child) {
		for (index = 0; index < count; index++)
			REQUIRE(inode_of(numbers[index]) == inode);
		_exit(0);
	}
	REQUIRE(waitpid(child, &status, 0) == child && !status);
}

static void use_everything(void)
{
	CUdeviceptr address = allocate();
	CUipcMemHandle handle;

	REQUIRE(cuIpcGetMemHandle(&handle, address) == CUDA_SUCCESS);
	REQUIRE(!agent_is_loaded() || agent_wait_for_page());
}

static void fork_with_files(void)
{
	use_everything();
	check_fork(memfd_create("own", MFD_CLOEXEC));
}

static void fork_with_sockets(void)
{
	int other_end;

	use_everything();
	check_fork(own_socket(&other_end));
}

static void fork_with_nothing(void)
{
	int numbers[NUMBERS_MAX], status;
	size_t count, index;
	pid_t child;

	use_everything();
	count = open_numbers(numbers);
	for (index = 0; index < count; index++)
		close(numbers[index]);
	child = fork();
	REQUIRE(child >= 0);
	if (!child)
		_exit(0);
	REQUIRE(waitpid(child, &status, 0) == child && !status);
}

/* What is the libraries' own goes: a child must keep neither sockets nor device memory alive. */
static void fork_undisturbed(void)
{
	int numbers[NUMBERS_MAX], status;
	pid_t child;

	use_everything();
	REQUIRE(open_numbers(numbers) > count_before_cuda + 2);
	child = fork();
	REQUIRE(child >= 0);
	if (!child) {
		REQUIRE(open_numbers(numbers) == count_before_cuda);
		_exit(0);
	}
	REQUIRE(waitpid(child, &status, 0) == child && !status);
}

static void a_forked_child_keeps_the_programs_files(void **state)
{
	(void)state;
	run(fork_undisturbed);
	run(fork_with_files);
	run(fork_with_sockets);
	run(fork_with_nothing);
}

/* ---- the agent's thread ---- */

static void no_message_of_the_program_is_eaten(void)
{
	static struct agent_message request = {.type = AGENT_EXPORT, .request_id = 77}, answer;
	int fds[MESSAGE_DESCRIPTORS_MAX], outside, other_end;
	size_t count = MESSAGE_DESCRIPTORS_MAX;
	char text[16] = "";

	allocate();
	REQUIRE(agent_wait_for_page());
	outside = dup(agent_find_page()->control_descriptor);
	REQUIRE(dup2(own_socket(&other_end), agent_find_page()->control_descriptor) >= 0);
	REQUIRE(send(other_end, "own", 4, 0) == 4);
	/* The agent still answers whoever has its socket. */
	REQUIRE(!message_send(outside, &request, sizeof(request), NULL, 0));
	do
		REQUIRE(message_receive(outside, &answer, sizeof(answer), fds, &count, 20000) == sizeof(answer));
	while (answer.type != AGENT_REPLY && (count = MESSAGE_DESCRIPTORS_MAX));
	REQUIRE(answer.result == 0 && answer.count == 1);
	REQUIRE(recv(agent_find_page()->control_descriptor, text, sizeof(text), MSG_DONTWAIT) == 4);
	REQUIRE(!strcmp(text, "own"));
}

static void wait_for_the_end_of_the_thread(void)
{
	for (int wait = 0; wait < 20000 && agent_find_page()->thread_id; wait++)
		usleep(1000);
	REQUIRE(!agent_find_page()->thread_id);
}

/* The next allocation brings the agent back, with the whole table. */
static void check_that_it_comes_back(size_t allocations)
{
	static struct saved_memory saved;
	static struct agent_message answer;

	/* The thread may not have said yet that it ends. */
	for (int wait = 0; wait < 20000 && !agent_find_page()->thread_id; wait++) {
		allocate();
		allocations++;
		usleep(1000);
	}
	REQUIRE(!agent_export(&saved, &answer));
	REQUIRE(saved.count == allocations);
	agent_forget(&saved);
}

static void no_answer_goes_to_the_program(void)
{
	static struct agent_message request = {.type = AGENT_EXPORT, .request_id = 78}, answer;
	int outside, other_end, own;
	char text[16];

	allocate();
	REQUIRE(agent_wait_for_page());
	outside = dup(agent_find_page()->control_descriptor);
	own = own_socket(&other_end);
	REQUIRE(dup2(own, agent_find_page()->agent_descriptor) >= 0);
	REQUIRE(!message_send(outside, &request, sizeof(request), NULL, 0));
	/* Whoever asks is not left waiting. */
	REQUIRE(message_receive(outside, &answer, sizeof(answer), NULL, NULL, 20000) == -ECONNRESET);
	wait_for_the_end_of_the_thread();
	REQUIRE(recv(other_end, text, sizeof(text), MSG_DONTWAIT) < 0 && errno == EAGAIN);
	/* And the thread reads no message of the program's. */
	REQUIRE(send(other_end, "own", 4, 0) == 4);
	check_that_it_comes_back(1);
	REQUIRE(recv(own, text, sizeof(text), MSG_DONTWAIT) == 4);
	REQUIRE(inode_of(own) && recv(other_end, text, sizeof(text), MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* The program runs although it is being dumped: the one who stopped it has died. */
static void no_reply_goes_to_the_program(void)
{
	static struct agent_message request = {.type = AGENT_EXPORT, .request_id = 79}, answer;
	char path[] = "/tmp/rekindle-agent-test-XXXXXX", text[16];
	int file = mkstemp(path), outside, other_end;
	static const char rule[] = "cuMemExportToShareableHandle=held";

	REQUIRE(file >= 0 && write(file, rule, sizeof(rule) - 1) == sizeof(rule) - 1);
	setenv("REKINDLE_SIMCUDA_CONTROL", path, 1);
	allocate();
	REQUIRE(agent_wait_for_page());
	outside = dup(agent_find_page()->control_descriptor);
	REQUIRE(!message_send(outside, &request, sizeof(request), NULL, 0));
	wait_until_held();
	REQUIRE(dup2(own_socket(&other_end), agent_find_page()->agent_descriptor) >= 0);
	unlink(path);
	wait_for_the_end_of_the_thread();
	/* What it has exported went with it, or came before. */
	while (message_receive(outside, &answer, sizeof(answer), NULL, NULL, 20000) > 0)
		;
	REQUIRE(recv(other_end, text, sizeof(text), MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void closed_sockets_end_the_thread(void)
{
	int own, other_end, numbers[2];

	allocate();
	REQUIRE(agent_wait_for_page());
	numbers[0] = agent_find_page()->agent_descriptor;
	numbers[1] = agent_find_page()->control_descriptor;
	close(numbers[0]);
	close(numbers[1]);
	/* At both numbers at once. */
	own = own_socket(&other_end);
	REQUIRE(dup2(own, numbers[0]) >= 0 && dup2(own, numbers[1]) >= 0);
	wait_for_the_end_of_the_thread();
	check_that_it_comes_back(1);
	REQUIRE(inode_of(numbers[0]) == inode_of(own) && inode_of(numbers[1]) == inode_of(own));
}

/* ---- the agent's socket for other processes ---- */

static int find_listener(void)
{
	int numbers[NUMBERS_MAX];
	size_t count = open_numbers(numbers), index;

	for (index = 0; index < count; index++)
		if (socket_option(numbers[index], SO_ACCEPTCONN) == 1)
			return numbers[index];
	REQUIRE(false);
	return -1;
}

/* A connection to the socket that the handle names, -1 where there is none. */
static int connect_to_exporter(const CUipcMemHandle *handle)
{
	struct sockaddr_un address;
	socklen_t length = ipc_socket_address(&address, (const uint8_t *)handle + offsetof(struct ipc_handle, origin));
	int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	REQUIRE(connection >= 0);
	if (!connect(connection, (struct sockaddr *)&address, length))
		return connection;
	close(connection);
	return -1;
}

/* The other side closes it, which is what it does with one that asks nothing. */
static void wait_for_the_end_of(int connection)
{
	char byte;

	shutdown(connection, SHUT_WR);
	REQUIRE(recv(connection, &byte, 1, 0) <= 0);
	close(connection);
}

static void no_connection_of_the_program_is_taken(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(sa_family_t);
	int own = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), client, accepted, number;
	CUdeviceptr memory = allocate();
	CUipcMemHandle handle, again;

	REQUIRE(cuIpcGetMemHandle(&handle, memory) == CUDA_SUCCESS);
	number = find_listener();
	REQUIRE(!bind(own, (struct sockaddr *)&address, length) && !listen(own, 5));
	length = sizeof(address);
	REQUIRE(!getsockname(own, (struct sockaddr *)&address, &length));
	REQUIRE(dup2(own, number) == number);
	/* The agent's thread still waits in the socket that was there, and goes on from it. */
	wait_for_the_end_of(connect_to_exporter(&handle));
	while (connect_to_exporter(&handle) >= 0)
		usleep(1000);
	client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	REQUIRE(!connect(client, (struct sockaddr *)&address, length));
	usleep(50000); /* for whoever else may want it */
	REQUIRE(!fcntl(own, F_SETFL, O_NONBLOCK));
	accepted = accept(own, NULL, NULL);
	REQUIRE(accepted >= 0);
	/* Another socket for the next handle, under the same name: the handles of before are good again. */
	REQUIRE(cuIpcGetMemHandle(&again, memory) == CUDA_SUCCESS);
	REQUIRE(!memcmp(&handle, &again, sizeof(handle)));
	wait_for_the_end_of(connect_to_exporter(&again));
	REQUIRE(inode_of(number) == inode_of(own));
}

static void the_agent_leaves_the_programs_files_alone(void **state)
{
	(void)state;
	if (!agent_is_loaded())
		skip();
	run(no_message_of_the_program_is_eaten);
	run(no_answer_goes_to_the_program);
	run(no_reply_goes_to_the_program);
	run(closed_sockets_end_the_thread);
	run(no_connection_of_the_program_is_taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forked_child_keeps_the_programs_files),
		cmocka_unit_test(the_agent_leaves_the_programs_files_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
