/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Checkpoint calls on another process, and what becomes of its memory. It is this program again (see target()): it
 * holds plain, exportable and doubly mapped memory and keeps making driver calls in a thread.
 */

struct target_report {
	CUdeviceptr plain, virtual, alias;
	CUmemGenericAllocationHandle handle;
	_Atomic uint64_t calls;
};

static const char *program;

/* ---- the other process ---- */

static struct target_report *report;

static void *keep_calling(void *context)
{
	size_t free_bytes, total;

	driver.cuCtxSetCurrent(context);
	while (driver.cuMemGetInfo(&free_bytes, &total) == CUDA_SUCCESS) {
		report->calls++;
		usleep(500);
	}
	return NULL;
}

/* With contents; and lets go of it again, unless it is to stay mapped. */
static bool make_host_memory(bool stays)
{
	CUmemAllocationProp properties = exportable;
	CUmemAccessDesc access = read_write;
	CUmemGenericAllocationHandle handle;
	CUdeviceptr address;

	properties.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST_NUMA, 0};
	access.location = properties.location;
	assert_success(driver.cuMemCreate(&handle, 2 * MIB, &properties, 0));
	assert_success(driver.cuMemAddressReserve(&address, 2 * MIB, 0, 0, 0));
	map_read_write(address, 2 * MIB, handle);
	assert_success(driver.cuMemSetAccess(address, 2 * MIB, &access, 1));
	*(volatile uint32_t *)(uintptr_t)address = 0x55555555;
	if (read_word(address) != 0x55555555)
		return false;
	if (stays)
		return true;
	assert_success(driver.cuMemUnmap(address, 2 * MIB));
	assert_success(driver.cuMemRelease(handle));
	return true;
}

/*
 * Answers requests of one byte on descriptor 3: 'c' contents are right, 'h' and 'H' see above, 'x' export, 'o' export and
 * close, 'e' end.
 */
