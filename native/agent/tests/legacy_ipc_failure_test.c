/* SPDX-License-Identifier: MIT */
/* Legacy handles that cannot be opened, and opening that fails in the middle. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/tests/stand_in_pool.h"
#include "agent/tests/ipc_peer.h"

#include <cmocka.h>

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
	CUipcMemHandle handle;
	CUdeviceptr other;
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
	/* What is exported when the handle is asked for, one descriptor for each piece, is there for whoever opens it. */
	assert_success(cuMemAlloc_v2(&other, GIB + 4 * MIB));
	for (rule = 1; rule <= 2; rule++) {
		char text[64];

		sprintf(text, "cuMemExportToShareableHandle=999@%zu", rule);
		inject(text);
		assert_int_equal(cuIpcGetMemHandle(&handle, other), 999);
		inject("");
	}
	assert_success(cuIpcGetMemHandle(&handle, other));
	assert_success(cuMemFree_v2(other));
	assert_success(cuMemFree_v2(address));
	/* Of each of the two pieces the one that was kept, and the simulated driver's own. */
	assert_int_equal(count_own_descriptors(), own_descriptors - 4);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handles_that_lead_nowhere),
		cmocka_unit_test(memory_that_was_not_shared_is_not_given),
		cmocka_unit_test(an_exporter_that_has_ended),
		cmocka_unit_test(failures_leave_nothing_behind),
		cmocka_unit_test(memory_freed_while_it_is_opened),
	};

	return cmocka_run_group_tests(tests, ipc_peers_start, ipc_peers_end);
}
