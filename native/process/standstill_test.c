/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "process/process_status.h"
#include "process/standstill.h"
#include "support/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Each test runs a process in the place of CRIU, which holds a program of THREADS threads: the main one and one more count
 * as fast as they can, others sleep in system calls of several kinds.
 */

#define THREADS 5
#define COUNTING 2
#define SECOND UINT64_C(1000000000)

struct shared {
	_Atomic(pid_t) ids[THREADS];
	_Atomic unsigned long steps[COUNTING];
	unsigned long seen[COUNTING]; /* while they were held */
	_Atomic int signals, continued, interrupted;
};

static struct shared *shared;
static pid_t program;

static void count_signal(int number)
{
	atomic_fetch_add(number == SIGCONT ? &shared->continued : &shared->signals, 1);
}

static void *sleep_in_the_kernel(void *argument)
{
	size_t index = (size_t)argument;
	sigset_t none;
	int word = 1;

	sigemptyset(&none);
	atomic_store(&shared->ids[index], gettid());
	for (;;) {
		if (index == 2)
			syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 1, NULL, NULL, 0);
		else if (index == 3)
			syscall(SYS_ppoll, NULL, 0, NULL, &none, sizeof(uint64_t));
		else
			pause();
		atomic_fetch_add(&shared->interrupted, 1);
	}
	return NULL;
}

static void *count(void *argument)
{
	size_t index = (size_t)argument;

	atomic_store(&shared->ids[index], gettid());
	for (;;)
		atomic_fetch_add(&shared->steps[index], 1);
	return NULL;
}

static _Noreturn void run_program(void)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	for (size_t index = 1; index < THREADS; index++)
		pthread_create(&thread, NULL, index < COUNTING ? count : sleep_in_the_kernel, (void *)index);
	count((void *)0);
	abort();
}

static bool is_true_soon(bool (*condition)(void))
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

	while (!condition()) {
		if (monotonic_nanoseconds() > deadline)
			return false;
		usleep(500);
	}
	return true;
}

static bool has_started(void)
{
	for (size_t index = 0; index < THREADS; index++)
		if (!shared->ids[index])
			return false;
	return shared->steps[0] && shared->steps[1];
}

static bool is_stopped(void)
{
	struct thread_status status;

	for (size_t index = 0; index < THREADS; index++)
		if (thread_status_read(program, shared->ids[index], &status) || status.state != 'T')
			return false;
	return true;
}

static bool goes_on(void)
{
	return shared->steps[0] > shared->seen[0] + 1000 && shared->steps[1] > shared->seen[1] + 1000;
}

static void expect(bool condition, int number)
{
	if (!condition)
		_exit(number);
}

/* Signals that a thread of the program blocks. */
static uint64_t blocked_by(pid_t tid)
{
	uint64_t blocked = UINT64_MAX;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)program, (int)tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SigBlk: %" SCNx64, &blocked) == 1)
			break;
	if (file)
		fclose(file);
	return blocked;
}

static void see(void)
{
	for (size_t index = 0; index < COUNTING; index++)
		shared->seen[index] = shared->steps[index];
}

static void hold(void)
{
	int status;

	for (size_t index = 0; index < THREADS; index++)
		expect(!ptrace(PTRACE_SEIZE, shared->ids[index], NULL, PTRACE_O_TRACESYSGOOD) &&
			       !ptrace(PTRACE_INTERRUPT, shared->ids[index], NULL, NULL) &&
			       waitpid(shared->ids[index], &status, __WALL) == shared->ids[index],
		       100);
	see();
}

static void let_go(void)
{
	for (size_t index = 0; index < THREADS; index++)
		expect(!ptrace(PTRACE_DETACH, shared->ids[index], NULL, NULL), 101);
}

static void begin(struct standstill *standstill, size_t except_count)
{
	pid_t except = shared->ids[1];
	struct error_text error;

	expect(!standstill_begin(standstill, program, &except, except_count, &error), 102);
	expect(standstill->count == THREADS - except_count, 103);
}