static int target(void)
{
	CUmemGenericAllocationHandle handle;
	CUcontext context;
	pthread_t thread;
	char request;

	open_driver_with_context(NULL);
	report = calloc(1, sizeof(*report));
	assert_success(driver.cuMemAlloc(&report->plain, 3 * MIB));
	assert_success(driver.cuMemCreate(&handle, 4 * MIB, &exportable, 0));
	assert_success(driver.cuMemAddressReserve(&report->virtual, 16 * MIB, 0, 0, 0));
	report->alias = report->virtual + 8 * MIB;
	map_read_write(report->virtual, 4 * MIB, handle);
	map_read_write(report->alias, 4 * MIB, handle);
	report->handle = handle;
	assert_success(driver.cuMemsetD8(report->plain, 0x11, 3 * MIB));
	write_word(report->virtual + 4 * MIB - 4, 0x22222222);
	assert_success(driver.cuCtxGetCurrent(&context));
	assert_int_equal(pthread_create(&thread, NULL, keep_calling, context), 0);
	assert_int_equal(write(3, &report, sizeof(report)), sizeof(report));
	while (read(3, &request, 1) == 1 && request != 'e') {
		char answer = 'n';

		if (request == 'c' && read_word(report->plain) == 0x11111111 &&
		    read_word(report->plain + 3 * MIB - 4) == 0x11111111 && read_word(report->virtual) == 0 &&
		    read_word(report->virtual + 4 * MIB - 4) == 0x22222222 &&
		    read_word(report->alias + 4 * MIB - 4) == 0x22222222)
			answer = 'y';
		if (request == 'h' || request == 'H')
			answer = make_host_memory(request == 'H') ? 'y' : 'n';
		if (request == 'x' || request == 'o') {
			int descriptor;

			assert_success(driver.cuMemExportToShareableHandle(
				&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
			answer = (char)descriptor;
			if (request == 'o')
				close(descriptor);
		}
		assert_int_equal(write(3, &answer, 1), 1);
	}
	_exit(0);
}

/* ---- driving it ---- */

struct other {
	pid_t pid;
	int control;
};

static struct other start_target(void)
{
	struct other other;
	int ends[2];
	uintptr_t address;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	other.pid = fork();
	assert_int_not_equal(other.pid, -1);
	if (!other.pid) {
		dup2(ends[1], 3);
		fcntl(3, F_SETFD, 0);
		execl(program, program, "target", NULL);
		_exit(127);
	}
	close(ends[1]);
	other.control = ends[0];
	assert_int_equal(read(other.control, &address, sizeof(address)), sizeof(address));
	return other;
}

static char ask(const struct other *other, char request)
{
	char answer = 0;

	assert_int_equal(write(other->control, &request, 1), 1);
	assert_int_equal(read(other->control, &answer, 1), 1);
	return answer;
}

static void end_target(struct other *other)
{
	int status;

	assert_int_equal(write(other->control, "e", 1), 1);
	assert_int_equal(waitpid(other->pid, &status, 0), other->pid);
	assert_int_equal(status, 0);
	close(other->control);
}

static bool has_open_device_memory(pid_t pid)
{
	char path[64], link[400], name[256];
	struct dirent *entry;
	bool found = false;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		ssize_t length;

		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		length = readlink(link, name, sizeof(name) - 1);
		if (length > 0) {
			name[length] = '\0';
			found = found || strstr(name, "simcuda-memory") != NULL;
		}
	}
	closedir(directory);
	return found;
}

/* ---- tests ---- */

static void imported_memory_that_stays_mapped_spoils_the_restore(void **state)
{
	CUmemGenericAllocationHandle imported;
	struct other other = start_target();
	int self = getpid(), descriptor, process, copy;
	CUdeviceptr range;

	(void)state;
	descriptor = ask(&other, 'x');
	/* Taken out of the other process, as the pool does with a message. */
	process = (int)syscall(SYS_pidfd_open, other.pid, 0);
	copy = (int)syscall(SYS_pidfd_getfd, process, descriptor, 0);
	close(process);
	assert_true(copy >= 0);
	assert_success(driver.cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)copy,
							     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(copy);
	assert_success(driver.cuMemAddressReserve(&range, 4 * MIB, 0, 0, 0));
	map_read_write(range, 4 * MIB, imported);
	assert_int_equal(read_word(range + 4 * MIB - 4), 0x22222222);
	write_word(range + 4 * MIB - 4, 0x33333333);
	assert_int_equal(ask(&other, 'c'), 'n');
	write_word(range + 4 * MIB - 4, 0x22222222);
	assert_int_equal(ask(&other, 'c'), 'y');
	end_target(&other);
	/* The memory outlives the process that made it. */
	assert_int_equal(read_word(range + 4 * MIB - 4), 0x22222222);
	assert_success(driver.cuCheckpointProcessLock(self, NULL));
	assert_success(driver.cuCheckpointProcessCheckpoint(self, NULL));
	assert_int_equal(driver.cuCheckpointProcessRestore(self, NULL), CUDA_ERROR_NOT_SUPPORTED);
}

/* In a child, as it leaves the process unusable. mapped: while it is checkpointed. */
static int checkpoint_with_host_memory(bool mapped)
{
	struct other other = start_target();
	int self = other.pid, answer = ask(&other, mapped ? 'H' : 'h');
	CUresult result = CUDA_ERROR_UNKNOWN;

	if (answer == 'y' && driver.cuCheckpointProcessLock(self, NULL) == CUDA_SUCCESS &&
	    driver.cuCheckpointProcessCheckpoint(self, NULL) == CUDA_SUCCESS)
		result = driver.cuCheckpointProcessRestore(self, NULL);
	end_target(&other);
	return result;
}

static void host_memory_that_stays_mapped_spoils_the_restore(void **state)
{
	(void)state;
	assert_int_equal(checkpoint_with_host_memory(true), CUDA_ERROR_UNKNOWN);
	assert_int_equal(checkpoint_with_host_memory(false), CUDA_SUCCESS);
}

static void another_process_goes_through_the_whole_cycle(void **state)
{
	struct other other = start_target();

	(void)state;
	assert_int_equal(ask(&other, 'c'), 'y');
	assert_true(has_open_device_memory(other.pid));
	for (int round = 0; round < 2; round++) {
		assert_success(driver.cuCheckpointProcessLock(other.pid, NULL));
		assert_success(driver.cuCheckpointProcessCheckpoint(other.pid, NULL));
		assert_false(has_open_device_memory(other.pid));
		assert_success(driver.cuCheckpointProcessRestore(other.pid, NULL));
		assert_success(driver.cuCheckpointProcessUnlock(other.pid, NULL));
		assert_int_equal(ask(&other, 'c'), 'y');
		assert_true(ask(&other, 'o') > 2);
	}
	end_target(&other);
}

/* Stops every thread of the process, or every one but `running`. */
static void stop_threads(pid_t pid, pid_t running)
{
	struct dirent *entry;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		pid_t thread = atoi(entry->d_name);

		if (thread <= 0 || thread == running)
			continue;
		assert_int_equal(ptrace(PTRACE_SEIZE, thread, NULL, NULL), 0);
		assert_int_equal(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL), 0);
		assert_int_equal(waitpid(thread, NULL, __WALL), thread);
	}
	closedir(directory);
}

