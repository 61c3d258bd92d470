/* SPDX-License-Identifier: MIT */
/* Device memory shared with another process through legacy handles (cuIpcGetMemHandle). */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/agent_client.h"
#include "agent/tests/driver.h"
#include "protocol/message_socket.h"

#include <cmocka.h>

static char control_file[] = "/tmp/rekindle-agent-test-XXXXXX";
static struct saved_memory saved;
static struct agent_message reply;

static void inject(const char *rules)
{
	static unsigned int generation;
	FILE *file = fopen(control_file, "w");

	assert_non_null(file);
	fprintf(file, "%s%*s\n", rules, (int)++generation, "");
	fclose(file);
}

/* ---- the other process: does with CUDA what it is told ---- */

enum order { ALLOCATE, FREE, SHARE, OPEN, CLOSE, WRITE, READ, RANGE, ATTRIBUTE, EXPORT, FORK, SECOND_CONTEXT, END };

struct message {
	enum order order;
	int result;
	CUdeviceptr address;
	size_t bytes;
	unsigned int value;
	CUipcMemHandle handle;
	char sentence[ERROR_TEXT_MAX];
};

struct process {
	pid_t id;
	int socket;
};

/* Forked while this process has no CUDA, each for one of the tests. */
#define PROCESSES 3
static struct process processes[PROCESSES];

static CUresult carry_out(struct message *message)
{
	unsigned char byte = (unsigned char)message->value;
	CUcontext context;
	CUresult result;
	pid_t child;

	switch (message->order) {
	case ALLOCATE:
		return cuMemAlloc_v2(&message->address, message->bytes);
	case FREE:
		return cuMemFree_v2(message->address);
	case SHARE:
		return cuIpcGetMemHandle(&message->handle, message->address);
	case OPEN:
		return cuIpcOpenMemHandle_v2(&message->address, message->handle, 1);
	case CLOSE:
		return cuIpcCloseMemHandle(message->address);
	case WRITE:
		return cuMemcpyHtoD_v2(message->address, &byte, 1);
	case READ:
		result = cuMemcpyDtoH_v2(&byte, message->address, 1);
		message->value = byte;
		return result;
	case RANGE:
		return cuMemGetAddressRange_v2(&message->address, &message->bytes, message->address);
	case ATTRIBUTE:
		return cuPointerGetAttribute(&message->value, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
					     message->address);
	case EXPORT:
		message->result = agent_export(&saved, &reply);
		memcpy(message->sentence, reply.error.text, sizeof(message->sentence));
		message->bytes = saved.count;
		agent_forget(&saved);
		return (CUresult)message->result;
	case FORK:
		child = fork();
		if (!child) {
			pause();
			_exit(0);
		}
		message->value = (unsigned int)child;
		return CUDA_SUCCESS;
	case SECOND_CONTEXT:
		return cuCtxCreate_v2(&context, 0, 0);
	default:
		return CUDA_ERROR_UNKNOWN;
	}
}

static void serve(int socket)
{
	static struct message message;

	driver_start();
	while (message_receive(socket, &message, sizeof(message), NULL, NULL, -1) == sizeof(message)) {
		if (message.order == END)
			break;
		message.result = (int)carry_out(&message);
		if (message_send(socket, &message, sizeof(message), NULL, 0))
			break;
	}
	_exit(0);
}

static void start_process(struct process *process)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		abort();
	process->id = fork();
	if (process->id < 0)
		abort();
	if (!process->id) {
		close(sockets[0]);
		serve(sockets[1]);
	}
	close(sockets[1]);
	process->socket = sockets[0];
}

static void send_order(const struct process *process, struct message *message, enum order order)
{
	message->order = order;
	assert_int_equal(message_send(process->socket, message, sizeof(*message), NULL, 0), 0);
}

static int receive_result(const struct process *process, struct message *message)
{
	assert_int_equal(message_receive(process->socket, message, sizeof(*message), NULL, NULL, 30000),
			 (int)sizeof(*message));
	return message->result;
}

static int tell(const struct process *process, struct message *message, enum order order)
{
	send_order(process, message, order);
	return receive_result(process, message);
}

