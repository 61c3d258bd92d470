/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/clock.h"

/* Checkpoint calls on this process: the states that it goes through, and what waits meanwhile. */

static CUprocessState state_of(int pid)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;

	assert_success(driver.cuCheckpointProcessGetState(pid, &state));
	return state;
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_without_cuda_are_told_apart),
		cmocka_unit_test(states_follow_each_other),
		cmocka_unit_test(lock_waits_for_work_but_not_for_ever),
		cmocka_unit_test(calls_wait_until_unlock),
	};

	return cmocka_run_group_tests(tests, open_driver_with_context, NULL);
}