/* Runs the function in CRIU's place. Returns its status as waitpid gives it. */
static int run_criu(void (*criu)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		criu();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int start_program(void **state)
{
	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -1;
	program = fork();
	if (!program) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_program();
	}
	return is_true_soon(has_started) ? 0 : -1;
}

static int end_program(void **state)
{
	(void)state;
	kill(program, SIGKILL);
	waitpid(program, NULL, __WALL);
	munmap(shared, sizeof(*shared));
	return 0;
}

static void assert_stands_still(void)
{
	assert_true(is_true_soon(is_stopped));
	/* Not one more step. */
	for (size_t index = 0; index < COUNTING; index++)
		assert_int_equal(shared->steps[index], shared->seen[index]);
}

static void criu_that_dies(void)
{
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	begin(&standstill, 0);
	raise(SIGKILL);
}

static void nothing_runs_when_criu_dies(void **state)
{
	(void)state;
	assert_true(WIFSIGNALED(run_criu(criu_that_dies)));
	assert_stands_still();
	kill(program, SIGCONT);
	assert_true(is_true_soon(goes_on));
}

static void criu_that_dies_while_it_ends_it(void)
{
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	begin(&standstill, 0);
	/* As far as the first thread. */
	standstill.count = 1;
	expect(!standstill_end(&standstill, 10000, NULL), 104);
	raise(SIGKILL);
}

static void one_thread_with_a_signal_is_enough(void **state)
{
	(void)state;
	assert_true(WIFSIGNALED(run_criu(criu_that_dies_while_it_ends_it)));
	assert_true(is_true_soon(is_stopped));
	assert_int_equal(shared->steps[1], shared->seen[1]);
}

static void criu_that_dies_while_one_runs(void)
{
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	begin(&standstill, 1);
	expect(!ptrace(PTRACE_CONT, shared->ids[1], NULL, NULL), 105);
	while (shared->steps[1] < shared->seen[1] + 1000)
		;
	expect(shared->steps[0] == shared->seen[0], 106);
	raise(SIGKILL);
}

static void the_ones_that_may_run_stop_as_well(void **state)
{
	(void)state;
	assert_true(WIFSIGNALED(run_criu(criu_that_dies_while_one_runs)));
	assert_true(is_true_soon(is_stopped));
	assert_int_equal(shared->steps[0], shared->seen[0]);
}

static void criu_that_lives(void)
{
	struct thread_status status;
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	syscall(SYS_tgkill, program, shared->ids[1], SIGUSR1);
	begin(&standstill, 0);
	expect(!standstill_end(&standstill, 10000, NULL), 104);
	for (size_t index = 0; index < THREADS; index++) {
		expect(!thread_status_read(program, shared->ids[index], &status), 107);
		expect(status.state == 't', 108);
		/* That of the second one has been delivered, and its handler has not begun. */
		expect(status.pending == 0, 109);
	}
	for (size_t index = 0; index < COUNTING; index++)
		expect(shared->steps[index] == shared->seen[index], 110);
	expect(shared->signals == 0, 111);
	let_go();
}

static void threads_never_see_it_when_criu_lives(void **state)
{
	(void)state;
	assert_int_equal(run_criu(criu_that_lives), 0);
	assert_true(is_true_soon(goes_on));
	assert_false(is_stopped());
	assert_int_equal(shared->signals, 1);
	assert_int_equal(shared->interrupted, 0);
}

long __real_ptrace(int request, pid_t tid, void *address, void *data);
long __wrap_ptrace(int request, pid_t tid, void *address, void *data);

static unsigned int deadly_call;
static unsigned int calls_to_live = UINT_MAX; /* for ever */

long __wrap_ptrace(int request, pid_t tid, void *address, void *data)
{
	if (calls_to_live != UINT_MAX && !calls_to_live--)
		raise(SIGKILL);
	return __real_ptrace(request, tid, address, data);
}