static void end_process(struct process *process)
{
	struct message message = {.order = END};

	if (!process->id)
		return;
	/* It may have ended already. */
	message_send(process->socket, &message, sizeof(message), NULL, 0);
	close(process->socket);
	waitpid(process->id, NULL, 0);
	process->id = 0;
}

static unsigned char read_byte(CUdeviceptr address)
{
	unsigned char byte = 0;

	assert_success(cuMemcpyDtoH_v2(&byte, address, 1));
	return byte;
}

static CUdeviceptr make_shared(size_t bytes, struct message *message)
{
	CUdeviceptr address;

	assert_success(cuMemAlloc_v2(&address, bytes));
	assert_success(cuIpcGetMemHandle(&message->handle, address));
	return address;
}

static int start(void **state)
{
	int descriptor = mkstemp(control_file);
	int index;

	(void)state;
	if (descriptor < 0)
		return -1;
	close(descriptor);
	setenv("REKINDLE_SIMCUDA_CONTROL", control_file, 1);
	for (index = 0; index < PROCESSES; index++)
		start_process(&processes[index]);
	driver_start();
	return 0;
}

static int end(void **state)
{
	int index;

	(void)state;
	for (index = 0; index < PROCESSES; index++)
		end_process(&processes[index]);
	return unlink(control_file);
}

/* ---- what programs do ---- */