static void let_threads_go(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		if (atoi(entry->d_name) > 0)
			ptrace(PTRACE_DETACH, atoi(entry->d_name), NULL, NULL);
	}
	closedir(directory);
}

static void only_the_restore_thread_has_to_run(void **state)
{
	struct other other = start_target();
	int restore_thread;

	(void)state;
	assert_success(driver.cuCheckpointProcessGetRestoreThreadId(other.pid, &restore_thread));
	assert_success(driver.cuCheckpointProcessLock(other.pid, NULL));
	stop_threads(other.pid, restore_thread);
	assert_success(driver.cuCheckpointProcessCheckpoint(other.pid, NULL));
	assert_false(has_open_device_memory(other.pid));
	assert_success(driver.cuCheckpointProcessRestore(other.pid, NULL));
	assert_success(driver.cuCheckpointProcessUnlock(other.pid, NULL));
	let_threads_go(other.pid);
	assert_int_equal(ask(&other, 'c'), 'y');
	end_target(&other);
}

static void a_call_that_is_stopped_while_it_waits_keeps_the_driver_from_locking_again(void **state)
{
	CUcheckpointLockArgs soon = {.timeoutMs = 300};
	struct other other = start_target();
	int restore_thread;

	(void)state;
	assert_success(driver.cuCheckpointProcessGetRestoreThreadId(other.pid, &restore_thread));
	assert_success(driver.cuCheckpointProcessLock(other.pid, NULL));
	usleep(100000); /* it makes calls all the time, and one of them waits by now */
	stop_threads(other.pid, restore_thread);
	assert_success(driver.cuCheckpointProcessUnlock(other.pid, NULL));
	assert_int_equal(driver.cuCheckpointProcessLock(other.pid, &soon), CUDA_ERROR_NOT_READY);
	let_threads_go(other.pid);
	assert_success(driver.cuCheckpointProcessLock(other.pid, NULL));
	assert_success(driver.cuCheckpointProcessUnlock(other.pid, NULL));
	assert_int_equal(ask(&other, 'c'), 'y');
	end_target(&other);
}

struct lock_call {
	pid_t pid;
	CUresult result;
	_Atomic int returned;
};

static void *lock_in_thread(void *argument)
{
	struct lock_call *call = argument;

	call->result = driver.cuCheckpointProcessLock(call->pid, NULL);
	atomic_store(&call->returned, 1);
	return NULL;
}

static void a_stopped_restore_thread_holds_the_call_up(void **state)
{
	struct other other = start_target();
	struct lock_call call = {.pid = other.pid};
	pthread_t thread;

	(void)state;
	stop_threads(other.pid, 0);
	/* Asking for the thread works all the same; asking for the state would wait too. */
	assert_success(driver.cuCheckpointProcessGetRestoreThreadId(other.pid, NULL));
	assert_int_equal(pthread_create(&thread, NULL, lock_in_thread, &call), 0);
	usleep(300000);
	assert_int_equal(atomic_load(&call.returned), 0);
	let_threads_go(other.pid);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(call.result, CUDA_SUCCESS);
	assert_success(driver.cuCheckpointProcessUnlock(other.pid, NULL));
	end_target(&other);
}

static void a_forked_child_has_no_driver(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child) {
		CUdeviceptr address;

		_exit(driver.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
				      driver.cuMemAlloc(&address, 4096) == CUDA_ERROR_NOT_INITIALIZED &&
				      !has_open_device_memory(getpid()) &&
				      driver.cuCheckpointProcessGetState(getpid(), NULL) == CUDA_ERROR_NOT_INITIALIZED
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argument_count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_process_goes_through_the_whole_cycle),
		cmocka_unit_test(host_memory_that_stays_mapped_spoils_the_restore),
		cmocka_unit_test(only_the_restore_thread_has_to_run),
		cmocka_unit_test(a_call_that_is_stopped_while_it_waits_keeps_the_driver_from_locking_again),
		cmocka_unit_test(a_stopped_restore_thread_holds_the_call_up),
		cmocka_unit_test(a_forked_child_has_no_driver),
		/* Leaves this process unusable, so it comes last. */
		cmocka_unit_test(imported_memory_that_stays_mapped_spoils_the_restore),
	};

	program = "/proc/self/exe";
	if (argument_count > 1 && !strcmp(arguments[1], "target"))
		return target();
	return cmocka_run_group_tests(tests, open_driver_with_context, NULL);
}
