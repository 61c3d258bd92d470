/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <dirent.h>
#include <errno.h>
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

#include "support/clock.h"

/*
 * Checkpoint calls, on this process and on another one. The other process is this program again (see target()): it
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

/* Answers requests of one byte on descriptor 3: 'c' contents are right, 'x' export, 'o' export and close, 'e' end. */
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

static CUprocessState state_of(int pid)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;

	assert_success(driver.cuCheckpointProcessGetState(pid, &state));
	return state;
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

static void processes_without_cuda_are_told_apart(void **state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		pause();
		_exit(0);
	}
	assert_int_equal(driver.cuCheckpointProcessGetState(child, NULL), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(driver.cuCheckpointProcessGetRestoreThreadId(child, NULL), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(driver.cuCheckpointProcessLock(child, NULL), CUDA_ERROR_NOT_INITIALIZED);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_int_equal(driver.cuCheckpointProcessGetState(child, NULL), CUDA_ERROR_OPERATING_SYSTEM);
	assert_int_equal(driver.cuCheckpointProcessLock(child, NULL), CUDA_ERROR_OPERATING_SYSTEM);
}

static void states_follow_each_other(void **state)
{
	int self = getpid(), thread = 0, same;

	(void)state;
	assert_success(driver.cuCheckpointProcessGetRestoreThreadId(self, &thread));
	assert_int_not_equal(thread, 0);
	assert_int_equal(state_of(self), CU_PROCESS_STATE_RUNNING);
	assert_int_equal(driver.cuCheckpointProcessUnlock(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(driver.cuCheckpointProcessCheckpoint(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(driver.cuCheckpointProcessRestore(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_success(driver.cuCheckpointProcessLock(self, NULL));
	assert_int_equal(state_of(self), CU_PROCESS_STATE_LOCKED);
	assert_int_equal(driver.cuCheckpointProcessLock(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(driver.cuCheckpointProcessRestore(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_success(driver.cuCheckpointProcessCheckpoint(self, NULL));
	assert_int_equal(state_of(self), CU_PROCESS_STATE_CHECKPOINTED);
	assert_int_equal(driver.cuCheckpointProcessCheckpoint(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(driver.cuCheckpointProcessLock(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_int_equal(driver.cuCheckpointProcessUnlock(self, NULL), CUDA_ERROR_ILLEGAL_STATE);
	assert_success(driver.cuCheckpointProcessGetRestoreThreadId(self, &same));
	assert_int_equal(same, thread);
	assert_success(driver.cuCheckpointProcessRestore(self, NULL));
	assert_int_equal(state_of(self), CU_PROCESS_STATE_LOCKED);
	assert_success(driver.cuCheckpointProcessUnlock(self, NULL));
	assert_int_equal(state_of(self), CU_PROCESS_STATE_RUNNING);
}

static void sleep_milliseconds(void *milliseconds)
{
	usleep((unsigned int)(uintptr_t)milliseconds * 1000);
}

static void lock_waits_for_work_but_not_for_ever(void **state)
{
	OTHER_FUNCTION(cuLaunchHostFunc, (CUstream, CUhostFn, void *));
	CUcheckpointLockArgs bounded = {.timeoutMs = 50};
	int self = getpid();
	CUstream stream;
	uint64_t before;

	(void)state;
	assert_success(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	before = monotonic_nanoseconds();
	assert_success(cuLaunchHostFunc(stream, sleep_milliseconds, (void *)600));
	assert_int_equal(driver.cuCheckpointProcessLock(self, &bounded), CUDA_ERROR_NOT_READY);
	assert_int_equal(state_of(self), CU_PROCESS_STATE_RUNNING);
	/* The gate is open again: this call is not held back. */
	assert_int_equal(driver.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	assert_success(driver.cuCheckpointProcessLock(self, NULL));
	assert_true(monotonic_nanoseconds() - before >= 600000000u);
	assert_success(driver.cuCheckpointProcessUnlock(self, NULL));
	assert_success(driver.cuStreamQuery(stream));
	assert_success(driver.cuStreamDestroy(stream));
}

static _Atomic int call_returned;

static void *call_while_locked(void *unused)
{
	int count;

	(void)unused;
	driver.cuDeviceGetCount(&count);
	atomic_store(&call_returned, 1);
	return NULL;
}

static void calls_wait_until_unlock(void **state)
{
	int self = getpid(), version;
	pthread_t thread;

	(void)state;
	atomic_store(&call_returned, 0);
	assert_success(driver.cuCheckpointProcessLock(self, NULL));
	assert_int_equal(pthread_create(&thread, NULL, call_while_locked, NULL), 0);
	usleep(100000);
	assert_int_equal(atomic_load(&call_returned), 0);
	assert_success(driver.cuDriverGetVersion(&version));
	assert_success(driver.cuCheckpointProcessUnlock(self, NULL));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&call_returned), 1);
}

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
		cmocka_unit_test(processes_without_cuda_are_told_apart),
		cmocka_unit_test(states_follow_each_other),
		cmocka_unit_test(lock_waits_for_work_but_not_for_ever),
		cmocka_unit_test(calls_wait_until_unlock),
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