static void criu_that_dies_at_a_call(void)
{
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	syscall(SYS_tgkill, program, shared->ids[1], SIGUSR1);
	begin(&standstill, 0);
	calls_to_live = deadly_call;
	expect(!standstill_end(&standstill, 10000, NULL), 104);
	calls_to_live = UINT_MAX;
	let_go();
}

static uint64_t masks[THREADS];

static bool is_as_it_was(void)
{
	kill(program, SIGCONT);
	if (!goes_on() || (unsigned int)shared->signals != deadly_call + 1)
		return false;
	for (size_t index = 0; index < THREADS; index++)
		if (blocked_by(shared->ids[index]) != masks[index])
			return false;
	return true;
}

/* Whoever finds the process then knows nothing of what its threads blocked. */
static void no_death_leaves_signals_blocked_or_lost(void **state)
{
	int ending = SIGKILL;

	(void)state;
	for (size_t index = 0; index < THREADS; index++)
		masks[index] = blocked_by(shared->ids[index]);
	for (deadly_call = 0; ending == SIGKILL; deadly_call++) {
		ending = run_criu(criu_that_dies_at_a_call);
		if (!is_true_soon(is_as_it_was))
			fail_msg("after a death at call %u: %d signals were seen, thread 1 blocks %" PRIx64,
				 deadly_call, shared->signals, blocked_by(shared->ids[1]));
	}
	assert_int_equal(ending, 0);
	/* One call at least for each thread. */
	assert_true(deadly_call > THREADS);
}

static void criu_that_is_disturbed(void)
{
	uint64_t mask, all = UINT64_MAX;
	struct standstill standstill = STANDSTILL_NONE;

	hold();
	begin(&standstill, 0);
	/* Takes every waiting SIGSTOP away. */
	kill(program, SIGCONT);
	expect(!standstill_end(&standstill, 10000, NULL), 104);
	for (size_t index = 0; index < COUNTING; index++)
		expect(shared->steps[index] == shared->seen[index], 110);
	/* A thread that is let run with its signals blocked, as CRIU does, is not stopped for the SIGCONT any more. */
	expect(!ptrace(PTRACE_GETSIGMASK, shared->ids[1], (void *)sizeof(mask), &mask), 114);
	expect(!ptrace(PTRACE_SETSIGMASK, shared->ids[1], (void *)sizeof(all), &all), 114);
	expect(!ptrace(PTRACE_CONT, shared->ids[1], NULL, NULL), 105);
	while (shared->steps[1] < shared->seen[1] + 100000)
		expect(waitpid(shared->ids[1], NULL, __WALL | WNOHANG) == 0, 112);
	expect(!ptrace(PTRACE_INTERRUPT, shared->ids[1], NULL, NULL) &&
		       waitpid(shared->ids[1], NULL, __WALL) == shared->ids[1],
	       113);
	expect(!ptrace(PTRACE_SETSIGMASK, shared->ids[1], (void *)sizeof(mask), &mask), 114);
	let_go();
}

static void a_foreign_sigcont_lets_nothing_run(void **state)
{
	(void)state;
	assert_int_equal(run_criu(criu_that_is_disturbed), 0);
	assert_true(is_true_soon(goes_on));
}

static void criu_that_does_not_trace(void)
{
	struct standstill standstill = STANDSTILL_NONE;
	struct error_text error;

	expect(!standstill_begin(&standstill, program, NULL, 0, &error), 102);
	expect(standstill.count == 0, 103);
	expect(!standstill_end(&standstill, 10000, &error), 104);
}

static void whom_nobody_holds_is_left_alone(void **state)
{
	(void)state;
	see();
	assert_int_equal(run_criu(criu_that_does_not_trace), 0);
	assert_true(is_true_soon(goes_on));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start_program, end_program)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_runs_when_criu_dies),
		TEST(one_thread_with_a_signal_is_enough),
		TEST(the_ones_that_may_run_stop_as_well),
		TEST(threads_never_see_it_when_criu_lives),
		TEST(no_death_leaves_signals_blocked_or_lost),
		TEST(a_foreign_sigcont_lets_nothing_run),
		TEST(whom_nobody_holds_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