static void check_sharing(size_t bytes)
{
	const struct process *other = &processes[0];
	struct message message = {0};
	CUdeviceptr address = make_shared(bytes, &message), theirs;

	assert_success(cuMemsetD8_v2(address, 0x41, bytes));
	assert_int_equal(tell(other, &message, OPEN), CUDA_SUCCESS);
	theirs = message.address;
	/* Read and written from both sides, at both ends. */
	assert_int_equal(tell(other, &message, READ), CUDA_SUCCESS);
	assert_int_equal(message.value, 0x41);
	message.address = theirs + bytes - 1;
	message.value = 0x42;
	assert_int_equal(tell(other, &message, WRITE), CUDA_SUCCESS);
	assert_int_equal(read_byte(address + bytes - 1), 0x42);
	assert_success(cuMemsetD8_v2(address, 0x43, bytes));
	assert_int_equal(tell(other, &message, READ), CUDA_SUCCESS);
	assert_int_equal(message.value, 0x43);
	/* What was opened looks like one allocation. */
	message.address = theirs + bytes / 2;
	assert_int_equal(tell(other, &message, RANGE), CUDA_SUCCESS);
	assert_int_equal(message.address, theirs);
	assert_int_equal(message.bytes, bytes);
	/* Closed by its beginning only, by no other function, and once. */
	assert_int_not_equal(tell(other, &message, FREE), CUDA_SUCCESS);
	assert_int_not_equal(tell(other, &message, SHARE), CUDA_SUCCESS);
	message.address = theirs + 4096;
	assert_int_not_equal(tell(other, &message, CLOSE), CUDA_SUCCESS);
	message.address = theirs;
	assert_int_equal(tell(other, &message, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(other, &message, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(other, &message, READ), CUDA_SUCCESS);
	assert_int_equal(read_byte(address), 0x43);
	assert_success(cuMemFree_v2(address));
}

static void another_process_reads_and_writes(void **state)
{
	(void)state;
	check_sharing(MIB); /* the driver's own */
	check_sharing(2 * MIB);
	check_sharing(5 * MIB + 123);
	check_sharing(GIB + 6 * MIB); /* two pieces */
}

static void a_handle_stands_for_the_allocation(void **state)
{
	struct message first = {0}, second = {0};
	CUdeviceptr address = make_shared(4 * MIB, &first);

	(void)state;
	assert_success(cuIpcGetMemHandle(&second.handle, address + MIB));
	assert_memory_equal(&first.handle, &second.handle, sizeof(first.handle));
	assert_int_equal(tell(&processes[0], &first, OPEN), CUDA_SUCCESS);
	/* In the same context once more: the same address, counted. */
	assert_int_equal(tell(&processes[0], &second, OPEN), CUDA_SUCCESS);
	assert_int_equal(first.address, second.address);
	assert_int_equal(tell(&processes[0], &first, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &second, READ), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &second, CLOSE), CUDA_SUCCESS);
	assert_int_not_equal(tell(&processes[0], &second, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
	/* New memory has a new handle, at the same address too. */
	address = make_shared(4 * MIB, &second);
	assert_memory_not_equal(&first.handle, &second.handle, sizeof(first.handle));
	assert_int_equal(tell(&processes[0], &first, OPEN), CUDA_ERROR_INVALID_HANDLE);
	assert_success(cuMemFree_v2(address));
}

static void opened_memory_is_not_the_drivers_to_give(void **state)
{
	struct message message = {0};
	CUdeviceptr address = make_shared(4 * MIB, &message);
	CUpointer_attribute attribute = CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE;
	unsigned int capable = 0x7700;
	void *data = &capable;

	(void)state;
	assert_success(cuPointerGetAttribute(data, attribute, address + 100));
	assert_int_equal(capable, 1);
	capable = 0x7700;
	assert_success(cuPointerGetAttributes(1, &attribute, &data, address + 100));
	assert_int_equal(capable, 1);
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &message, ATTRIBUTE), CUDA_SUCCESS);
	assert_int_equal(message.value, 0);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
}

static void each_context_opens_for_itself(void **state)
{
	struct process *other = &processes[2];
	struct message first = {0}, second = {0};
	CUdeviceptr address = make_shared(4 * MIB, &first);

	(void)state;
	second = first;
	assert_int_equal(tell(other, &first, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(other, &second, SECOND_CONTEXT), CUDA_SUCCESS);
	assert_int_equal(tell(other, &second, OPEN), CUDA_SUCCESS);
	assert_int_not_equal(first.address, second.address);
	assert_int_equal(tell(other, &first, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(other, &second, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(address));
}

/* ---- what cannot be opened ---- */

static void handles_that_lead_nowhere(void **state)
{
	struct message message = {0}, wrong;
	CUdeviceptr address, opened;

	(void)state;
	/* One that the agent did not make is the driver's business. */
	memset(&message.handle, 0x5a, sizeof(message.handle));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_ERROR_INVALID_VALUE);
	address = make_shared(4 * MIB, &message);
	/* Measured: a process cannot open its own. */
	assert_int_equal(cuIpcOpenMemHandle_v2(&opened, message.handle, 1), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuIpcOpenMemHandle_v2(NULL, message.handle, 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuIpcOpenMemHandle_v2(&opened, message.handle, 6), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuIpcCloseMemHandle(address), CUDA_ERROR_INVALID_VALUE);
	/* No such process; no such allocation; no such address. */
	wrong = message;
	wrong.handle.reserved[8] ^= 1;
	assert_int_equal(tell(&processes[0], &wrong, OPEN), CUDA_ERROR_INVALID_HANDLE);
	wrong = message;
	wrong.handle.reserved[24] ^= 1;
	assert_int_equal(tell(&processes[0], &wrong, OPEN), CUDA_ERROR_INVALID_HANDLE);
	wrong = message;
	wrong.handle.reserved[36] ^= 1;
	assert_int_equal(tell(&processes[0], &wrong, OPEN), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	/* Freed. */
	assert_success(cuMemFree_v2(address));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_ERROR_INVALID_HANDLE);
}

static void memory_that_was_not_shared_is_not_given(void **state)
{
	struct message message = {0};
	CUdeviceptr shared = make_shared(4 * MIB, &message), kept;
	uint64_t word;

	(void)state;
	assert_success(cuMemAlloc_v2(&kept, 4 * MIB));
	/* The id is the next one, the address is known: still nobody asked for a handle. */
	memcpy(&word, &message.handle.reserved[24], sizeof(word));
	word++;
	memcpy(&message.handle.reserved[24], &word, sizeof(word));
	memcpy(&message.handle.reserved[32], &kept, sizeof(kept));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_ERROR_INVALID_HANDLE);
	assert_success(cuIpcGetMemHandle(&message.handle, kept));
	memcpy(&word, &message.handle.reserved[24], sizeof(word));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	assert_success(cuMemFree_v2(kept));
	assert_success(cuMemFree_v2(shared));
}

static void an_exporter_that_has_ended(void **state)
{
	struct process *exporter = &processes[1];
	struct message message = {.bytes = 4 * MIB}, again;
	CUdeviceptr opened, other;
	CUresult result;
	pid_t child;

	(void)state;
	assert_int_equal(tell(exporter, &message, ALLOCATE), CUDA_SUCCESS);
	message.value = 0x77;
	assert_int_equal(tell(exporter, &message, WRITE), CUDA_SUCCESS);
	assert_int_equal(tell(exporter, &message, SHARE), CUDA_SUCCESS);
	again = message;
	assert_success(cuIpcOpenMemHandle_v2(&opened, message.handle, 1));
	/* A child of it that lives on must not keep its socket. */
	assert_int_equal(tell(exporter, &message, FORK), CUDA_SUCCESS);
	child = (pid_t)message.value;
	end_process(exporter);
	/* What is open stays. */
	assert_int_equal(read_byte(opened), 0x77);
	assert_success(cuIpcCloseMemHandle(opened));
	result = cuIpcOpenMemHandle_v2(&other, again.handle, 1);
	kill(child, SIGKILL);
	assert_int_equal(result, CUDA_ERROR_INVALID_HANDLE);
}

/* How many mappings of device memory the process has. */
static unsigned int count_mappings(pid_t process)
{
	char path[64], line[512];
	unsigned int count = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", process);
	maps = fopen(path, "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "simcuda-memory") != NULL;
	fclose(maps);
	return count;
}

static unsigned int count_descriptors(pid_t process)
{
	struct dirent *entry;
	unsigned int count = 0;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", process);
	folder = opendir(path);
	assert_non_null(folder);
	while ((entry = readdir(folder)))
		count++;
	closedir(folder);
	return count;
}

/* The thread that shares this process's memory closes its copies after the answer: only where it waits for the next one
 * to ask has it closed them all. */
static bool sharing_thread_waits(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	bool waits = false;

	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char path[300], text[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (!fgets(text, sizeof(text), file))
			text[0] = '\0';
		fclose(file);
		if (strcmp(text, "rekindle-ipc\n") != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", entry->d_name);
		file = fopen(path, "r");
		assert_non_null(file);
		/* "running" where it is in no system call. */
		waits = fgets(text, sizeof(text), file) && strtol(text, NULL, 10) == SYS_accept4;
		fclose(file);
	}
	closedir(folder);
	return waits;
}

static unsigned int count_own_descriptors(void)
{
	for (int attempt = 0; !sharing_thread_waits(); attempt++) {
		assert_true(attempt < 10000);
		usleep(1000);
	}
	return count_descriptors(getpid());
}

static void failures_leave_nothing_behind(void **state)
{
	static const char *const rules[] = {
		"cuMemExportToShareableHandle=999@1",
		"cuMemExportToShareableHandle=999@2",
		"cuMemAddressReserve=2@1",
		"cuMemImportFromShareableHandle=999@1",
		"cuMemImportFromShareableHandle=999@2",
		"cuMemMap=999@1",
		"cuMemMap=999@2",
		"cuMemSetAccess=999@1",
	};
	struct message message = {0};
	CUdeviceptr address = make_shared(GIB + 4 * MIB, &message);
	unsigned int descriptors, mappings, own_descriptors;
	size_t rule;

	(void)state;
	/* Whatever the first opening leaves for good. */
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	descriptors = count_descriptors(processes[0].id);
	mappings = count_mappings(processes[0].id);
	own_descriptors = count_own_descriptors();
	for (rule = 0; rule < sizeof(rules) / sizeof(rules[0]); rule++) {
		struct message exported = {0};

		inject(rules[rule]);
		if (tell(&processes[0], &message, OPEN) == CUDA_SUCCESS)
			fail_msg("opened despite %s", rules[rule]);
		assert_true(message.result == 999 || message.result == 2);
		inject("");
		assert_int_equal(count_descriptors(processes[0].id), descriptors);
		assert_int_equal(count_mappings(processes[0].id), mappings);
		/* It can be dumped. */
		assert_int_equal(tell(&processes[0], &exported, EXPORT), 0);
		assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
		assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	}
	assert_int_equal(count_own_descriptors(), own_descriptors);
	assert_success(cuMemFree_v2(address));
}

static void memory_freed_while_it_is_opened(void **state)
{
	size_t free_before, free_after, total, opened = 0;
	unsigned int round;

	(void)state;
	assert_success(cuMemGetInfo_v2(&free_before, &total));
	for (round = 0; round < 300; round++) {
		struct message message = {0};
		CUdeviceptr address = make_shared(2 * MIB, &message);
		int result;

		assert_success(cuMemsetD8_v2(address, (unsigned char)round, 2 * MIB));
		send_order(&processes[0], &message, OPEN);
		usleep(round % 30 * 20);
		assert_success(cuMemFree_v2(address));
		result = receive_result(&processes[0], &message);
		if (result == CUDA_ERROR_INVALID_HANDLE)
			continue;
		assert_int_equal(result, CUDA_SUCCESS);
		/* Whatever it got is that memory, not another. */
		opened++;
		assert_int_equal(tell(&processes[0], &message, READ), CUDA_SUCCESS);
		assert_int_equal(message.value, round & 0xff);
		assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	}
	print_message("%zu of 300 were opened before they were freed\n", opened);
	assert_success(cuMemGetInfo_v2(&free_after, &total));
	assert_int_equal(free_before, free_after);
}

/* ---- dumps ---- */

static void shared_memory_stays_with_the_driver(void **state)
{
	struct message message = {0}, exported = {0};
	CUdeviceptr shared = make_shared(4 * MIB, &message), own;
	size_t index;

	(void)state;
	assert_success(cuMemAlloc_v2(&own, 6 * MIB));
	assert_int_equal(tell(&processes[0], &message, OPEN), CUDA_SUCCESS);
	assert_int_equal(agent_export(&saved, &reply), 0);
	assert_int_equal(saved.count, 1);
	assert_int_equal(saved.allocations[0].allocation.address, own);
	/* And leaves the rest: the shared memory is usable from both sides meanwhile. */
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_success(cuMemsetD8_v2(shared, 0x11, 4 * MIB));
	assert_int_equal(tell(&processes[0], &message, READ), CUDA_SUCCESS);
	assert_int_equal(message.value, 0x11);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	/* The one who opened it cannot be dumped until it closes it. */
	for (index = 0; index < 2; index++) {
		assert_int_equal(tell(&processes[0], &exported, EXPORT), -EOPNOTSUPP);
		assert_non_null(strstr(exported.sentence, "imported device memory of another process"));
	}
	assert_int_equal(tell(&processes[0], &message, CLOSE), CUDA_SUCCESS);
	assert_int_equal(tell(&processes[0], &exported, EXPORT), 0);
	assert_int_equal(exported.bytes, 0);
	assert_success(cuMemFree_v2(shared));
	assert_success(cuMemFree_v2(own));
}

static void restored_memory_cannot_be_shared(void **state)
{
	CUdeviceptr address;
	CUipcMemHandle handle;
	unsigned int capable = 7;

	(void)state;
	assert_success(cuMemAlloc_v2(&address, 4 * MIB));
	assert_int_equal(agent_export(&saved, &reply), 0);
	agent_save(&saved);
	assert_int_equal(agent_release(&reply), 0);
	assert_int_equal(cuIpcGetMemHandle(&handle, address), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(agent_map(&saved, 0, &reply), 0);
	agent_forget(&saved);
	assert_int_equal(cuIpcGetMemHandle(&handle, address), CUDA_ERROR_INVALID_VALUE);
	assert_success(cuPointerGetAttribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, address));
	assert_int_equal(capable, 0);
	assert_success(cuMemFree_v2(address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_process_reads_and_writes),
		cmocka_unit_test(a_handle_stands_for_the_allocation),
		cmocka_unit_test(opened_memory_is_not_the_drivers_to_give),
		cmocka_unit_test(each_context_opens_for_itself),
		cmocka_unit_test(handles_that_lead_nowhere),
		cmocka_unit_test(memory_that_was_not_shared_is_not_given),
		cmocka_unit_test(an_exporter_that_has_ended),
		cmocka_unit_test(failures_leave_nothing_behind),
		cmocka_unit_test(memory_freed_while_it_is_opened),
		cmocka_unit_test(shared_memory_stays_with_the_driver),
		cmocka_unit_test(restored_memory_cannot_be_shared),
	};

	return cmocka_run_group_tests(tests, start, end);
}
